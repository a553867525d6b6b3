"""How long the operator and an honest pusher take while a crowd holds the deployer's socket, beside an idle one."""
from __future__ import annotations

import contextlib
import json
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Iterator

from tests.lab.host import PYTHON
from tests.lab.lab import HOSTNAME, KEY, KNOWN_HOSTS, SOCKET, USER, Lab
from tests.lab.pki import Bundle
from tests.system.checks import DONE

SCRIPT = Path(__file__).resolve().parents[1] / "lab/crowd.py"
# What a session of the crowd does -> in words
CONDUCTS = {
    "silent": "connects and says nothing",
    "half_closed": "connects and ends its half",
    "half_closed_after_hello": "says HELLO and ends its half",
    "dripping_hello": "says HELLO, 1 byte a second",
    "announcing": "announces the largest bundle and sends none of it",
    "dripping_bundle": "announces the largest bundle and sends 1 byte a second",
    "largest_bundles": "sends one largest bundle after another",
    "bundle_after_bundle": "sends one bundle after another, each of which is refused only at the judge's last question",
    "deaf": "sends bundles and reads no answer",
}


@dataclass
class Crowd:
    """What became of its sessions, when it has ended: replies by their code, `connections`."""
    count: int
    conduct: str
    seen: dict[str, int] = field(default_factory=dict)


@contextlib.contextmanager
def crowd(lab: Lab, conduct: str, count: int, by_ssh: bool = False, bundle: Bundle | None = None) -> Iterator[Crowd]:
    """At the socket, as the push account; by_ssh: from the proxy host with the push key, through sshd and the relay."""
    host = lab.proxy if by_ssh else lab.mail
    host.write("/run/lab/crowd.py", SCRIPT.read_bytes())
    host.write("/run/lab/bundle.pem", (bundle or lab.issue(age=61)).pem)
    target = ["ssh", "-F", "none", "-o", "BatchMode=yes", "-o", f"UserKnownHostsFile={KNOWN_HOSTS}", "-i", KEY,
              f"{USER}@{HOSTNAME}"] if by_ssh else [SOCKET]
    process = host.popen([PYTHON, "-I", "/run/lab/crowd.py", str(count), conduct, "/run/lab/bundle.pem", *target],
                         user=None if by_ssh else USER, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    result = Crowd(count, conduct)
    try:
        assert process.stdout.readline() == "ready\n"
        yield result
        process.stdin.close()
        result.seen = json.loads(process.stdout.readline())
    finally:
        process.stop()


def timed(run) -> float:
    begin = time.monotonic()
    result = run()
    assert result.returncode == DONE, result
    return time.monotonic() - begin


def push(lab: Lab) -> float:
    """Seconds that an honest push of a renewed certificate takes, from start to verdict."""
    lab.renew()
    return timed(lab.push)


def status(lab: Lab) -> float:
    return timed(lambda: lab.deploy("status"))


def reconcile(lab: Lab) -> float:
    return timed(lab.deploy)


def measure(lab: Lab, conduct: str, count: int, by_ssh: bool = False, runs: int = 5) -> dict[str, object]:
    """Seconds of each, idle and while the crowd is there."""
    each = {"push": push, "status": status, "reconcile": reconcile}
    idle = {name: [run(lab) for _ in range(runs)] for name, run in each.items()}
    with crowd(lab, conduct, count, by_ssh) as result:
        crowded = {name: [run(lab) for _ in range(runs)] for name, run in each.items()}
    return {"conduct": conduct, "connections_held": count, "connections_made": result.seen["connections"], "idle": idle,
            "crowded": crowded}
