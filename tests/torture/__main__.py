"""`python3 -m tests.torture [--every N] [--json FILE] [--resume] [--page] [PART …]`: every point of every part, and what became of them."""
from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from functools import partial
from pathlib import Path
from typing import Callable, Iterable

from tests.lab.lab import Lab

from . import crowd, cuts, deployer, load, powercut, pusher, scenario, table
from .outcome import Tally

# scenario -> kinds of points
DEPLOYMENTS = {scenario.Primary: ["kill", "kill-alone", "error", "recovery"], scenario.First: ["kill", "error"],
               scenario.Restart: ["kill"], scenario.Rollback: ["kill", "error"],
               scenario.SniRenewal: ["kill", "error", "recovery"], scenario.SniAddition: ["kill", "error", "recovery"],
               scenario.SniRemoval: ["kill", "error"]}
POWER_CUTS = [scenario.Primary, scenario.First, scenario.SniRenewal]


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def count(tally: Tally, outcomes: Iterable, total: int = 0) -> Tally:
    begin = time.monotonic()
    for number, outcome in enumerate(outcomes, start=1):
        tally.add(outcome)
        for problem in outcome.problems:
            say(f"{tally.scenario}/{tally.kind}: {outcome.point}: {problem}")
        if number % 50 == 0 or number == total:
            say(f"{tally.scenario}/{tally.kind}: {number}{f' of {total}' if total else ''}, {len(tally.failures)} bad, {time.monotonic() - begin:.0f} s")
    return tally


def deployment(which: type, kind: str, lab: Lab, every: int) -> Tally:
    with deployer.Torture(lab, which) as torture:
        points = list(deployer.KINDS[kind](torture))[::every]
        return count(Tally(which.name, kind), (torture.run(*point) for point in points), len(points))


def power_cut(which: type, sort: str, lab: Lab, _: int) -> Tally:
    with powercut.PowerCut(lab, which) as power:
        outcomes = power.run(sort)
        return count(Tally(which.name, f"power-cut-{sort}"), outcomes, len(outcomes))


def pushing(kind: str, lab: Lab, every: int) -> Tally:
    with pusher.Torture(lab) as torture:
        points = list(pusher.KINDS[kind](torture))[::every]
        return count(Tally("pusher", kind), (torture.run(*point) for point in points), len(points))


def cutting(kind: str, lab: Lab, every: int) -> Tally:
    with cuts.Cuts(lab) as link:
        return count(Tally("stream", f"cut-{kind}"), cuts.KINDS[kind](link, every))


PARTS: dict[str, Callable[[Lab, int], Tally]] = {
    **{f"{which.name}/{kind}": partial(deployment, which, kind) for which, kinds in DEPLOYMENTS.items() for kind in kinds},
    **{f"{which.name}/power-cut-{sort}": partial(power_cut, which, sort)
       for which in POWER_CUTS for sort in (powercut.LATE, powercut.EARLY)},
    **{f"pusher/{kind}": partial(pushing, kind) for kind in pusher.KINDS},
    **{f"stream/cut-{kind}": partial(cutting, kind) for kind in cuts.KINDS},
    **{f"crowd/{kind}": partial(crowd.run, kind) for kind in crowd.KINDS},
    "load/renewal": load.run,
}


def run(names: Iterable[str], every: int, rows: list[dict], keep: Callable[[list[dict]], None]) -> None:
    """every: of so many points only one; rows: what has been counted, to which is added; keep: takes them each time that a part
    is done."""
    with Lab() as lab:
        lab.install()
        for name in names:
            rows.append({"part": name, "every": every} | PARTS[name](lab, every).counts())
            keep(rows)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python3 -m tests.torture", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of: {' '.join(PARTS)}; all by default")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only one of N points")
    parser.add_argument("--page", action="store_true", help="write docs/reliability.md")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the counts go")
    parser.add_argument("--resume", action="store_true", help="not the parts whose counts are in FILE")
    options = parser.parse_args()
    if options.resume and not options.json:
        parser.error("--resume needs --json")
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no such part: {' '.join(sorted(unknown))}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

    def keep(rows: list[dict]) -> None:
        if options.json:
            options.json.parent.mkdir(parents=True, exist_ok=True)
            options.json.write_text(json.dumps(rows, indent=2) + "\n")

    rows = json.loads(options.json.read_text()) if options.resume and options.json.exists() else []
    done = {row["part"] for row in rows}
    if todo := [name for name in options.parts or PARTS if name not in done]:
        run(todo, options.every, rows, keep)
    if options.page:
        table.write(sorted(rows, key=lambda row: list(PARTS).index(row["part"])))
    for row in rows:
        print(" ".join(f"{key}={value}" for key, value in row.items() if key != "failures"))
    return int(any(row["problems"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
