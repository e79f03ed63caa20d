"""What came back under overload: answers that were worth something, refusals and how fast they came, all by second."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from loadtests.lean import Answer

#: Whole answers of the standard job look so; one that came too late to decide says `suppress`.
SEND = b'"action":"send"'
NS_PER_S = 1_000_000_000


@dataclass(slots=True)
class Overload:
    """Everything that was asked within the measured time."""

    budget_ns: int
    useful: int = 0  # decisions to send, inside the budget
    late: int = 0  # of status 200, later than the budget
    undecided: int = 0  # of status 200, in time, without a message
    refused: int = 0  # 503
    rude: int = 0  # refusals that do not say when to come back
    other: Counter[str] = field(default_factory=Counter)  # any other status, or `lost`
    latencies_ns: list[int] = field(default_factory=list)  # of status 200
    refusals_ns: list[int] = field(default_factory=list)
    by_second: defaultdict[int, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    @property
    def answers(self) -> int:
        """Of any kind, the lost ones as well."""
        return self.useful + self.late + self.undecided + self.refused + self.other.total()

    def add(self, answer: Answer) -> None:
        latency_ns, at_ns, data = answer
        status = data[9:12]
        if status == b"200":
            self.latencies_ns.append(latency_ns)
            what = self._of(latency_ns, data)
        elif status == b"503":
            what = "refused"
            self.refused += 1
            self.refusals_ns.append(latency_ns)
            self.rude += b"\r\nretry-after:" not in data
        else:
            what = "other"
            self.other[status.decode("ascii", "replace") or "lost"] += 1
        self.by_second[at_ns // NS_PER_S][what] += 1

    def _of(self, latency_ns: int, data: bytes) -> str:
        if latency_ns > self.budget_ns:
            self.late += 1
            return "late"
        if SEND not in data:
            self.undecided += 1
            return "undecided"
        self.useful += 1
        return "useful"
