"""Hostile connections held, and how long an honest push and the operator's commands take meanwhile, beside an idle run."""
from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median

from tests.lab.lab import Lab
from tests.system import crowds

CONNECTIONS = 1000
KINDS = {**{conduct: (conduct, False) for conduct in crowds.CONDUCTS}, "silent-by-ssh": ("silent", True)}


@dataclass
class Counts:
    kind: str
    seconds: dict = field(default_factory=dict)
    failure: str = ""

    def counts(self) -> dict:
        """Of each: median when idle, median and maximum beside the crowd, in seconds."""
        row = {"scenario": "crowd", "kind": self.kind, "connections": CONNECTIONS, "problems": int(bool(self.failure)),
               "failures": [self.failure] if self.failure else []}
        for name, idle in self.seconds.get("idle", {}).items():
            crowded = self.seconds["crowded"][name]
            row |= {f"{name}_idle": round(median(idle), 2), f"{name}_median": round(median(crowded), 2),
                    f"{name}_max": round(max(crowded), 2)}
        return row


def run(kind: str, lab: Lab, _: slice) -> Counts:
    conduct, by_ssh = KINDS[kind]
    lab.reset()
    lab.start_deployer()
    try:
        return Counts(kind, crowds.measure(lab, conduct, CONNECTIONS, by_ssh))
    except AssertionError as error:
        return Counts(kind, failure=str(error))
    finally:
        lab.stop_deployer()
