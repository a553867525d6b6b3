"""Power cuts: what is on the platter at each system call of a deployment is mounted as if after a reboot.

The state and mailcow's folder are on an ext4 of their own, on a loop file: what that file holds is what the disk was given;
what was written and not yet synced is not in it. At each call of the session the file is looked at; each content that it ever
has is mounted by itself (which replays the journal), recovered, and asked for what was promised before the cut. Docker is not
there, as early in a boot, so that a deployment ends as pending.

Two sorts of disk: one that writes only when it must (`late`), and one whose journal is committed after every call while
contents still wait (`early`): names are there before what they name.
"""
from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass

from tests.lab import mailcow
from tests.lab.host import wait_for
from tests.lab.lab import DEPLOY, DEPLOYER_LOG, TRUST, USER, Lab, ini

from .deployer import ROLES, SESSION
from .outcome import NEW, TORN, Outcome
from .scenario import RECONCILE, Change, Primary
from .tracer import Tracer

SIZE = 8 << 20
FOLDER = "/run/power"  # in memory
DISK, MOUNT, CONF, SOCKET = f"{FOLDER}/disk", f"{FOLDER}/mnt", f"{FOLDER}/deploy.conf", f"{FOLDER}/socket"
STATE, SSL, UNRELATED = f"{MOUNT}/state", f"{MOUNT}/mailcow/data/assets/ssl", f"{MOUNT}/unrelated"
LATE, EARLY = "late", "early"
CHANGING = {"openat", "open", "write", "pwrite64", "fsync", "fdatasync", "renameat", "renameat2", "rename", "mkdirat", "mkdir",
            "unlinkat", "unlink", "fchmod", "fchmodat", "fchown", "fchownat", "ftruncate", "linkat", "symlinkat", "close"}
EVERY_CALL = {"role": SESSION, "name": "*", "n": 0, "do": "ask", "errno": 0}


@dataclass
class Cut:
    """The power goes at this call of the session."""
    point: dict
    disk: int  # which of the disk's contents is left
    staged: bool  # whether the client had been told so


class PowerCut:
    def __init__(self, lab: Lab, scenario_class=Primary):
        self.lab, self.host = lab, lab.mail
        lab.reset()
        self.scenario = scenario_class(lab)
        self.scenario.prepare()
        self.host.path(MOUNT).mkdir(parents=True)
        self.tracer = Tracer()
        self.daemon = None
        try:
            self.host.write(CONF, ini({
                "deploy": {"state": STATE, "socket": SOCKET, "push_user": USER, "trust": TRUST},
                "mailcow": {"path": f"{MOUNT}/mailcow"}, "docker": {"host": "unix:///nonexistent"},
                **self.scenario.configuration}))
            self.disk = self.make_disk()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self.stop()
        self.tracer.close()
        self.host.run(["umount", MOUNT], check=False)
        shutil.rmtree(self.host.path(FOLDER))

    def __enter__(self) -> PowerCut:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    # The disk

    def make_disk(self) -> bytes:
        """As that of a deployer which has been at work for long."""
        self.host.path(DISK).write_bytes(bytes(SIZE))
        self.host.run(["mkfs.ext4", "-q", "-b", "1024", DISK])
        self.mount()
        self.host.run(["cp", "-a", mailcow.PATH, f"{MOUNT}/mailcow"])
        self.host.write(UNRELATED, "0")
        self.start()
        for _ in range(self.scenario.primes):
            change = self.scenario.change()
            answer = self.say(change.said)
            if self.state(change) != NEW:
                raise RuntimeError(f"an undisturbed deployment installs nothing:\n{answer}")
            self.scenario.done(change)
        self.stop()
        self.unmount()
        return self.host.read_bytes(DISK)

    def mount(self) -> None:
        """Without ext4's own help for programs that do not sync what they rename."""
        self.host.run(["mount", "-o", "loop,noauto_da_alloc,commit=300", DISK, MOUNT])

    def unmount(self) -> None:
        self.host.run(["umount", MOUNT])

    def insert(self, disk: bytes) -> None:
        self.host.path(DISK).write_bytes(disk)
        self.mount()

    def commit(self) -> None:
        """The journal reaches the disk; contents that nobody has synced do not."""
        descriptor = os.open(self.host.path(UNRELATED), os.O_WRONLY)
        try:
            os.write(descriptor, b"1")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def state(self, change: Change) -> str:
        return change.state(self.content)

    def content(self, name: str) -> str | None:
        path = f"{SSL}/{name}"
        return self.host.read_bytes(path).decode(errors="replace") if self.host.exists(path) else None

    def listing(self) -> set[str]:
        top = self.host.path(f"{MOUNT}/mailcow")
        return {str(path.relative_to(top)) for path in top.rglob("*")}

    # The deployer

    def start(self) -> None:
        with self.host.path(DEPLOYER_LOG).open("ab") as log:
            self.daemon = self.host.popen([DEPLOY, "serve", "--config", CONF, "--socket", SOCKET], stdin=subprocess.DEVNULL,
                                          stdout=log, stderr=log)
        wait_for(lambda: self.host.listens(SOCKET), "the deployer's socket")

    def stop(self) -> None:
        if self.daemon:
            self.daemon.stop()
            self.daemon = None

    def connect(self) -> socket.socket:
        stream = socket.socket(socket.AF_UNIX)
        stream.connect(str(self.host.path(SOCKET)))
        stream.settimeout(60)
        return stream

    def say(self, said: bytes) -> str:
        with self.connect() as stream:
            stream.sendall(said)
            return "".join(iter(lambda: stream.recv(65536).decode(), ""))

    # A deployment, and all the cuts in it

    def watch(self, change: Change, sort: str, lies: list[dict]) -> tuple[list[bytes], list[Cut]]:
        """The contents that the disk has in the course of the deployment, and which of them each call finds."""
        disks = [b""]
        cuts: list[Cut] = []
        heard = b""
        self.insert(self.disk)
        self.start()
        self.tracer.attach(self.daemon.inner(), [*lies, EVERY_CALL])
        with self.connect() as stream:
            stream.sendall(change.said)
            stream.setblocking(False)

            def at(point: dict) -> None:
                nonlocal heard
                if not cuts or cuts[-1].point["name"] in CHANGING:
                    if sort == EARLY:
                        self.commit()
                    disk = self.host.read_bytes(DISK)
                    if disk != disks[-1]:
                        disks.append(disk)
                try:
                    heard += stream.recv(65536)
                except BlockingIOError:
                    pass
                cuts.append(Cut(point, len(disks) - 1, b"150 staged " in heard))
                if point["name"] == "exit_group":
                    self.daemon.send_signal(signal.SIGKILL)

            self.tracer.result(at)
        self.stop()
        self.unmount()
        return disks, cuts

    def boot(self, change: Change, disk: bytes) -> tuple[Outcome, str]:
        """What a boot makes of such a disk, and what a reconcile does without the pusher."""
        outcome = Outcome("", reached=True)
        self.insert(disk)
        try:
            outcome.at_once = self.state(change)
            recovered = self.host.run([DEPLOY, "recover", "--config", CONF], check=False)
            if recovered.returncode:
                outcome.problems.append(f"recover: exit {recovered.returncode}: {recovered.stderr.strip()}")
            outcome.state = self.state(change)
            outcome.strays = sorted(self.listing() - self.tree - {f"data/assets/ssl/{path}" for name in change.paths
                                                                          for path in (name, name.rpartition("/")[0])})
            self.start()
            answer = self.say(RECONCILE)
            reconciled = self.state(change)
            answer += self.say(change.said)
            outcome.finished = self.state(change) == NEW
        finally:
            self.stop()
            self.unmount()
        if outcome.state == TORN:
            outcome.problems.append("a torn pair after the boot")
        if outcome.strays:
            outcome.problems.append(f"left in mailcow's tree: {' '.join(outcome.strays)}")
        if not outcome.finished:
            outcome.problems.append(f"the next push does not install it: {answer.strip().splitlines()[-1:]}")
        return outcome, reconciled

    def run(self, sort: str, lies: list[dict] = []) -> list[Outcome]:
        """One outcome for each call at which the power goes."""
        change = self.scenario.change()
        self.insert(self.disk)
        self.tree = self.listing()
        self.unmount()
        disks, cuts = self.watch(change, sort, lies)
        begin = time.monotonic()
        boots = {number: self.boot(change, disks[number]) for number in sorted({cut.disk for cut in cuts})}
        seconds = (time.monotonic() - begin) / len(cuts)
        return [self.judge(cut, *boots[cut.disk], sort, seconds) for cut in cuts]

    @staticmethod
    def judge(cut: Cut, boot: Outcome, reconciled: str, sort: str, seconds: float) -> Outcome:
        point = f"power cut ({sort} disk) at {ROLES[SESSION]} {cut.point['name']} {cut.point['n']} {cut.point['path']}"
        problems = list(boot.problems)
        if cut.staged and reconciled != NEW:
            problems.append(f"told the pusher that it is staged, and a reconcile leaves the {reconciled}")
        return Outcome(point, True, boot.at_once, boot.state, boot.strays, boot.finished and not problems, problems, seconds)


