"""Points of a deployment: the deployer dies or is failed there, is started again once, and is asked once more.

What must hold at each: after the restart a matching pair is installed, the old or the new one; nothing of ours lies about
in mailcow's tree; what was accepted is deployed without the pusher, what was not is deployed by one more push; then every
endpoint serves the new one. A verdict that said so held at once.
"""
from __future__ import annotations

import errno
import itertools
import re
import select
import signal
import socket
import time
from typing import Callable, Iterable, Iterator, Sequence

from tests.lab import mailcow
from tests.lab.host import Timeout, wait_for
from tests.lab.lab import DEPLOY, DEPLOY_STATE, SOCKET, Lab
from tests.system.checks import sessions

from . import process
from .outcome import NEW, TORN, Outcome
from .scenario import STEPS, Change, Primary
from .tracer import Tracer
from .wire import Wire

DAEMON, SESSION, JUDGE = 0, 1, 2
ROLES = {DAEMON: "daemon", SESSION: "session", JUDGE: "judge"}
TREES = (mailcow.SSL, f"{mailcow.PATH}/data/conf")
# The calls that change what is on the disk, and those that read it; openat(2) may do either.
CHANGING = {"write", "pwrite64", "fsync", "fdatasync", "renameat", "renameat2", "rename", "mkdirat", "mkdir", "unlinkat", "unlink",
            "fchmod", "fchmodat", "fchown", "fchownat", "ftruncate", "linkat", "symlinkat", "utimensat", "sync_file_range"}
READING = {"read", "close", "flock", "getdents64", "newfstatat", "statx", "faccessat2", "faccessat"}
ERRORS = (errno.ENOSPC, errno.EIO, errno.EMFILE, errno.EINTR)
SHORT = {"write", "pwrite64"}


def name_of(point: dict, action: str) -> str:
    return f"{action} at {ROLES[point['role']]} {point['name']} {point['n']}" + (f" {point['path']}" if point.get("path") else "")


def rule(point: dict, action: str, number: int = 0) -> dict:
    return {"role": point["role"], "name": point["name"], "n": point["n"], "do": action, "errno": number}


def lie(name: str, path: str, action: str = "fake", number: int = 0) -> list[dict]:
    """Every such call of a session, or of `recover`, on such a path does nothing and says that it is done."""
    return [{"role": role, "name": name, "n": 0, "path": path, "do": action, "errno": number} for role in (DAEMON, SESSION)]


class Torture:
    """Runs points on a lab with the product installed."""

    def __init__(self, lab: Lab, scenario_class=Primary, lies: Sequence[dict] = (), recovers: bool = True):
        """lies: rules that hold in every deployment and recovery, and with recovers=False none is made: what the product
        does for its safety is taken out, to see that it is missed."""
        self.lab, self.lies, self.recovers = lab, list(lies), recovers
        self.tracer, self.wire = Tracer(), Wire(lab.mail)
        self.scenario = scenario_class(lab)
        self.is_known = False  # whether everything is as the scenario has it
        self.reset()

    def close(self) -> None:
        self.lab.stop_deployer()
        self.scenario.release()
        self.tracer.close()
        self.wire.close()

    def __enter__(self) -> Torture:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def reset(self) -> None:
        """To where a deployer is that has been at work for long."""
        if self.is_known:
            return
        self.lab.reset()
        self.scenario.prepare()
        self.lab.start_deployer()
        for _ in range(self.scenario.primes):
            change = self.scenario.change()
            self.expect(change, self.say(change.said))
        self.tree = self.listing()
        self.is_known = True

    def expect(self, change: Change, heard: str) -> None:
        """An undisturbed deployment ends as it should."""
        if self.state(change) != self.scenario.goal or not heard.splitlines()[-1].startswith(self.scenario.verdicts):
            raise RuntimeError(f"{self.scenario.name}: an undisturbed deployment fails:\n{heard}")
        self.scenario.done(change)

    # What lies on the disk

    def listing(self) -> set[str]:
        found = set()
        for tree in TREES:
            top = self.lab.mail.path(tree)
            found |= {f"{tree}/{path.relative_to(top)}" for path in top.rglob("*")}
        return found

    def state(self, change: Change) -> str:
        return change.state(self.content)

    def content(self, name: str) -> str | None:
        path = f"{mailcow.SSL}/{name}"
        return self.lab.mail.read(path) if self.lab.mail.exists(path) else None

    def strays(self, change: Change) -> list[str]:
        ours = {f"{mailcow.SSL}/{path}" for name in change.paths for path in (name, name.rpartition("/")[0])}
        return sorted(self.listing() - self.tree - ours)

    # Asking

    def say(self, said: bytes) -> str:
        """All in one flight; the whole of what comes back until the session ends, however that is."""
        with socket.socket(socket.AF_UNIX) as stream:
            stream.connect(str(self.lab.mail.path(SOCKET)))
            heard, deadline = b"", time.monotonic() + process.PATIENCE
            try:
                stream.sendall(said)
                while True:
                    if not select.select([stream], [], [], max(0, deadline - time.monotonic()))[0]:
                        raise Timeout(f"no end of the session within {process.PATIENCE} s: {heard.decode()}")
                    if not (data := stream.recv(65536)):
                        return heard.decode()
                    heard += data
            except (BrokenPipeError, ConnectionResetError):
                return heard.decode()

    # Points

    def trace(self, change: Change, rules: list[dict], record: bool = False) -> tuple[str, dict]:
        """One deployment under the rules, and the end of all of it: what the client heard, what the tracer saw."""
        self.tracer.attach(self.lab.deployer.inner(), [*rules, *self.lies], record)
        try:
            heard = self.say(change.said)
            wait_for(lambda: is_idle(self.lab), "the daemon's children to end", process.PATIENCE)  # it clears up behind a session that was killed
        finally:
            self.lab.stop_deployer(signal.SIGKILL)
            seen = self.tracer.result()
        return heard, seen

    def recover(self, rules: list[dict], record: bool = False) -> process.Traced:
        return process.run(self.tracer, self.lab.mail, [DEPLOY, "recover"], [*rules, *self.lies], record)

    def calls(self) -> list[dict]:
        """Every system call of an undisturbed deployment, in order."""
        change = self.scenario.change()
        heard, seen = self.trace(change, [], record=True)
        self.expect(change, heard)
        self.lab.start_deployer()
        return seen["calls"]

    def recovery_calls(self, rules: list[dict]) -> list[dict]:
        """Every system call of the recovery from a crash."""
        change = self.scenario.change()
        self.disturb(change, rules, Outcome(""))
        recovered = self.recover([], record=True)
        if recovered.status:
            raise RuntimeError(f"recover: exit {recovered.status}: {recovered.output}")
        self.lab.start_deployer()
        self.finish(change, outcome := Outcome(""))
        if outcome.problems:
            raise RuntimeError(f"recover: {outcome.problems}")
        self.scenario.done(change)
        return recovered.seen["calls"]

    def run(self, name: str, rules: list[dict], recovery: list[dict] | None = None) -> Outcome:
        """A deployment under the rules; with recovery, the restart behind it is disturbed as well, and then done again."""
        self.reset()
        begin = time.monotonic()
        outcome = Outcome(name)
        change = self.scenario.change()
        try:
            self.disturb(change, rules, outcome)
            if recovery:
                outcome.reached = bool(self.recover(recovery).seen["fired"])
            self.restart(change, outcome)
            self.finish(change, outcome)
        except (AssertionError, OSError, RuntimeError) as error:
            outcome.problems.append(f"{type(error).__name__}: {error}")
        outcome.seconds = time.monotonic() - begin
        self.is_known = outcome.good
        if outcome.good:
            self.scenario.done(change)
        return outcome

    def disturb(self, change: Change, rules: list[dict], outcome: Outcome) -> None:
        self.heard, seen = self.trace(change, rules)
        outcome.reached = bool(seen["fired"])
        outcome.at_once = self.state(change)
        crashed = {ROLES[int(role)]: -status for role, status in seen["ended"].items()
                   if status < 0 and -status not in (signal.SIGKILL, signal.SIGTERM)}
        if crashed:
            outcome.problems.append(f"ended by signals: {crashed}")
        if self.served_in(self.heard, change) and outcome.at_once != NEW:
            outcome.problems.append(f"called deployed, and installed is the {outcome.at_once}")

    @staticmethod
    def served_in(heard: str, change: Change) -> bool:
        return any(line.startswith(("250-want ", "251-want ")) and change.leaf and f"={change.leaf} " in line for line in heard.splitlines())

    def restart(self, change: Change, outcome: Outcome) -> None:
        if self.recovers:
            self.boot(outcome)
        outcome.state = self.state(change)
        if outcome.state == TORN:
            outcome.problems.append("a torn pair after the restart")
        outcome.strays = self.strays(change)
        if outcome.strays:
            outcome.problems.append(f"left in mailcow's tree: {' '.join(outcome.strays)}")
        self.lab.start_deployer()

    def boot(self, outcome: Outcome) -> None:
        if self.lies:
            recovered = self.recover([])
            status, said = recovered.status, recovered.output
        else:
            recovered = self.lab.deploy("recover")
            status, said = recovered.returncode, recovered.stderr
        if status:
            outcome.problems.append(f"recover: exit {status}: {said.strip()}")

    def finish(self, change: Change, outcome: Outcome) -> None:
        """What was accepted needs no pusher any more."""
        if "150 staged " in self.heard and not self.scenario.accepted(change):
            outcome.problems.append("told the pusher that it is staged, and has forgotten it")
        said = self.scenario.again(change)
        answer = self.say(said)
        last = answer.splitlines()[-1] if answer else "no answer"
        if not last.startswith(self.scenario.verdicts):
            outcome.problems.append(f"the next {'push' if said == change.said else 'reconcile'}: {last}")
        if self.state(change) != self.scenario.goal:
            outcome.problems.append(f"after the next pass the {self.state(change)} is installed")
        outcome.problems += self.scenario.problems(change)
        for name, fingerprint in change.served.items():
            others = {endpoint: leaf for endpoint, leaf in self.wire.everywhere(name).items() if leaf != fingerprint}
            if others:
                outcome.problems.append(f"not served for {name or 'no name'}: {others}")
        if self.strays(change):
            outcome.problems.append(f"left after the next pass: {' '.join(self.strays(change))}")
        outcome.finished = not outcome.problems


def is_idle(lab: Lab) -> bool:
    """The daemon has nothing to do, or is not there."""
    try:
        return not sessions(lab)
    except (FileNotFoundError, ProcessLookupError):
        return True


# Which points there are. Each is a name, the rules of the deployment, and those of the recovery behind it.

Point = tuple[str, list[dict], list[dict] | None]


def is_on_disk(point: dict) -> bool:
    return point["path"].startswith((DEPLOY_STATE, *TREES))


def is_change(point: dict) -> bool:
    return point["name"] in CHANGING and is_on_disk(point)


def tried(calls: Iterable[dict], steps: int, always: Callable[[dict], bool] = is_change) -> list[dict]:
    """The calls at which a kill is tried: those that are always, and of the others one in so many steps."""
    return [point for number, point in enumerate(calls) if number % steps == 0 or always(point)]


def kills(torture: Torture) -> Iterator[Point]:
    """Everything dies at each call."""
    for point in tried(torture.calls(), torture.scenario.steps):
        yield name_of(point, "kill"), [rule(point, "kill-all")], None


def lone_kills(torture: Torture) -> Iterator[Point]:
    """One process dies at a call: the daemon lives on when its session does not, the session when the judge does not."""
    calls = torture.calls()
    for point in tried([p for p in calls if p["role"] == SESSION], STEPS) + [p for p in calls if p["role"] != SESSION]:
        yield name_of(point, "kill alone"), [rule(point, "kill")], None


def failures(calls: Iterable[dict], each: bool, first: int = 0) -> Iterator[tuple[dict, str, dict]]:
    """(call, failure, rule): one that opens or changes a file fails once with each of ERRORS, or (each: False) with one of
    them, in turn from the first; one that reads, with one of them."""
    numbers = itertools.cycle(ERRORS[first:] + ERRORS[:first])
    for point in calls:
        if point["name"] in CHANGING | READING | {"openat"}:
            for number in itertools.islice(numbers, len(ERRORS) if each and point["name"] not in READING else 1):
                yield point, errno.errorcode[number], rule(point, "error", number)
        if point["name"] in SHORT:
            yield point, "short", rule(point, "short")


def may_fail(point: dict) -> bool:
    """A call that concerns the state or mailcow's tree, or opens or changes anything else, but for the search through
    everybody's processes for a running update.sh. Not in the judge: its filter takes a skipped call for a forbidden one."""
    is_other = point["name"] in CHANGING | {"openat"} and not re.match("/proc/[0-9]", point["path"])
    return is_on_disk(point) or (is_other and point["role"] != JUDGE)


def errors(torture: Torture) -> Iterator[Point]:
    """Each of these fails once."""
    for point, failure, failing in failures(filter(may_fail, torture.calls()), each=torture.scenario.steps == 1):
        yield name_of(point, failure), [failing], None


def renames(torture: Torture) -> list[dict]:
    """The calls that replace a file of the SSL folder."""
    return [point for point in torture.calls() if point["name"].startswith("rename") and point["path"].startswith(mailcow.SSL)]


def recovery(torture: Torture) -> Iterator[Point]:
    """A crash before each rename of the installation, then another one at a call of the recovery, or an error there."""
    for number, crash in enumerate(renames(torture)):
        calls = torture.recovery_calls([rule(crash, "kill-all")])
        for point in tried(calls, STEPS):
            yield f"{name_of(crash, 'kill')}, then at recover's {point['name']} {point['n']}", \
                [rule(crash, "kill-all")], [rule(point, "kill-all")]
        for point, failure, failing in failures(filter(is_on_disk, calls), each=False, first=number % len(ERRORS)):
            yield f"{name_of(crash, 'kill')}, then {name_of(point, failure)}", [rule(crash, "kill-all")], [failing]


KINDS = {"kill": kills, "kill-alone": lone_kills, "error": errors, "recovery": recovery}


def install_calls(calls: list[dict]) -> list[dict]:
    """What makes an installation what it is: its renames, and what is synced before and after them."""
    return [point for point in calls if point["name"].startswith(("rename", "fsync", "mkdir")) and is_on_disk(point)]


def sample(torture: Torture) -> Iterator[Point]:
    """Death at each rename and fsync, and at some calls of every sort; at some of them a failure of each sort."""
    calls = torture.calls()
    for point in install_calls(calls) + calls[::len(calls) // 8]:
        yield name_of(point, "kill"), [rule(point, "kill-all")], None
    for point, failure, failing in failures([p for p in calls if is_change(p)][::4], each=False):
        yield name_of(point, failure), [failing], None
