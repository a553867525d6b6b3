"""Podman (Debian's) in the place of a host's Docker Engine: its command line and its compatible socket are what Docker's are,
less what is put right here."""
from __future__ import annotations

import subprocess
from ipaddress import IPv4Address
from pathlib import Path

from .docker import IMAGE
from .host import Host, wait_for

LOG = "/var/log/podman.log"


def hardware(argv: list) -> list[str]:
    """An address of its own that stays, as with Docker: with another one after a restart the container is out of reach until the
    host's neighbour table has forgotten the old one."""
    return [f"--mac-address=02:42:{IPv4Address(word.removeprefix('--ip=')).packed.hex(':')}" for word in argv if word.startswith("--ip=")]


class Podman:
    DATA = "/var/lib/containers"
    SOCKET = "/run/podman/podman.sock"

    def __init__(self, host: Host):
        self.host = host
        self.start()

    def start(self) -> None:
        self.host.path("/run/podman").mkdir(exist_ok=True)
        self.host.path(self.SOCKET).unlink(missing_ok=True)
        with self.host.path(LOG).open("ab") as log:
            self.process = self.host.popen(["podman", "--cgroup-manager=cgroupfs", "system", "service", "--time=0",
                                            f"unix://{self.SOCKET}"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_for(lambda: self.host.exists(self.SOCKET), f"{self.host.name}: podman (its log: {LOG})")

    def stop(self) -> None:
        """Ends the service; the containers go on without it."""
        self.process.stop()

    def __call__(self, command: str, *argv, check: bool = True, **kwargs) -> subprocess.CompletedProcess:
        if command == "network":
            argv = [word for word in argv if not word.startswith("--opt=")]
        if command == "run":
            argv = [*hardware(argv), f"--cgroup-parent=/{self.host.cgroup}", *(word for word in argv if word not in (
                "--init", "--security-opt=apparmor=unconfined") and not word.startswith("--network-alias"))]
        if command == "ps":
            argv = [word.replace("{{.State}}", "{{.ListContainer.State}}") for word in argv]
        return self.host.run(["podman", "--cgroup-manager=cgroupfs", command, *argv], check=check, **kwargs)

    def log(self) -> str:
        return self.host.read(LOG)

    def load(self, tar: Path) -> None:
        with tar.open("rb") as stream:
            self("import", "-", IMAGE, stdin=stream, timeout=300)
