"""`python3 -m tests.bench [--json] [PART …]`: the product beside a shell pipeline. Figures are shown, never asserted."""
from __future__ import annotations

import json
import shutil
import signal
import sys
import time

from tests.lab.lab import Lab

from . import figures
from .table import table

PARTS = {"unchanged": figures.unchanged, "full-push": figures.full_push, "far-away": figures.far_away,
         "memory": figures.memory}
USAGE = f"usage: python3 -m tests.bench [--json] [{'|'.join(PARTS)}] …"
NEEDED = ("rsync", "strace", "openssl", "ssh")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def measure(names: list[str]) -> dict[str, figures.Samples]:
    with Lab() as lab:
        lab.install()
        lab.reset()
        bench = figures.Bench(lab)
        results = {}
        for name in names:
            say(f"{name} …")
            results[name] = PARTS[name](bench)
        return results


def main() -> int:
    words = sys.argv[1:]
    as_json = "--json" in words
    names = [word for word in words if word != "--json"] or list(PARTS)
    if not set(names) <= set(PARTS):
        say(USAGE)
        return 64
    missing = [name for name in NEEDED if not shutil.which(name)]
    if missing:
        say(f"tests.bench: needed and not there: {', '.join(missing)}")
        return 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    begin = time.monotonic()
    results = measure(names)
    print(table(results), file=sys.stderr if as_json else sys.stdout)
    if as_json:
        print(json.dumps(results, indent=2))
    say(f"{time.monotonic() - begin:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
