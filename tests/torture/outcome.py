"""What became of the points of a run, and their counts."""
from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field

OLD, NEW, TORN = "old", "new", "torn"


@dataclass
class Outcome:
    """One point. `at_once` is what lay there when everything had just died, `state` after one restart."""
    point: str
    reached: bool = False
    at_once: str = ""
    state: str = ""
    strays: list[str] = field(default_factory=list)
    finished: bool = False
    problems: list[str] = field(default_factory=list)  # empty when all is as it should be
    seconds: float = 0

    @property
    def good(self) -> bool:
        return not self.problems


@dataclass
class Tally:
    """The points of one kind of one scenario."""
    scenario: str
    kind: str
    outcomes: list[Outcome] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)

    @property
    def failures(self) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if not outcome.good]

    def counts(self) -> dict:
        states = Counter(outcome.state for outcome in self.outcomes)
        return {"scenario": self.scenario, "kind": self.kind, "points": len(self.outcomes),
                "reached": sum(outcome.reached for outcome in self.outcomes),
                "old": states[OLD], "new": states[NEW], "torn": states[TORN],
                "torn_before_restart": sum(outcome.at_once == TORN for outcome in self.outcomes),
                "strays": sum(bool(outcome.strays) for outcome in self.outcomes),
                "not_finished": sum(not outcome.finished for outcome in self.outcomes),
                "problems": sum(not outcome.good for outcome in self.outcomes),
                "seconds": round(sum(outcome.seconds for outcome in self.outcomes), 1),
                "failures": [asdict(outcome) for outcome in self.failures]}
