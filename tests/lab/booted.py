"""A lab host that boots: Debian with systemd as PID 1, sshd and a journal, by systemd-nspawn inside a lab host, whose network
it has. It is switched off and on, and loses its power."""
from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

from .docker import image
from .host import Host, Process, wait_for

RECIPE = Path(__file__).with_name("boot") / "build-image"
MACHINES = "/var/lib/machines"
# systemd needs a cgroup of its own in the hierarchy that it counts by; the host's, so that it goes with the host.
BOOT = """
for top in /sys/fs/cgroup /sys/fs/cgroup/systemd; do
    [ -e $top/cgroup.procs ] || continue
    mkdir -p "$top/$0"
    echo $$ > "$top/$0/cgroup.procs"
done
exec systemd-nspawn "$@"
"""


class Booted(Host):
    """Its files are there while it is off, too; what is bound into it is not."""

    def __init__(self, outer: Host, cache: Path, *binds: str):
        """cache: of the images; binds: what of the outer host it has at the same place."""
        self.outer, self.name = outer, outer.name
        self.processes: list[Process] = []
        self.binds = binds
        self.boot_seconds = 0.0
        self._nspawn: Process | None = None
        self.pid = 0  # while it is off
        self._log = outer.path(f"/var/log/{self.name}-console.log")
        tar = image(cache, RECIPE)
        self._disk = outer.path(f"{MACHINES}/{self.name}")
        self._disk.mkdir(parents=True)
        try:
            subprocess.run(["tar", "-C", self._disk, "-xf", tar], check=True)
        except BaseException:
            self.close()
            raise

    @property
    def root(self) -> Path:
        return super().root if self._nspawn else self._disk

    @property
    def is_on(self) -> bool:
        return self._nspawn is not None

    def boot(self) -> None:
        begin = time.monotonic()
        argv = ["-q", "-D", f"{MACHINES}/{self.name}", f"--hostname={self.name}", "--register=no", "--keep-unit",
                "--resolv-conf=off", "--link-journal=no", "--console=pipe", *(f"--bind={path}" for path in self.binds), "--boot"]
        with self._log.open("ab") as log:
            self._nspawn = self.outer.popen(["sh", "-c", BOOT, f"{self.outer.cgroup}/boot", *argv],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.pid = wait_for(self._leader, f"{self.name}: PID 1 ({self.console()})")
        wait_for(self._is_up, f"{self.name}: boot")
        self.boot_seconds = time.monotonic() - begin

    def console(self) -> str:
        return self._log.read_text(errors="replace")[-2000:]

    def _leader(self) -> int | None:
        """The systemd below nspawn."""
        if self._nspawn.poll() is not None:
            raise RuntimeError(f"{self.name}: systemd-nspawn has ended:\n{self.console()}")
        nspawn = self._nspawn.inner()
        children = Path(f"/proc/{nspawn}/task/{nspawn}/children").read_text().split() if nspawn else []
        with contextlib.suppress(FileNotFoundError):  # a child that has just ended
            return next((int(pid) for pid in children if Path(f"/proc/{pid}/comm").read_text() == "systemd\n"), None)
        return None

    def _is_up(self) -> bool:
        return self.systemctl("is-system-running", check=False) in ("running", "degraded")

    def power_off(self) -> None:
        self.systemctl("poweroff", check=False)  # it may be gone before it answers
        self._ended()

    def cut_power(self) -> None:
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
        else:  # it has not come so far
            self._nspawn.kill()
        self._ended()

    def _ended(self) -> None:
        self._nspawn.wait(60)
        self._nspawn, self.pid = None, 0
        for process in self.processes:
            process.wait(60)

    def close(self) -> None:
        if self._nspawn:
            self.cut_power()
        subprocess.run(["rm", "-rf", self._disk], check=True)

    # What is asked of it

    def systemctl(self, *words: str, check: bool = True) -> str:
        return self.run(["systemctl", *words], check=check, timeout=300).stdout.strip()

    def property(self, unit: str, name: str) -> str:
        return self.systemctl("show", "--value", "--property", name, unit)

    def drop_in(self, unit: str, text: str) -> None:
        self.write(f"/etc/systemd/system/{unit}.d/test.conf", text)
        self.systemctl("daemon-reload")

    def journal(self, *options: str) -> str:
        self.run(["journalctl", "--sync"])
        return self.run(["journalctl", "--no-pager", "--quiet", *options], check=False).stdout

    def install(self, *packages: Path) -> str:
        """By apt-get, as the manual says; what they depend on is there already."""
        names = [f"/root/{package.name}" for package in packages]
        for package, name in zip(packages, names):
            self.write(name, package.read_bytes())
        return self.run(["apt-get", "--yes", "install", *names], env={"DEBIAN_FRONTEND": "noninteractive"}, timeout=300).stdout

    def purge(self, *packages: str) -> str:
        return self.run(["dpkg", "--purge", *packages], timeout=300).stdout
