"""What callers saw: every answer to a request for decisions, and the line of a table that sums them up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from tests.chaos.waits import Waits
from tests.support.history import Span
from tests.support.lateness import QUANTUM_MS
from tests.support.server import percentile

#: A caller whose connection ended before the answer.
NO_ANSWER = 0
#: What tells that something is wrong beside the customer: a 200 that says so, or no 200.
TROUBLE = frozenset({"facts_unavailable", "commit_unknown"})
SHOWN_MOST = 6


class Seen(NamedTuple):
    """One request. Times in s since 1970, durations in ms."""

    asked_s: float
    server: int
    status: int  # NO_ANSWER where the connection ended
    code: str  # of a problem
    said: tuple[str, ...]  # of each decision: action, reason, rung
    degraded: frozenset[str]
    budget_ms: float
    caller_ms: float
    server_ms: float | None  # its own clock, where it said so

    @property
    def at(self) -> Span:
        return Span(self.asked_s, self.asked_s + self.caller_ms / 1000)

    def troubled(self, by: frozenset[str] = TROUBLE) -> bool:
        return self.status != 200 or bool(self.degraded & by)


@dataclass(frozen=True)
class Row:
    """What `docs/faults.md` shows of a fault, from its beginning to its end."""

    fault: str
    seconds: float
    requests: int
    said: dict[str, int]  # how many decisions, or requests without any, were answered so
    late: int  # answers later than budget and quantum by the server's clock
    late_by_itself: int  # the same without what its server was not let run meanwhile
    waited_most_ms: float  # the most that a server was not let run during one answer
    p50_ms: float
    p99_ms: float
    max_ms: float
    well_after_s: float
    lost: str

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def late_by_itself_ms(seen: Seen, waits: Waits) -> float | None:
    """How much later than its budget, by the server's clock and without what that server was not let run meanwhile;
    None where it did not say."""
    if seen.server_ms is None:
        return None
    return seen.server_ms - seen.budget_ms - waits.of_server_ms(seen.server, seen.at)


def row(fault: str, seen: Sequence[Seen], waits: Waits, seconds: float, well_after_s: float, lost: str) -> Row:
    """`seen`: what was asked while the fault lasted, of servers that it struck."""
    took = [each.caller_ms for each in seen if each.status != NO_ANSWER] or [0.0]
    return Row(
        fault,
        round(seconds, 1),
        len(seen),
        dict(_said(seen).most_common()),
        sum(each.server_ms is not None and each.server_ms > each.budget_ms + QUANTUM_MS for each in seen),
        sum((late_by_itself_ms(each, waits) or 0.0) > QUANTUM_MS for each in seen),
        round(max((waits.of_server_ms(each.server, each.at) for each in seen), default=0.0), 1),
        round(percentile(took, 0.5), 1),
        round(percentile(took, 0.99), 1),
        round(max(took), 1),
        round(well_after_s, 1),
        lost,
    )


def _said(seen: Iterable[Seen]) -> Counter[str]:
    said: Counter[str] = Counter()
    for each in seen:
        if each.status == NO_ANSWER:
            said["no answer: the connection ended"] += 1
        elif each.status != 200:
            said[f"{each.status} `{each.code}`"] += 1
        else:
            said.update(each.said)
    return said


def in_words(said: dict[str, int], most: int = SHOWN_MOST) -> str:
    """The commonest answers in per cent, and how many others there were."""
    total = sum(said.values()) or 1
    shown = [f"{words} {100 * number / total:.0f} %" for words, number in list(said.items())[:most]]
    others = sum(list(said.values())[most:])
    return "; ".join(shown + ([f"others {100 * others / total:.0f} %"] if others else []))
