"""A program of a host, followed by the tracer from its execve(2) to its end."""
from __future__ import annotations

import os
import signal
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path

from tests.lab.host import Host, Timeout, wait_for

from .tracer import Tracer

PATIENCE = 90  # seconds until it is given up


@dataclass
class Traced:
    status: int
    output: str  # both streams
    seen: dict  # what the tracer saw


def is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T"


def run(tracer: Tracer, host: Host, argv: list[str], rules: list[dict], record: bool = False) -> Traced:
    process = host.popen(["sh", "-c", 'kill -STOP $$; exec "$@"', "sh", *argv], stdin=subprocess.DEVNULL,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    wait_for(lambda: is_stopped(process.pid), "nsenter to stop as the shell in it did")
    tracer.attach(process.inner(), rules, record, from_exec=True)
    hung = threading.Event()
    patience = threading.Timer(PATIENCE, lambda: (hung.set(), process.kill()))
    patience.start()
    os.kill(process.pid, signal.SIGCONT)  # which it passes on
    seen = tracer.result()
    patience.cancel()
    output, _ = process.communicate(timeout=PATIENCE)
    if hung.is_set():
        raise Timeout(f"{argv[0]}: no end within {PATIENCE} s:\n{output}")
    return Traced(process.returncode, output, seen)
