"""Follows a process and its descendants by ptrace(2), and at chosen system calls kills, fails, shortens, fakes or asks.

`with Tracer() as tracer` has a process of its own for it (this file as a script), since a tracer must wait for all that it
traces. strace's injection would do for a program that does not fork: its counters are each process's own, so that the daemon,
its session and the judge would all be hit by one rule. And it cannot write short: it skips the call and lies about it.

A point is a system call by its process (role: 0 is the process itself, 1 a child, 2 a grandchild), its name and its number
among the calls of that name in that process, from 1.
"""
from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import signal
import struct
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Callable
from unittest import SkipTest

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
LIBC.ptrace.restype = ctypes.c_long

POKEUSER, CONT, SYSCALL, GETEVENTMSG, SEIZE, LISTEN, GET_SYSCALL_INFO = 6, 7, 24, 0x4201, 0x4206, 0x4208, 0x420E
SYSGOOD, FORK, VFORK, CLONE, EXEC, EXITKILL = 1, 2, 4, 8, 16, 1 << 20
EVENT_EXEC, EVENT_STOP = 4, 128
FORKS = (1, 2, 3)
WALL = 0x40000000
RAX, RDX, ORIG_RAX = 10 * 8, 12 * 8, 15 * 8  # in struct user_regs_struct
AT_FDCWD = -100
# where a call has its folder and its path; what is not here has a descriptor as its first argument
PATHS = {"openat": (0, 1), "newfstatat": (0, 1), "unlinkat": (0, 1), "mkdirat": (0, 1), "faccessat2": (0, 1), "faccessat": (0, 1),
         "fchmodat": (0, 1), "fchownat": (0, 1), "readlinkat": (0, 1), "symlinkat": (1, 2), "renameat": (2, 3),
         "renameat2": (2, 3), "linkat": (2, 3), "statx": (0, 1), "utimensat": (0, 1), "open": (None, 0), "stat": (None, 0),
         "lstat": (None, 0), "unlink": (None, 0), "mkdir": (None, 0), "rename": (None, 1), "access": (None, 0),
         "execve": (None, 0), "readlink": (None, 0), "chmod": (None, 0)}
NO_DESCRIPTOR = {"brk", "mmap", "munmap", "mprotect", "futex", "exit_group", "poll", "wait4", "kill", "getrandom", "clone"}


def call_names() -> dict[int, str]:
    header = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h").read_text()
    return {int(number): name for name, number in re.findall(r"#define __NR_(\w+) (\d+)", header)}


# ---- the client


class Tracer:
    """One traced tree at a time: attach(), then whatever lets it run, then result()."""

    def __init__(self):
        if os.uname().machine != "x86_64":
            raise SkipTest("the registers of this machine are not known here, only those of x86_64")  # pytest skips what it ends
        self.process = subprocess.Popen([sys.executable, "-I", __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True, start_new_session=True)

    def attach(self, pid: int, rules: list[dict], record: bool = False, from_exec: bool = False) -> None:
        """Follows pid from here on, or from its next execve(2); a stopped one waits for its SIGCONT. A rule: {"role", "name"
        ("*": any), "n" (0: every one; else it holds for one call in all), "path" (a regular expression, optional), "do": kill |
        kill-all | error | short | fake | ask, "errno"}."""
        self.tell({"pid": pid, "rules": rules, "record": record, "from_exec": from_exec})
        assert self.hear() == {"attached": pid}

    def result(self, at: Callable[[dict], None] | None = None) -> dict:
        """When nothing of the tree is left: {"fired": [points], "calls": [points, if recorded], "ended": {role: status}}.
        at: called with each point of a rule "ask", while the tree stands still there."""
        while "asked" in (answer := self.hear()):
            at(answer["asked"])
            self.tell({})
        return answer

    def tell(self, message: dict) -> None:
        self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()

    def hear(self) -> dict:
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("the tracer has ended; its messages are above")
        return json.loads(line)

    def close(self) -> None:
        """What is still traced is killed."""
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()

    def __enter__(self) -> Tracer:
        return self

    def __exit__(self, *_) -> None:
        self.close()


# ---- the process


def ptrace(request: int, pid: int, address: int = 0, data: object = 0) -> None:
    if LIBC.ptrace(request, pid, address, data) < 0:
        raise OSError(ctypes.get_errno(), f"ptrace {request:#x}: {os.strerror(ctypes.get_errno())}")


class Tracee:
    def __init__(self, pid: int, role: int):
        self.pid, self.role = pid, role
        self.counts: Counter = Counter()
        self.result: int | None = None  # of the call that is under way, when it is not its own
        self.buffer = ctypes.create_string_buffer(88)

    def info(self) -> tuple:
        """(1, number, arguments) at a call's entry, (2, result, …) at its exit."""
        ptrace(GET_SYSCALL_INFO, self.pid, len(self.buffer), ctypes.addressof(self.buffer))
        operation, = struct.unpack_from("B", self.buffer)
        number, *arguments = struct.unpack_from("q6q", self.buffer, 24)
        return operation, number, arguments

    def path(self, name: str, arguments: list[int]) -> str:
        """What the call is about; "" if that is no file."""
        folder, text = PATHS.get(name, (0, None))
        try:
            if text is None:
                return "" if name in NO_DESCRIPTOR else os.readlink(f"/proc/{self.pid}/fd/{arguments[0]}")
            tail = self.string(arguments[text])
            if tail.startswith("/"):
                return tail
            number = ctypes.c_int(arguments[folder]).value if folder is not None else AT_FDCWD
            head = os.readlink(f"/proc/{self.pid}/{'cwd' if number == AT_FDCWD else f'fd/{number}'}")
            return f"{head}/{tail}".removesuffix("/")
        except OSError:
            return ""

    def string(self, address: int) -> str:
        with open(f"/proc/{self.pid}/mem", "rb", buffering=0) as memory:
            memory.seek(address)
            page = memory.read(4096 - address % 4096)
            return (page if b"\0" in page else page + memory.read(4096)).split(b"\0")[0].decode(errors="replace")


class Tree:
    """What is traced, from attach to the end of the last of it."""

    def __init__(self, names: dict[int, str], pid: int, rules: list[dict], record: bool, from_exec: bool):
        self.names, self.rules, self.record, self.waiting = names, rules, record, from_exec
        self.watched = {rule["role"] for rule in rules} | ({0, 1, 2} if record else set())
        self.with_paths = record or any("path" in rule or rule["do"] == "ask" for rule in rules)
        self.tracees = {pid: Tracee(pid, 0)}
        self.strangers: dict[int, int] = {}  # stopped before their parent's event told who they are
        self.fired: list[dict] = []
        self.calls: list[dict] = []
        self.ended: dict[int, int] = {}
        ptrace(SEIZE, pid, 0, SYSGOOD | FORK | VFORK | CLONE | EXEC | EXITKILL)

    def run(self) -> dict:
        while True:
            try:
                pid, status = os.waitpid(-1, WALL)
            except ChildProcessError:
                return {"fired": self.fired, "calls": self.calls, "ended": self.ended}
            with contextlib.suppress(ProcessLookupError):  # killed since
                self.on_status(pid, status)

    def on_status(self, pid: int, status: int) -> None:
        if not os.WIFSTOPPED(status):
            tracee = self.tracees.pop(pid, None)
            if tracee:
                self.ended[tracee.role] = os.waitstatus_to_exitcode(status)
        elif pid not in self.tracees:
            self.strangers[pid] = status
        else:
            self.on_stop(self.tracees[pid], os.WSTOPSIG(status), status >> 16)

    def on_stop(self, tracee: Tracee, number: int, event: int) -> None:
        if event in FORKS:
            self.adopt(tracee)
        elif event == EVENT_EXEC:
            self.waiting = False
        elif event == EVENT_STOP and number != signal.SIGTRAP:
            ptrace(LISTEN, tracee.pid)
            return
        elif number == signal.SIGTRAP | 0x80:
            self.on_call(tracee)
        self.resume(tracee, 0 if event or number == signal.SIGTRAP | 0x80 else number)

    def resume(self, tracee: Tracee, number: int = 0) -> None:
        ptrace(SYSCALL if tracee.role in self.watched else CONT, tracee.pid, 0, number)

    def adopt(self, parent: Tracee) -> None:
        message = ctypes.c_ulong()
        ptrace(GETEVENTMSG, parent.pid, 0, ctypes.addressof(message))
        child = self.tracees[message.value] = Tracee(message.value, parent.role + 1)
        if self.strangers.pop(child.pid, None):
            self.resume(child)

    def on_call(self, tracee: Tracee) -> None:
        operation, number, arguments = tracee.info()
        if operation == 1 and not self.waiting:
            self.on_entry(tracee, self.names.get(number, str(number)), arguments)
        elif operation == 2 and tracee.result is not None:
            ptrace(POKEUSER, tracee.pid, RAX, tracee.result)
            tracee.result = None

    def on_entry(self, tracee: Tracee, name: str, arguments: list[int]) -> None:
        tracee.counts[name] += 1
        point = {"role": tracee.role, "name": name, "n": tracee.counts[name]}
        if self.with_paths:
            point["path"] = tracee.path(name, arguments)
        if self.record:
            self.calls.append(point)
        for rule in self.rules:
            if rule["role"] == tracee.role and rule["name"] in (name, "*") and rule["n"] in (0, point["n"]) and \
                    re.search(rule.get("path", ""), point.get("path", "")):
                self.fired.append(point)
                if rule["n"]:
                    self.rules.remove(rule)
                self.act(tracee, rule, point, arguments)
                return

    def act(self, tracee: Tracee, rule: dict, point: dict, arguments: list[int]) -> None:
        action = rule["do"]
        if action == "kill-all":  # from the top, so that nobody sees another die and starts to repair
            for other in sorted(self.tracees.values(), key=lambda t: t.role):
                os.kill(other.pid, signal.SIGKILL)
        elif action == "kill":
            os.kill(tracee.pid, signal.SIGKILL)
        elif action == "error":
            self.skip(tracee, -rule["errno"])
        elif action == "fake":
            self.skip(tracee, 0)
        elif action == "short":
            ptrace(POKEUSER, tracee.pid, RDX, max(1, arguments[2] // 2))
        elif action == "ask":
            tell({"asked": point})
            sys.stdin.readline()

    @staticmethod
    def skip(tracee: Tracee, result: int) -> None:
        ptrace(POKEUSER, tracee.pid, ORIG_RAX, ctypes.c_ulong(-1).value)
        tracee.result = result


def tell(message: dict) -> None:
    print(json.dumps(message), flush=True)


def main() -> None:
    names = call_names()
    for line in iter(sys.stdin.readline, ""):
        order = json.loads(line)
        tree = Tree(names, **order)
        tell({"attached": order["pid"]})
        tell(tree.run())


if __name__ == "__main__":
    main()
