"""Runs fuzz targets, keeps their figures, and makes their corpora small.

  run      fuzzes targets that `make fuzz` has built, from tests/fuzz/corpus and what earlier runs found
  merge    takes over into tests/fuzz/corpus what reaches code that is not reached from there
  record   adds what was run since the last time to figures.json
  figures  prints figures.json as the table of README.md
"""
from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
CORPUS, FIGURES = HERE / "corpus", HERE / "figures.json"
OPTIONS = {
    "judge": ["-max_len=16384", "-mutate_depth=1"],
    "push_conf": ["-max_len=600"],
    "sni": ["-max_len=500"],
    "ssh_key": ["-mutate_depth=2"],
    "wire": ["-max_len=2200"],
}
# An input that takes longer, or a target that takes more memory, has failed as well.
LIMITS = ["-timeout=20", "-rss_limit_mb=2048"]
# Deep stacks and a long quarantine cost a third of the speed; a crash is looked at without them.
SANITIZERS = {"ASAN_OPTIONS": "malloc_context_size=4:quarantine_size_mb=16"}
FOUND = "found-"  # begins the name of an input that once failed


@dataclass
class Figures:
    executions: int = 0
    seconds: int = 0
    edges: int = 0     # of the product's code, reached by the corpus
    features: int = 0  # edges with how often, as libFuzzer counts

    def add(self, other: Figures) -> None:
        self.executions += other.executions
        self.seconds += other.seconds
        self.edges, self.features = max(self.edges, other.edges), max(self.features, other.features)


def targets() -> list[str]:
    return sorted(p.stem[len("fuzz_"):] for p in HERE.glob("fuzz_*.c"))


def load(path: Path) -> dict[str, Figures]:
    return {name: Figures(**row) for name, row in json.loads(path.read_text()).items()} if path.exists() else {}


def save(path: Path, figures: dict[str, Figures]) -> None:
    path.write_text(json.dumps({name: asdict(f) for name, f in sorted(figures.items())}, indent=1) + "\n")


def program(build: Path, target: str) -> Path:
    return build / f"tests/fuzz/fuzz_{target}"


def call(argv: list[str | Path], log: Path) -> int:
    """Files that a target needs are in memory and go with it."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="certsync-fuzz-", dir=memory) as folder, log.open("wb") as out:
        environment = {**SANITIZERS, **os.environ, "TMPDIR": folder}
        return subprocess.run(list(map(str, argv)), stdout=out, stderr=subprocess.STDOUT, env=environment).returncode


# ---- run ----

def parse(log: str, seconds: float) -> Figures:
    units = re.search(r"^stat::number_of_executed_units: (\d+)", log, re.MULTILINE)
    reached = re.findall(r"cov: (\d+) ft: (\d+)", log)
    edges, features = map(int, reached[-1]) if reached else (0, 0)
    return Figures(int(units[1]) if units else 0, round(seconds), edges, features)


def fuzz(build: Path, target: str, limit: list[str]) -> bool:
    """Whether nothing was found."""
    work, log = build / "corpus" / target, build / f"{target}.log"
    work.mkdir(parents=True, exist_ok=True)
    known = set(build.glob(f"{target}-*"))
    begin = time.monotonic()
    status = call([program(build, target), *limit, *LIMITS, *OPTIONS.get(target, []), "-print_final_stats=1",
                   f"-artifact_prefix={build / target}-", work, CORPUS / target], log)
    text = log.read_text(errors="replace")
    figures = parse(text, time.monotonic() - begin)
    note(build, target, figures)
    if status == 0:
        print(f"{target}: {figures.executions} executions, {figures.edges} edges, {figures.features} features", flush=True)
        return True
    inputs = sorted(set(build.glob(f"{target}-*")) - known) or ["(no input was left)"]
    reason = re.search(r"^(?:.*: property: .*|SUMMARY: .*)$", text, re.MULTILINE)
    print(f"{target}: FAILED: {reason[0] if reason else f'status {status}'}\n  the log:      {log}\n"
          f"  to reproduce: {program(build, target)} {inputs[0]}", flush=True)
    return False


def note(build: Path, target: str, figures: Figures) -> None:
    path = build / f"{target}.figures"
    sum_of = load(path).get(target, Figures())
    sum_of.add(figures)
    save(path, {target: sum_of})


def run(args: argparse.Namespace) -> int:
    limit = [f"-runs={args.runs}"] if args.runs else [f"-max_total_time={args.time}"]
    with ThreadPoolExecutor(args.jobs) as pool:
        return 0 if all(list(pool.map(lambda target: fuzz(args.build, target, limit), args.targets))) else 1


# ---- merge, record, figures ----

def merge(args: argparse.Namespace) -> int:
    """By edges alone: how often they are taken makes a corpus ten times as large."""
    for target in args.targets:
        status = call([program(args.build, target), "-merge=1", "-use_counters=0", *LIMITS, CORPUS / target,
                       args.build / "corpus" / target], args.build / f"{target}.merge.log")
        print(f"{target}: {len(list((CORPUS / target).iterdir()))} inputs", flush=True)
        if status:
            return status
    return 0


def record(args: argparse.Namespace) -> int:
    figures = load(FIGURES)
    for target in args.targets:
        path = args.build / f"{target}.figures"
        figures.setdefault(target, Figures()).add(load(path).get(target, Figures()))
        path.unlink(missing_ok=True)
    save(FIGURES, figures)
    return 0


def table() -> str:
    rows = ["| target | executions | edges | features | corpus | found |", "|---|---:|---:|---:|---:|---:|"]
    for target, f in load(FIGURES).items():
        inputs = [p for p in (CORPUS / target).iterdir() if p.is_file()]
        size = sum(p.stat().st_size for p in inputs)
        found = sum(p.name.startswith(FOUND) for p in inputs)
        rows.append(f"| {target} | {f.executions:,} | {f.edges} | {f.features} | {len(inputs)} inputs, {size / 1000:.0f} kB | {found} |")
    return "\n".join(rows)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python3 -m tests.fuzz", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("run", "merge", "record", "figures"))
    parser.add_argument("targets", nargs="*", default=targets())
    parser.add_argument("--build", type=Path, default=Path("build/fuzz"))
    parser.add_argument("--time", type=int, default=60, help="seconds for each target")
    parser.add_argument("--runs", type=int, help="executions for each target, instead of a time")
    parser.add_argument("--jobs", type=int, default=1, help="targets at a time")
    args = parser.parse_intermixed_args()
    if args.command == "figures":
        print(table())
        return 0
    return {"run": run, "merge": merge, "record": record}[args.command](args)


if __name__ == "__main__":
    sys.exit(main())
