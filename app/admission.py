"""Load shedding, before anything is read: a request that cannot be answered within its budget is refused at once.

Adaptive: what a decision costs in processor time is measured, and the decisions in flight ahead of a new one say how
long it would wait. No number that an operator must guess.
"""

from __future__ import annotations

from time import process_time

#: Below this many nothing is shed: a burst that small is through in a few milliseconds whatever it costs.
FREE = 16
#: Decisions between two looks at the processor clock, which is a system call.
LOOK_EVERY = 64
WEIGHT = 0.2
#: Other work of the process (imports, batches) is in the clock as well; beyond this it is not decisions that cost.
COST_S_MAX = 0.002


class Admission:
    """Counts decisions in flight, and says whether one more can be answered in time."""

    __slots__ = ("_answered", "_cost_s", "_looked_s", "_max", "in_flight")

    def __init__(self, max_in_flight: int | None) -> None:
        """`max_in_flight`: a fixed bound instead of the measured one."""
        self._max = max_in_flight
        self._cost_s = 0.0
        self._answered = 0
        self._looked_s = process_time()
        self.in_flight = 0

    def has_room(self, budget_s: float) -> bool:
        """Whether a request with this budget can be answered in time."""
        if self._max is not None:
            return self.in_flight < self._max
        return self.in_flight < FREE or self.in_flight * self._cost_s < budget_s

    def answered(self) -> None:
        """One more decision was answered."""
        self._answered += 1
        if self._answered == LOOK_EVERY:
            self._answered = 0
            now_s = process_time()
            cost_s = min((now_s - self._looked_s) / LOOK_EVERY, COST_S_MAX)
            self._looked_s = now_s
            self._cost_s += WEIGHT * (cost_s - self._cost_s)
