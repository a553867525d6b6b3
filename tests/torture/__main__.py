"""`python3 -m tests.torture [--json FILE] [--sample] [PART …]`: every point of every part, and what became of them."""
from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from pathlib import Path
from typing import Iterable

from tests.lab.lab import Lab

from . import deployer
from .outcome import Tally

SCENARIOS = {"primary": deployer.Primary}
PARTS = [f"{scenario}/{kind}" for scenario in SCENARIOS for kind in deployer.KINDS]


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def run(torture: deployer.Torture, scenario: str, kind: str, points: Iterable[deployer.Point]) -> Tally:
    tally, begin = Tally(scenario, kind), time.monotonic()
    points = list(points)
    for number, point in enumerate(points, start=1):
        outcome = torture.run(*point)
        tally.add(outcome)
        for problem in outcome.problems:
            say(f"{scenario}/{kind}: {outcome.point}: {problem}")
        if number % 50 == 0 or number == len(points):
            say(f"{scenario}/{kind}: {number} of {len(points)}, {len(tally.failures)} bad, {time.monotonic() - begin:.0f} s")
    return tally


def torture_deployer(parts: list[str], as_sample: bool) -> list[Tally]:
    tallies = []
    with Lab() as lab:
        lab.install()
        for scenario in dict.fromkeys(part.split("/")[0] for part in parts):
            with deployer.Torture(lab, SCENARIOS[scenario]) as torture:
                if as_sample:
                    tallies.append(run(torture, scenario, "sample", deployer.sample(torture)))
                    continue
                for kind in (part.split("/")[1] for part in parts if part.startswith(f"{scenario}/")):
                    tallies.append(run(torture, scenario, kind, deployer.KINDS[kind](torture)))
    return tallies


def main() -> int:
    parser = argparse.ArgumentParser(prog="python3 -m tests.torture", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of: {' '.join(PARTS)}; all by default")
    parser.add_argument("--sample", action="store_true", help="a few points of each scenario")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the counts go")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no such part: {' '.join(sorted(unknown))}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    tallies = torture_deployer(options.parts or PARTS, options.sample)
    counts = [tally.counts() for tally in tallies]
    for row in counts:
        print(" ".join(f"{key}={value}" for key, value in row.items() if key != "failures"))
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(counts, indent=2) + "\n")
    return int(any(row["problems"] for row in counts))


if __name__ == "__main__":
    sys.exit(main())
