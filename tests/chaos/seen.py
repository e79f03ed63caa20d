"""What callers saw: every answer to a request for decisions, and the line of a table that sums them up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

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
    p50_ms: float
    p99_ms: float
    max_ms: float
    well_after_s: float
    lost: str

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def row(fault: str, seen: Sequence[Seen], seconds: float, well_after_s: float, lost: str) -> Row:
    """`seen`: what was asked while the fault lasted, of servers that it struck."""
    took = [each.caller_ms for each in seen if each.status != NO_ANSWER] or [0.0]
    return Row(
        fault,
        round(seconds, 1),
        len(seen),
        dict(_said(seen).most_common()),
        sum(each.server_ms is not None and each.server_ms > each.budget_ms + QUANTUM_MS for each in seen),
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
