"""A host's own sshd with the account of the push, as the product's documentation has administrators set it up."""
from __future__ import annotations

import re
import signal
import subprocess
from typing import Iterable

from .host import Host, wait_for

USER = "certsync"
COMMAND = "/usr/libexec/mailcow-cert-receive"
AUTHORIZED_KEYS = f"/etc/ssh/certsync/{USER}"
CONFIG = "/etc/ssh/sshd_config"
LOG = "/var/log/sshd.log"
HOST_KEY_TYPES = ("ed25519", "ecdsa", "rsa")
OPTIONS = {
    "Port": "22", "UsePAM": "no", "PasswordAuthentication": "no", "KbdInteractiveAuthentication": "no", "StrictModes": "yes",
    "AuthorizedKeysFile": "/etc/ssh/certsync/%u", "LogLevel": "DEBUG1", "PidFile": "none", "UseDNS": "no",
    "Subsystem": "sftp internal-sftp",
}


def key_file(kind: str) -> str:
    return f"/etc/ssh/ssh_host_{kind}_key"


def configuration(host_keys: Iterable[str], options: dict[str, str]) -> list[str]:
    return [*(f"HostKey {key_file(kind)}" for kind in host_keys), *(f"{k} {v}" for k, v in (OPTIONS | options).items())]


class Sshd:
    def __init__(self, host: Host):
        self.host = host
        self.process = None
        self.lines: list[str] = []
        host.run(["useradd", "--system", "--no-create-home", "--home-dir", "/", "--shell", "/bin/sh", "--password", "*", USER])
        host.path("/etc/ssh").mkdir(exist_ok=True)
        for kind in HOST_KEY_TYPES:
            host.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", key_file(kind), *(["-b", "2048"] * (kind == "rsa"))])
        host.path("/run/sshd").mkdir(mode=0o755)

    def host_key(self, kind: str = "ed25519") -> str:
        """Type and base64, as in known_hosts."""
        return " ".join(self.host.read(key_file(kind) + ".pub").split()[:2])

    def authorize(self, *public_keys: str, options: str = f'restrict,command="{COMMAND}"') -> None:
        """Sets who may push. sshd reads it at each login: no restart is needed."""
        self.host.write(AUTHORIZED_KEYS, "".join(f"{options} {key.strip()}\n".lstrip() for key in public_keys))

    def start(self, host_keys: tuple = HOST_KEY_TYPES, **options: str) -> None:
        """(Re)starts it; host_keys: which of its keys it offers; options: of sshd_config, added to the lab's."""
        self.stop()
        self.lines = configuration(host_keys, options)
        self.host.write(CONFIG, "\n".join(self.lines) + "\n")
        self.host.run(["/usr/sbin/sshd", "-t"])
        self.process = self.host.popen(["/usr/sbin/sshd", "-D", "-E", LOG], stdin=subprocess.DEVNULL)
        wait_for(self.listens, f"{self.host.name}: sshd (its log: {LOG})")

    def changed(self) -> bool:
        """Whether it is not running as start() without arguments starts it."""
        return not self.process or self.process.poll() is not None or self.lines != configuration(HOST_KEY_TYPES, {})

    def listens(self) -> bool:
        if self.process.poll() is not None:
            raise RuntimeError(f"{self.host.name}: sshd has ended:\n{self.log()[-2000:]}")
        return re.search(r":0016 \S+ 0A ", self.host.run(["cat", "/proc/net/tcp"]).stdout) is not None

    def stop(self) -> None:
        """Ends the listener; connections stay, as with the real one."""
        if self.process:
            self.process.stop(signal.SIGTERM)
            self.process = None

    def log(self) -> str:
        return self.host.read(LOG)
