"""What a normal renewal costs mail clients that log in over imaps and submission in a loop."""
from __future__ import annotations

from dataclasses import dataclass, field

from tests.bench.load import Load
from tests.lab.lab import MAIL_ADDRESS, Lab

CLIENTS = 2  # of each protocol
RENEWALS = 5


@dataclass
class Counts:
    protocols: dict = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def counts(self) -> dict:
        row = {"scenario": "load", "kind": "renewal", "renewals": RENEWALS, "clients": CLIENTS,
               "problems": len(self.failures), "failures": self.failures}
        for protocol, counts in self.protocols.items():
            row |= {f"{protocol}_{stage}": number for stage, number in counts.items()}
        return row


def run(lab: Lab, _: slice) -> Counts:
    lab.reset()
    lab.start_deployer()
    result = Counts()
    with Load(lab.proxy, MAIL_ADDRESS, clients=CLIENTS) as load:
        for number in range(RENEWALS):
            lab.renew(lab.issue(age=(RENEWALS - number) / 24))
            push = lab.push()
            if push.returncode:
                result.failures.append(push.stderr)
    lab.stop_deployer()
    result.protocols = load.protocols()
    return result
