"""A lab host: mount, PID, network, UTS and IPC namespaces with a root of their own on top of the machine's.

What runs in it sees the machine's programs and writes nowhere on the machine. close() ends everything in it and
removes its changes; if the lab dies first, the host ends by itself.
"""
from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Callable, Iterable, Sequence

from .machine import remove_cgroups

PYTHON = "/usr/bin/python3"
MACHINE = Path(__file__).with_name("machine.py")
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8"}
# What the machine may hold there is not this host's.
EMPTY = ["/home", "/opt", "/root", "/srv", "/etc/docker", "/etc/letsencrypt", "/etc/mailcow-certsync", "/etc/nginx",
         "/etc/ssh", "/var/lib/mailcow-cert-deploy", "/var/lib/mailcow-cert-push", "/var/log"]


class Timeout(AssertionError):
    """A condition was not met in time."""


def wait_for(condition: Callable[[], object], what: str, timeout: float = 120):
    """Waits until condition() is true and returns its value."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise Timeout(f"{what}: not within {timeout:g} s")
        time.sleep(0.02)
    return value


class Process(subprocess.Popen):
    """A process in a host, behind the nsenter that brought it there; signals go to the process itself."""

    def inner(self) -> int | None:
        """Its process id as the machine counts; None when it has ended."""
        try:
            children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        except (FileNotFoundError, ProcessLookupError):
            return None
        return int(children[0]) if children else None

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            try:
                os.kill(self.inner() or self.pid, number)
            except ProcessLookupError:
                pass

    def stop(self, number: int = signal.SIGTERM, timeout: float = 60) -> int:
        """Ends it, by force when it does not go in time; returns its exit status."""
        self.send_signal(number)
        try:
            return self.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            return self.wait()

    def finish(self, input: str | bytes | None = None, timeout: float = 300) -> tuple:
        """Its output and its messages when it has ended; killed when it does not in time."""
        try:
            return self.communicate(input, timeout)
        except BaseException:
            self.kill()
            self.communicate()
            raise


def cgroup(directory: Path) -> str:
    """The cgroup, in each hierarchy, of the host that has its changes in directory."""
    return f"certsync-lab-{directory.name}"


def remove_remains(directory: Path) -> None:
    """What the hosts of a lab leave that was killed together with their PID 1: the folder, and cgroups."""
    for host in directory.iterdir():
        remove_cgroups(cgroup(host))
    shutil.rmtree(directory)


class Host:
    def __init__(self, name: str, base: Path, plain: Sequence[str] = ()):
        """plain: folders that are on the disk itself and not on the overlay."""
        self.name = name
        self.directory = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=base))
        self.cgroup = cgroup(self.directory)
        self.processes: list[Process] = []
        options = {"name": name, "directory": str(self.directory), "empty": EMPTY, "plain": list(plain),
                   "cgroup": self.cgroup}
        self._init = subprocess.Popen(
            ["unshare", "--mount", "--propagation=unchanged", "--pid", "--net", "--uts", "--ipc", "--fork", "--kill-child",
             PYTHON, "-I", str(MACHINE), json.dumps(options)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/", env=ENVIRONMENT,
            start_new_session=True)
        try:
            self.pid = int(self._init.stdout.readline() or 0)
            if self._init.stdout.readline() != "ready\n":
                raise RuntimeError(f"host {name}: did not start; its messages are above")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._init.stdin.close()
        try:
            self._init.wait(20)
        except subprocess.TimeoutExpired:
            self._init.kill()
            self._init.wait()
        self._init.stdout.close()
        remove_cgroups(self.cgroup)  # it has done so itself, unless it was killed
        for process in self.processes:
            process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream:
                    stream.close()
        shutil.rmtree(self.directory)

    def __enter__(self) -> Host:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def enter(self, argv: Iterable, user: str | None = None) -> list[str]:
        """The machine's command line that runs argv in this host."""
        inside = []
        if user:
            uid, gid = next(line.split(":")[2:4] for line in self.read("/etc/passwd").splitlines()
                            if line.startswith(f"{user}:"))
            inside = ["setpriv", f"--reuid={uid}", f"--regid={gid}", "--init-groups", "--"]
        return ["nsenter", f"--target={self.pid}", "--mount", "--pid", "--net", "--uts", "--ipc", "--root", "--",
                *inside, *map(str, argv)]

    def popen(self, argv: Iterable, *, user: str | None = None, env: dict | None = None, **kwargs) -> Process:
        kwargs.setdefault("start_new_session", True)  # Ctrl-C is the lab's
        process = Process(self.enter(argv, user), env=ENVIRONMENT | (env or {}), cwd="/", **kwargs)
        self.processes = [p for p in self.processes if p.returncode is None] + [process]
        return process

    def run(self, argv: Iterable, *, input: str | bytes | None = None, check: bool = True, env: dict | None = None,
            user: str | None = None, timeout: float = 300, **kwargs) -> subprocess.CompletedProcess:
        """Runs argv to its end; output is text unless input is bytes or text=False says otherwise."""
        kwargs.setdefault("text", not isinstance(input, bytes))
        kwargs.setdefault("stdin", subprocess.DEVNULL if input is None else subprocess.PIPE)
        kwargs.setdefault("stdout", subprocess.PIPE)
        kwargs.setdefault("stderr", subprocess.PIPE)
        process = self.popen(argv, user=user, env=env, **kwargs)
        out, err = process.finish(input, timeout)
        if check and process.returncode:
            raise RuntimeError(f"{self.name}: {' '.join(map(str, argv))}: exit {process.returncode}\n{out}{err}")
        return subprocess.CompletedProcess(list(argv), process.returncode, out, err)

    @property
    def root(self) -> Path:
        """The host's root as the machine sees it (a DESTDIR). Absolute symlinks below it lead astray: use path()."""
        return Path(f"/proc/{self.pid}/root")

    def path(self, path: str | os.PathLike) -> Path:
        """Where the machine sees a file of the host; symlinks in its folders are followed inside the host."""
        real, todo = Path("/"), list(Path(path).parts[1:])
        for _ in range(100):
            if not todo:
                return self.root / real.relative_to("/")
            part = todo.pop(0)
            step = real.parent if part == ".." else real / part
            if todo and (self.root / step.relative_to("/")).is_symlink():
                target = Path(os.readlink(self.root / step.relative_to("/")))
                real = Path("/") if target.is_absolute() else real
                todo = [p for p in target.parts if p != "/"] + todo
            else:
                real = step
        raise OSError(f"{path}: too many symlinks")

    def read(self, path: str | os.PathLike) -> str:
        return self.read_bytes(path).decode()

    def read_bytes(self, path: str | os.PathLike) -> bytes:
        return self.path(path).read_bytes()

    def write(self, path: str | os.PathLike, content: str | bytes, mode: int = 0o644) -> None:
        """Replaces a file (and a symlink by a file); makes its folders."""
        where = self.path(path)
        where.parent.mkdir(parents=True, exist_ok=True)
        where.unlink(missing_ok=True)
        where.touch()
        where.chmod(mode)
        where.write_bytes(content.encode() if isinstance(content, str) else content)

    def exists(self, path: str | os.PathLike) -> bool:
        return os.path.lexists(self.path(path))

    def listens(self, path: str) -> bool:
        """Whether somebody in it listens on this unix socket."""
        rows = [line.split() for line in self.read("/proc/1/net/unix").splitlines()]
        return any(row[3] == "00010000" and row[7:] == [path] for row in rows)


def connect(one: Host, address_one: str, other: Host, address_other: str) -> None:
    """A cable between two hosts: eth0 in each. It ends with them."""
    subprocess.run(["nsenter", f"--target={one.pid}", "--net", "ip", "link", "add", "eth0", "type", "veth", "peer", "name",
                    "eth0", "netns", str(other.pid)], check=True)
    for host, address in ((one, address_one), (other, address_other)):
        host.run(["ip", "address", "add", f"{address}/24", "dev", "eth0"])
        host.run(["ip", "link", "set", "eth0", "up"])
