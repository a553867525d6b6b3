"""Points of a deployment: the deployer dies or is failed there, is started again once, and is asked once more.

What must hold at each: after the restart a matching pair is installed, the old or the new one; nothing of ours lies about
in mailcow's tree; what was accepted is deployed without the pusher, what was not is deployed by one more push; then every
endpoint serves the new one. A verdict that said so held at once.
"""
from __future__ import annotations

import errno
import itertools
import json
import select
import signal
import socket
import time
from dataclasses import dataclass
from typing import Iterator, Sequence

from tests.lab import mailcow
from tests.lab.host import Timeout, wait_for
from tests.lab.lab import DEPLOY, DEPLOY_STATE, HOSTNAME, SOCKET, Lab
from tests.lab.pki import Bundle
from tests.system.checks import sessions
from tests.system.protocol import HELLO, put

from . import process
from .outcome import NEW, OLD, TORN, Outcome
from .tracer import Tracer
from .wire import Wire

DAEMON, SESSION, JUDGE = 0, 1, 2
ROLES = {DAEMON: "daemon", SESSION: "session", JUDGE: "judge"}
TREES = (mailcow.SSL, f"{mailcow.PATH}/data/conf")
# The calls that read or change what is on the disk; each is failed once with each of these.
DISK = {"openat", "open", "read", "write", "pwrite64", "fsync", "fdatasync", "renameat", "renameat2", "rename", "mkdirat",
        "mkdir", "unlinkat", "unlink", "fchmod", "fchmodat", "fchown", "fchownat", "ftruncate", "linkat", "symlinkat", "close",
        "flock", "getdents64", "newfstatat", "statx", "faccessat2", "faccessat", "utimensat", "sync_file_range"}
ERRORS = (errno.ENOSPC, errno.EIO, errno.EMFILE, errno.EINTR)
SHORT = {"write", "pwrite64"}


def name_of(point: dict, action: str) -> str:
    return f"{action} at {ROLES[point['role']]} {point['name']} {point['n']}" + (f" {point['path']}" if point.get("path") else "")


def rule(point: dict, action: str, number: int = 0) -> dict:
    return {"role": point["role"], "name": point["name"], "n": point["n"], "do": action, "errno": number}


def lie(name: str, path: str, action: str = "fake", number: int = 0) -> list[dict]:
    """Every such call of a session, or of `recover`, on such a path does nothing and says that it is done."""
    return [{"role": role, "name": name, "n": 0, "path": path, "do": action, "errno": number} for role in (DAEMON, SESSION)]


Files = dict[str, str | None]  # path below the SSL folder -> content, None when it is not there


@dataclass(frozen=True)
class Change:
    """What one deployment is to change: what is said to the deployer, the files before and after, what is served then."""
    said: bytes
    before: Files
    after: Files
    served: dict[str | None, str]  # name asked for (None: without SNI) -> fingerprint, when it is done


class Primary:
    """cert.pem and key.pem are renewed, each time with a certificate that is a little younger."""
    name = want = "primary"

    def __init__(self, lab: Lab):
        self.lab = lab
        self.ages = itertools.count(1)
        self.installed = lab.old

    def prepare(self) -> None:
        """After a reset of the lab."""
        self.installed = self.lab.old

    def bundle(self) -> Bundle:
        return self.lab.issue(age=59 - next(self.ages) / 1440)

    @staticmethod
    def files(bundle: Bundle) -> Files:
        return {"cert.pem": bundle.fullchain, "key.pem": bundle.key}

    def change(self) -> Change:
        new = self.bundle()
        return Change(said=HELLO + put(new.pem, self.want) + b"DEPLOY\n", before=self.files(self.installed),
                      after=self.files(new), served={None: new.fingerprint, HOSTNAME: new.fingerprint})

    def done(self, change: Change) -> None:
        """It is installed: the next change begins there."""
        self.installed = Bundle(change.after["cert.pem"], "", change.after["key.pem"])

    def record(self) -> dict:
        path = f"{DEPLOY_STATE}/wants/{self.want}/record.json"
        return json.loads(self.lab.mail.read(path)) if self.lab.mail.exists(path) else {"state": "none", "fingerprint": ""}

    def accepted(self, change: Change) -> bool:
        """Whether the deployer's record says that it will deploy it."""
        return self.record()["fingerprint"] == change.served[None]


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
        self.tracer.close()
        self.wire.close()

    def __enter__(self) -> Torture:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def reset(self) -> None:
        """To where a deployer is that has been at work for long: as many generations as it keeps."""
        if self.is_known:
            return
        self.lab.reset()
        self.scenario.prepare()
        self.tree = self.listing()
        self.lab.start_deployer()
        for _ in range(5):
            change = self.scenario.change()
            if " deployed " not in (answer := self.say(change.said)):
                raise RuntimeError(f"an undisturbed deployment fails:\n{answer}")
            self.scenario.done(change)
        self.is_known = True

    # What lies on the disk

    def listing(self) -> set[str]:
        found = set()
        for tree in TREES:
            top = self.lab.mail.path(tree)
            found |= {f"{tree}/{path.relative_to(top)}" for path in top.rglob("*")}
        return found

    def state(self, change: Change) -> str:
        now = {name: self.content(name) for name in change.after}
        return OLD if now == change.before else NEW if now == change.after else TORN

    def content(self, name: str) -> str | None:
        path = f"{mailcow.SSL}/{name}"
        return self.lab.mail.read(path) if self.lab.mail.exists(path) else None

    def strays(self, change: Change) -> list[str]:
        allowed = self.tree | {f"{mailcow.SSL}/{name}" for name in change.after}
        return sorted(self.listing() - allowed)

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
        if " deployed " not in heard:
            raise RuntimeError(f"an undisturbed deployment fails when it is recorded:\n{heard}")
        self.scenario.done(change)
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
        return any(line.startswith(("250-want ", "251-want ")) and change.served[None] in line for line in heard.splitlines())

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
        promised = "150 staged " in self.heard
        accepted = self.scenario.accepted(change)
        if promised and not accepted:
            outcome.problems.append("told the pusher that it is staged, and has forgotten it")
        answer = self.say(HELLO + b"RECONCILE\n") if accepted else self.say(change.said)
        last = answer.splitlines()[-1] if answer else "no answer"
        if not last.startswith(("250 ", "251 ")):
            outcome.problems.append(f"the next {'reconcile' if accepted else 'push'}: {last}")
        if self.state(change) != NEW:
            outcome.problems.append(f"after the next pass the {self.state(change)} is installed")
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


def kills(torture: Torture) -> Iterator[Point]:
    """Everything dies at each call."""
    for point in torture.calls():
        yield name_of(point, "kill"), [rule(point, "kill-all")], None


def lone_kills(torture: Torture) -> Iterator[Point]:
    """One process dies at each call: the daemon lives on when its session does not, the session when the judge does not."""
    for point in torture.calls():
        yield name_of(point, "kill alone"), [rule(point, "kill")], None


def is_on_disk(point: dict) -> bool:
    return point["name"] in DISK and point["path"].startswith((DEPLOY_STATE, *TREES))


def failures(calls: list[dict]) -> Iterator[tuple[str, dict]]:
    for point in filter(is_on_disk, calls):
        for number in ERRORS:
            yield name_of(point, errno.errorcode[number]), rule(point, "error", number)
        if point["name"] in SHORT:
            yield name_of(point, "short"), rule(point, "short")


def errors(torture: Torture) -> Iterator[Point]:
    """Each call that concerns the state or mailcow's tree fails once, with each error."""
    for name, failing in failures(torture.calls()):
        yield name, [failing], None


def renames(torture: Torture) -> list[dict]:
    """The calls that replace a file of the SSL folder."""
    return [point for point in torture.calls() if point["name"].startswith("rename") and point["path"].startswith(mailcow.SSL)]


def recovery(torture: Torture) -> Iterator[Point]:
    """A crash before each rename of the installation, then another one at each call of the recovery, or an error there."""
    for crash in renames(torture):
        calls = torture.recovery_calls([rule(crash, "kill-all")])
        for point in calls:
            yield f"{name_of(crash, 'kill')}, then at recover's {point['name']} {point['n']}", \
                [rule(crash, "kill-all")], [rule(point, "kill-all")]
        for name, failing in failures(calls):
            yield f"{name_of(crash, 'kill')}, then {name}", [rule(crash, "kill-all")], [failing]


KINDS = {"kill": kills, "kill-alone": lone_kills, "error": errors, "recovery": recovery}


def install_calls(calls: list[dict]) -> list[dict]:
    """What makes an installation what it is: its renames, and what is synced before and after them."""
    return [point for point in calls if point["name"].startswith(("rename", "fsync", "mkdir")) and is_on_disk(point)]


def sample(torture: Torture) -> Iterator[Point]:
    """Death at each rename and fsync, and at some calls of every sort; an error at some of them."""
    calls = torture.calls()
    for point in install_calls(calls) + calls[::len(calls) // 8]:
        yield name_of(point, "kill"), [rule(point, "kill-all")], None
    for point in install_calls(calls)[::3]:
        yield name_of(point, "EIO"), [rule(point, "error", errno.EIO)], None
