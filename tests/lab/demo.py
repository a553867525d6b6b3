"""`make demo`: a certificate is renewed on the proxy host, pushed, and seen on every port of the mail host."""
from __future__ import annotations

import subprocess
import sys
import time

from .lab import PUSH, Lab
from .mailcow import HOSTNAME


def say(text: str) -> None:
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n{text}", flush=True)


def show_served(lab: Lab, expected: dict[str, str]) -> bool:
    """A line for each endpoint, as openssl s_client sees it; expected: fingerprint -> what to call it."""
    served = lab.served_everywhere(HOSTNAME)
    for endpoint, fingerprint in served.items():
        print(f"  {endpoint:<11} {fingerprint}  {expected.get(fingerprint, 'something else')}")
    return set(served.values()) == {list(expected)[-1]}


def push(lab: Lab, *args: str) -> bool:
    """Runs the pusher with its output going straight to the reader; `script` gives it a terminal."""
    command = " ".join([PUSH, *args])
    print(f"proxy# {command}", flush=True)
    begin = time.monotonic()
    status = lab.proxy.popen(["script", "-qec", command, "/dev/null"], stdin=subprocess.DEVNULL).wait()
    print(f"exit status {status}, {time.monotonic() - begin:.2f} s", flush=True)
    return status == 0


def main() -> int:
    say("Starting the lab: a proxy host, and a mail host with sshd, Docker Engine, Postfix, Dovecot and nginx")
    with Lab() as lab:
        lab.install()
        lab.reset()
        lab.start_deployer()
        names = {lab.old.fingerprint: "old"}

        say(f"Before: what the ports of {HOSTNAME} serve (openssl s_client)")
        good = show_served(lab, names)

        say("Nginx Proxy Manager renews the certificate: lineage npm-5 on the proxy host has a new generation")
        new = lab.renew()
        names[new.fingerprint] = "NEW"
        print(f"  {new.fingerprint}")

        say("The pass that the timer runs")
        good &= push(lab)

        say("After: what the ports serve now (openssl s_client)")
        good &= show_served(lab, names)

        say("A second pass has nothing to do")
        good &= push(lab)

        say("--force deploys it again")
        good &= push(lab, "--force")

        say("What the mail host's operator sees")
        print(lab.deploy("status").stdout, end="")

        say("All nine endpoints serve the renewed certificate." if good else "Something is not as it should be; see above.")
    return 0 if good else 1
