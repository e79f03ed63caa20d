"""What came back under overload: answers that were worth something, refusals and how fast they came, all by second."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from loadtests.clock import now_ns
from loadtests.driver import Tally

#: Whole answers of the standard job look so; one that came too late to decide says `suppress`.
SEND = b'"action":"send"'
NS_PER_S = 1_000_000_000


@dataclass(slots=True)
class Overload(Tally):
    """Everything that was answered within the measured time."""

    budget_ns: int = 0
    useful: int = 0  # decisions to send, inside the budget
    late: int = 0  # of status 200, later than the budget
    undecided: int = 0  # of status 200, in time, without a message
    refusals_ns: list[int] = field(default_factory=list)  # latencies of 503 with `retry-after`
    rude: int = 0  # refusals that do not say when to come back
    by_second: dict[int, Counter[str]] = field(default_factory=dict)

    def add(self, latency_ns: int, answer: bytes, body_at: int) -> None:
        self.answers += 1
        if answer.startswith(b"200", 9):
            self.good += 1
            self.latencies_ns.append(latency_ns)
            what = self._of(latency_ns, answer)
        else:
            self.failures[answer[9:12].decode("ascii", "replace")] += 1
            what = "refused"
            self.refusals_ns.append(latency_ns)
            self.rude += b"retry-after:" not in answer[:body_at]
        self.by_second.setdefault(now_ns() // NS_PER_S, Counter())[what] += 1

    def _of(self, latency_ns: int, answer: bytes) -> str:
        if latency_ns > self.budget_ns:
            self.late += 1
            return "late"
        if SEND not in answer:
            self.undecided += 1
            return "undecided"
        self.useful += 1
        return "useful"
