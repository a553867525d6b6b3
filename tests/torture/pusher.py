"""Points of a pass: the pusher dies or is failed there, and the next pass comes.

What must hold at each: the state file is the old or the new one and can be read; what it calls served is installed; the next
pass ends with the new certificate served on every endpoint and recorded, and leaves nothing beside the state file.
"""
from __future__ import annotations

import errno
import itertools
import json
import time
from typing import Iterator

from tests.lab.lab import ETC, LETSENCRYPT, PUSH, PUSH_STATE, Lab
from tests.lab.pki import Bundle

from . import process
from .deployer import Point, failures, rule, tried
from .outcome import NEW, OLD, TORN, Outcome
from .scenario import STEPS
from .tracer import Tracer
from .wire import Wire

ROLES = {0: "pusher", 1: "ssh"}
FILE = f"{PUSH_STATE}/mailcow.json"
FOLDERS = (PUSH_STATE, ETC, LETSENCRYPT)


def name_of(point: dict, action: str) -> str:
    return f"{action} at {ROLES[point['role']]} {point['name']} {point['n']} {point['path']}".rstrip()


class Torture:
    def __init__(self, lab: Lab):
        self.lab = lab
        self.tracer, self.wire = Tracer(), Wire(lab.mail)
        self.ages = itertools.count(1)
        self.is_known = False  # whether everything is as the last pass left it
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
        if self.is_known:
            return
        self.lab.reset()
        self.lab.start_deployer()
        for _ in range(2):
            self.renew()
            self.pass_by(outcome := Outcome(""))
            if outcome.problems:
                raise RuntimeError(f"an undisturbed pass fails: {outcome.problems}")
        self.is_known = True

    def renew(self) -> None:
        self.new: Bundle = self.lab.renew(self.lab.issue(age=59 - next(self.ages) / 1440))
        self.before = self.lab.proxy.read(FILE) if self.lab.proxy.exists(FILE) else None

    def state(self) -> str:
        now = self.lab.proxy.read(FILE) if self.lab.proxy.exists(FILE) else None
        if now == self.before:
            return OLD
        try:
            fingerprint = json.loads(now or "")["wants"][0]["fingerprint"]
        except (ValueError, LookupError):
            return TORN
        return {self.new.fingerprint: NEW, "": OLD}.get(fingerprint, TORN)  # "": the old one, its verdict withdrawn

    def calls(self) -> list[dict]:
        self.renew()
        traced = process.run(self.tracer, self.lab.proxy, [PUSH], [], record=True)
        if traced.status:
            raise RuntimeError(f"an undisturbed pass fails when it is recorded:\n{traced.output}")
        return traced.seen["calls"]

    def run(self, name: str, rules: list[dict], _=None) -> Outcome:
        self.reset()
        begin = time.monotonic()
        outcome = Outcome(name)
        self.renew()
        try:
            traced = process.run(self.tracer, self.lab.proxy, [PUSH], rules)
            outcome.reached = bool(traced.seen["fired"])
            outcome.at_once = outcome.state = self.state()
            if outcome.state == TORN:
                outcome.problems.append("a damaged state")
            if outcome.state == NEW and self.lab.mailcow.installed() != (self.new.fullchain, self.new.key):
                outcome.problems.append("recorded as served, and not installed")
            if traced.status == 0 and outcome.state != NEW:
                outcome.problems.append(f"exit status 0, and no record of it: {traced.output.strip()}")
            self.pass_by(outcome)
        except (AssertionError, OSError, RuntimeError) as error:
            outcome.problems.append(f"{type(error).__name__}: {error}")
        outcome.seconds = time.monotonic() - begin
        self.is_known = outcome.good
        return outcome

    def pass_by(self, outcome: Outcome) -> None:
        """The next pass, undisturbed."""
        passed = self.lab.push()
        if passed.returncode:
            outcome.problems.append(f"the next pass: exit {passed.returncode}: {passed.stderr.strip()}")
        if self.state() != NEW:
            outcome.problems.append("the next pass records nothing")
        if self.lab.mailcow.installed() != (self.new.fullchain, self.new.key):
            outcome.problems.append("the next pass installs nothing")
        others = {endpoint: leaf for endpoint, leaf in self.wire.everywhere().items() if leaf != self.new.fingerprint}
        if others:
            outcome.problems.append(f"not served: {others}")
        outcome.strays = sorted({path.name for path in self.lab.proxy.path(PUSH_STATE).iterdir()} - {"mailcow.json", "mailcow.history"})
        if outcome.strays:
            outcome.problems.append(f"left in the state folder: {' '.join(outcome.strays)}")
        outcome.finished = not outcome.problems


def kills(torture: Torture) -> Iterator[Point]:
    """The pusher and its SSH child die at a call of either: each of those that concern the files, and some of the others."""
    for point in tried(torture.calls(), STEPS, is_on_disk):
        yield name_of(point, "kill"), [rule(point, "kill-all")], None


def lone_kills(torture: Torture) -> Iterator[Point]:
    """The SSH child dies at one in so many of its calls."""
    for point in [point for point in torture.calls() if point["role"] == 1][::STEPS]:
        yield name_of(point, "kill alone"), [rule(point, "kill")], None


def is_on_disk(point: dict) -> bool:
    """It concerns the state, the lineages, the key or known_hosts."""
    return point["path"].startswith(FOLDERS)


def errors(torture: Torture) -> Iterator[Point]:
    """Each call that concerns these fails once."""
    for point, failure, failing in failures(filter(is_on_disk, torture.calls()), each=True):
        yield name_of(point, failure), [failing], None


KINDS = {"kill": kills, "kill-alone": lone_kills, "error": errors}


def sample(torture: Torture) -> Iterator[Point]:
    """Death and an error at each change of the state, and death at some other calls."""
    calls = torture.calls()
    changes = [p for p in calls if p["path"].startswith(PUSH_STATE) and p["name"] in ("write", "fsync", "renameat")]
    for point in changes + calls[::len(calls) // 6]:
        yield name_of(point, "kill"), [rule(point, "kill-all")], None
    for point in changes:
        yield name_of(point, "ENOSPC"), [rule(point, "error", errno.ENOSPC)], None
