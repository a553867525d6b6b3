"""The repository's make, for the lab and the tests: one at a time over all processes, since they share what it builds."""
from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
from pathlib import Path
from typing import Iterator

REPOSITORY = Path(__file__).resolve().parents[2]
VARIABLES = os.environ.get("CERTSYNC_LAB_MAKE", "").split()  # "O=build/asan SANITIZE=1"
O = dict(word.split("=", 1) for word in VARIABLES).get("O", "build")
BUILD = REPOSITORY / O


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Waits until nobody else is within it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def make(*words: str) -> None:
    environment = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    with alone(BUILD):
        result = subprocess.run(["make", "-s", "-C", REPOSITORY, *VARIABLES, *words], env=environment,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if result.returncode:
        raise RuntimeError(f"make {' '.join(words)} failed:\n{result.stdout[-4000:]}")
