"""The shell pipeline in the lab's hosts, as its administrator would have set it up."""
from __future__ import annotations

import shlex
from pathlib import Path

from tests.lab.lab import TRUST, Lab
from tests.lab.mailcow import HOSTNAME
from tests.lab.sshd import AUTHORIZED_KEYS, COMMAND, USER

SCRIPTS = Path(__file__).with_name("scripts")
PUSH, DEPLOY = "/root/push.sh", "/opt/mailcow-dockerized/deploy.sh"
LIVE = "/etc/nginx/letsencrypt/live/npm-5"
HOME = "/home/certsync"
INCOMING = f"{HOME}/incoming"
BUNDLE = f"{INCOMING}/bundle.pem"
RSYNC_KEY, CAT_KEY = "/root/.ssh/mailcow_certsync", "/root/.ssh/cat"
KNOWN_HOSTS = "/root/.ssh/known_hosts"


def set_up(lab: Lab) -> None:
    lab.mail.run(["install", "-d", "-o", USER, "-g", USER, INCOMING])
    lab.proxy.run(["install", "-d", "-m", "700", "/root/.ssh", "/var/lib/push-script"])
    for key in (RSYNC_KEY, CAT_KEY):
        lab.proxy.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key])
    lab.proxy.write(PUSH, (SCRIPTS / "push.sh").read_bytes(), 0o755)
    lab.mail.write(DEPLOY, (SCRIPTS / "deploy.sh").read_bytes(), 0o755)
    pin_host_key(lab)
    authorize(lab)
    trust_many(lab)


def trust_many(lab: Lab) -> None:
    """As many roots as a Debian host trusts by default: parsing them is a part of what judging costs."""
    lab.mail.write(TRUST, lab.ca.root.pem + Path("/etc/ssl/certs/ca-certificates.crt").read_text())


def pin_host_key(lab: Lab, *hosts: str) -> None:
    lab.proxy.write(KNOWN_HOSTS, "".join(f"{host} {lab.sshd.host_key()}\n" for host in hosts or [HOSTNAME]))


def authorize(lab: Lab) -> None:
    """Each key with its own forced command: the product's, rsync's, and one for a bare `cat`."""
    commands = {lab.public_key: COMMAND, lab.proxy.read(f"{RSYNC_KEY}.pub"): rsync_server(lab),
                lab.proxy.read(f"{CAT_KEY}.pub"): f"cat > {BUNDLE}"}
    lab.mail.write(AUTHORIZED_KEYS, "".join(f'restrict,command="{command}" {key.strip()}\n'
                                            for key, command in commands.items()))


def rsync_server(lab: Lab) -> str:
    """The forced command for this rsync: its server's flags differ from build to build, so it is asked for them."""
    lab.proxy.write("/run/bench/rsh", '#!/bin/sh\necho "$*" >/run/bench/asked\n', 0o755)
    lab.proxy.write("/run/bench/file", "")
    lab.proxy.run(["rsync", "-azL", "-e", "/run/bench/rsh", "/run/bench/file", f"host:{INCOMING}/"], check=False)
    return lab.proxy.read("/run/bench/asked").strip().partition("host ")[2]


def ssh(key: str) -> list[str]:
    return ["/usr/bin/ssh", "-F", "none", "-o", "BatchMode=yes", "-o", f"UserKnownHostsFile={KNOWN_HOSTS}", "-i", key]


def cat_command(host: str) -> list[str]:
    """Its standard input goes to a file of the mail host."""
    return [*ssh(CAT_KEY), f"{USER}@{host}"]


def rsync_command(host: str) -> list[str]:
    return ["/usr/bin/rsync", "-azL", "-e", shlex.join(ssh(RSYNC_KEY)), f"{LIVE}/fullchain.pem", f"{LIVE}/privkey.pem",
            f"{USER}@{host}:"]


def clear_incoming(lab: Lab) -> None:
    """So that rsync has something to send."""
    for path in lab.mail.path(INCOMING).iterdir():
        path.unlink()
