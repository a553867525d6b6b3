"""What a normal renewal costs mail clients that log in over imaps and submission in a loop, beside what it costs them when there
is none."""
from __future__ import annotations

import time
from dataclasses import dataclass, field

from tests.bench.load import Load
from tests.lab.lab import MAIL_ADDRESS, Lab

CLIENTS = 2  # of each protocol
KINDS = {"idle": 0, "renewal": 5}  # renewals
IDLE = 60  # seconds


@dataclass
class Counts:
    kind: str
    protocols: dict = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def counts(self) -> dict:
        row = {"scenario": "load", "kind": self.kind, "renewals": KINDS[self.kind], "clients": CLIENTS,
               "problems": len(self.failures), "failures": self.failures}
        for protocol, counts in self.protocols.items():
            row |= {f"{protocol}_{stage}": number for stage, number in counts.items()}
        return row


def run(kind: str, lab: Lab, _: slice) -> Counts:
    lab.reset()
    lab.start_deployer()
    result = Counts(kind)
    with Load(lab.proxy, MAIL_ADDRESS, clients=CLIENTS) as load:
        for number in range(KINDS[kind]):
            lab.renew(lab.issue(age=(KINDS[kind] - number) / 24))
            push = lab.push()
            if push.returncode:
                result.failures.append(push.stderr)
        if not KINDS[kind]:
            time.sleep(IDLE)
    lab.stop_deployer()
    result.protocols = load.protocols()
    for protocol, counts in result.protocols.items():
        if refused := counts["refused"] + counts["handshake"]:
            result.failures.append(f"{protocol}: {refused} connections refused, or without a handshake")
    return result
