"""`python3 -m tests.torture [--every N] [--labs N] [--json FILE] [--resume] [--page] [PART …]`: every point of every part, and what became of them."""
from __future__ import annotations

import argparse
import json
import signal
import subprocess
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


def deployment(which: type, kind: str, lab: Lab, share: slice) -> Tally:
    with deployer.Torture(lab, which) as torture:
        points = list(deployer.KINDS[kind](torture))[share]
        return count(Tally(which.name, kind), (torture.run(*point) for point in points), len(points))


def power_cut(which: type, sort: str, lab: Lab, _: slice) -> Tally:
    with powercut.PowerCut(lab, which) as power:
        outcomes = power.run(sort)
        return count(Tally(which.name, f"power-cut-{sort}"), outcomes, len(outcomes))


def pushing(kind: str, lab: Lab, share: slice) -> Tally:
    with pusher.Torture(lab) as torture:
        points = list(pusher.KINDS[kind](torture))[share]
        return count(Tally("pusher", kind), (torture.run(*point) for point in points), len(points))


def cutting(kind: str, lab: Lab, share: slice) -> Tally:
    with cuts.Cuts(lab) as link:
        return count(Tally("stream", f"cut-{kind}"), cuts.KINDS[kind](link, share.step))


# Takes the lab and which of the points.
PARTS: dict[str, Callable[[Lab, slice], Tally]] = {
    **{f"{which.name}/{kind}": partial(deployment, which, kind) for which, kinds in DEPLOYMENTS.items() for kind in kinds},
    **{f"{which.name}/power-cut-{sort}": partial(power_cut, which, sort)
       for which in POWER_CUTS for sort in (powercut.LATE, powercut.EARLY)},
    **{f"pusher/{kind}": partial(pushing, kind) for kind in pusher.KINDS},
    **{f"stream/cut-{kind}": partial(cutting, kind) for kind in cuts.KINDS},
    **{f"crowd/{kind}": partial(crowd.run, kind) for kind in crowd.KINDS},
    **{f"load/{kind}": partial(load.run, kind) for kind in load.KINDS},
}
# What several labs have each some points of; the other parts are done whole. Of what is timed one lab has the machine to itself.
SHARED = [name for name, part in PARTS.items() if getattr(part, "func", None) in (deployment, pushing)]
TIMED = [name for name in PARTS if name.startswith(("crowd/", "load/"))]


class Rows(list):
    """What has been counted, a dictionary for each part, and the file that it is kept in."""

    def __init__(self, file: Path | None, resume: bool):
        super().__init__(json.loads(file.read_text()) if file and resume and file.exists() else [])
        self.file = file

    def add(self, row: dict) -> None:
        self.append(row)
        if self.file:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            self.file.write_text(json.dumps(self, indent=2) + "\n")

    def lacking(self, names: Iterable[str]) -> list[str]:
        done = {row["part"] for row in self}
        return [name for name in names if name not in done]


def run(names: Iterable[str], every: int, share: int, shares: int, rows: Rows) -> None:
    """One share of the parts: of those in SHARED so much of the points, of the others every so many-th."""
    if names := rows.lacking(name for name in names if name in SHARED or list(PARTS).index(name) % shares == share):
        with Lab() as lab:
            lab.install()
            for name in names:
                points = slice(share * every, None, shares * every) if name in SHARED else slice(0, None, every)
                rows.add({"part": name, "every": every} | PARTS[name](lab, points).counts())


def run_shares(names: list[str], every: int, shares: int, resume: bool, rows: Rows) -> None:
    """Each share in a process of its own, beside a file of its own; then all together."""
    files = [rows.file.with_suffix(f".{share}of{shares}.json") for share in range(shares)]
    options = ["--every", str(every), *(["--resume"] if resume else [])]
    processes = [subprocess.Popen([sys.executable, "-m", "tests.torture", *options, "--json", file, "--share", f"{share}/{shares}", *names],
                                  stdout=subprocess.DEVNULL) for share, file in enumerate(files)]
    try:
        for process in processes:
            process.wait()
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()
    kept = [row for file in files for row in Rows(file, resume=True)]
    counted = {name: [row for row in kept if row["part"] == name] for name in names}
    if unfinished := [name for name in names if len(counted[name]) < (shares if name in SHARED else 1)]:
        raise RuntimeError(f"not to its end came {' '.join(unfinished)}; --resume goes on")
    for name in names:
        rows.add(total(counted[name]))
    for file in files:
        file.unlink()


def total(rows: list[dict]) -> dict:
    """Of the shares of one part."""
    return rows[0] | {key: sum((row[key] for row in rows), start=type(value)()) for key, value in rows[0].items()
                      if not isinstance(value, str) and key != "every"}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python3 -m tests.torture", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of: {' '.join(PARTS)}; all by default")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only one of N points")
    parser.add_argument("--labs", type=int, default=1, metavar="N", help="so many at a time; what is timed has the machine for itself")
    parser.add_argument("--share", default="0/1", metavar="I/N", help="only the I-th of N shares, from 0")
    parser.add_argument("--page", action="store_true", help="write docs/reliability.md")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the counts go")
    parser.add_argument("--resume", action="store_true", help="not the parts whose counts are in FILE")
    options = parser.parse_args()
    if (options.resume or options.labs > 1) and not options.json:
        parser.error("--resume and --labs need --json")
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no such part: {' '.join(sorted(unknown))}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    rows = Rows(options.json, options.resume)
    names = options.parts or PARTS
    if options.labs > 1:
        run_shares([name for name in rows.lacking(names) if name not in TIMED], options.every, options.labs, options.resume, rows)
    run(names, options.every, *map(int, options.share.split("/")), rows)
    if options.page:
        table.write(sorted(rows, key=lambda row: list(PARTS).index(row["part"])))
    for row in rows:
        print(" ".join(f"{key}={value}" for key, value in row.items() if key != "failures"))
    return int(any(row["problems"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
