"""What came back, request by request, and what the driver itself was late by."""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass, field
from enum import IntEnum

from loadtests.mix.schedule import Kind


class Fate(IntEnum):
    """A refusal is a failure and no latency: a server that sheds at once must not look fast by it. A request that was
    lost is both: somebody waited for it."""

    GOOD = 0
    REFUSED = 1
    LOST = 2


LOST, UNANSWERED, BROKEN = "lost", "unanswered", "no answer of its kind"
#: Failures after which nobody knows whether the work was done. A 503 may have done a part of it.
UNKNOWN = (LOST, UNANSWERED, BROKEN, "503")


@dataclass(slots=True)
class Samples:
    """Of one kind, side by side. A latency counts from when its request was due."""

    due_s: array[float] = field(default_factory=lambda: array("d"))
    latency_ms: array[float] = field(default_factory=lambda: array("d"))
    fate: array[int] = field(default_factory=lambda: array("B"))
    failures: Counter[str] = field(default_factory=Counter)  # by HTTP status, or what else went wrong

    def add(self, due_s: float, latency_ms: float, fate: Fate, what: str = "") -> None:
        self.due_s.append(due_s)
        self.latency_ms.append(latency_ms)
        self.fate.append(fate)
        if fate is not Fate.GOOD:
            self.failures[what] += 1


@dataclass(slots=True)
class Run:
    """All of a run."""

    by_kind: dict[Kind, Samples]
    rungs: list[Counter[str]]  # by stage
    counts: Counter[str] = field(default_factory=Counter)  # things that answers said were done
    late_ms: array[float] = field(default_factory=lambda: array("d"))  # the driver's own lateness
    unsent: int = 0  # webhooks that fell due before anything was sent that they could tell of
    driver_cpu: float = 0.0  # share of a core that it used
