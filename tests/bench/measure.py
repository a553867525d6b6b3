"""How things are measured: commands by a driver in their host, resident processes by a cgroup, memory at their exit."""
from __future__ import annotations

import json
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from tests.lab.host import PYTHON, Host, Process, wait_for

DRIVER, WAN = Path(__file__).with_name("driver.py"), Path(__file__).with_name("wan.py")
CGROUPS = Path("/sys/fs/cgroup")
# Holds every process at its end, long enough for its memory's high-water mark to be read.
HOLD = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=exit_group", "-e", "inject=exit_group:delay_enter=40000"]
ENGINE = ("dockerd", "containerd", "containerd-shim", "docker-proxy", "docker-init")


@dataclass
class Run:
    wall: float
    cpu: float
    output: str | list


class Driver:
    """driver.py in a host."""

    def __init__(self, host: Host):
        host.write("/run/bench/driver.py", DRIVER.read_bytes())
        self.host = host
        self.process = host.popen([PYTHON, "-I", "/run/bench/driver.py"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                  text=True)

    def run(self, *argv: str, **options) -> Run:
        self.process.stdin.write(json.dumps({"argv": list(map(str, argv)), **options}) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        if answer["status"]:
            raise RuntimeError(f"{self.host.name}: {' '.join(argv)}: exit {answer['status']}\n{answer['output']}")
        return Run(answer["wall"], answer["cpu"], answer["output"])


class Wan:
    """wan.py between two hosts, with their addresses on it."""
    NEAR, FAR = "198.51.100.1", "198.51.100.2"

    def __init__(self, near: Host, far: Host, delay: float):
        self.process = subprocess.Popen([PYTHON, "-I", WAN, str(near.pid), str(far.pid), str(delay)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, start_new_session=True)
        if self.process.stdout.readline() != "ready\n":
            raise RuntimeError("wan.py did not start; its messages are above")
        for host, here, there in ((near, self.NEAR, self.FAR), (far, self.FAR, self.NEAR)):
            host.run(["ip", "address", "add", here, "peer", there, "dev", "wan0"])
            host.run(["ip", "link", "set", "wan0", "up"])

    def __enter__(self) -> Wan:
        return self

    def __exit__(self, *_) -> None:
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


class Account:
    """A cgroup below the host's own, with which it is removed. It counts each nanosecond of its members and of all that
    they start, waited for or not: sshd's sessions and what a daemon's children start are in no process's times."""

    def __init__(self, host: Host, name: str = ""):
        self.unified = (CGROUPS / "cgroup.controllers").exists()
        self.path = (CGROUPS if self.unified else CGROUPS / "cpuacct") / host.cgroup / name
        self.path.mkdir(parents=True, exist_ok=True)

    def join(self, pid: int) -> None:
        (self.path / "cgroup.procs").write_text(str(pid))

    def members(self) -> set[int]:
        return set(map(int, (self.path / "cgroup.procs").read_text().split()))

    def seconds(self) -> float:
        if not self.unified:
            return int((self.path / "cpuacct.usage").read_text()) / 1e9
        return int(dict(line.split() for line in (self.path / "cpu.stat").read_text().splitlines())["usage_usec"]) / 1e6


class MailHost:
    """What the mail host spends: its servers (sshd, the deployer and all that they start), the engine, the containers."""

    def __init__(self, host: Host):
        self.host = host
        self.servers, self.engine, self.all = Account(host, "servers"), Account(host, "engine"), Account(host)
        self.residents: set[int] = set()
        for pid in engine_processes(host):
            self.engine.join(pid)

    def adopt(self, process: Process) -> float:
        """Counts a server from now on; returns the seconds that it has spent already, for its start."""
        pid = process.inner()
        spent = int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
        self.servers.join(pid)
        self.residents.add(pid)
        return spent

    def release(self, process: Process) -> None:
        self.residents.discard(process.inner())

    def settle(self) -> None:
        """Until no session is left and the reloaded services have found their rest."""
        wait_for(lambda: self.servers.members() <= self.residents, "the end of the sessions")
        before = [self.all.seconds()]

        def is_quiet() -> bool:
            time.sleep(0.05)
            before.append(self.all.seconds())
            return before[-1] - before[-2] < 0.0005
        wait_for(is_quiet, "quiet containers")

    def seconds(self) -> dict[str, float]:
        servers, engine = self.servers.seconds(), self.engine.seconds()
        return {"servers": servers, "engine": engine, "containers": self.all.seconds() - servers - engine}


def engine_processes(host: Host) -> list[int]:
    """Those of the host itself and not of its containers."""
    namespace, found = Path(f"/proc/{host.pid}/ns/pid").readlink(), []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "ns/pid").readlink() == namespace and (process / "comm").read_text().startswith(ENGINE):
                found.append(int(process.name))
        except OSError:
            pass
    return found


def peaks(*roots: Process) -> dict[tuple[int, int], int]:
    """Watches what runs below processes that HOLD wraps, until the first of them ends.

    (number of the root, generation below its strace) -> the largest VmHWM seen, in bytes."""
    found: dict[tuple[int, int], int] = {}
    while roots[0].poll() is None:
        for number, root in enumerate(roots):
            generation = children([root.inner()])
            for depth in range(1, 5):
                for pid in generation:
                    found[number, depth] = max(found.get((number, depth), 0), high_water(pid))
                generation = children(generation)
        time.sleep(0.002)
    return found


def children(pids: list) -> list[int]:
    found = []
    for pid in filter(None, pids):
        try:
            found += [int(p) for task in Path(f"/proc/{pid}/task").iterdir()
                      for p in (task / "children").read_text().split()]
        except OSError:
            pass
    return found


def high_water(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)
