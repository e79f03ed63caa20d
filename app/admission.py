"""Load shedding, before anything is read: a request that cannot be answered within its budget is refused at once.

Adaptive: what a decision costs in loop time is measured, and Little's law says how long a new one would wait behind
those in flight. No number that an operator must guess.
"""

from __future__ import annotations

#: Below this many nothing is shed: a burst that small is through in a few milliseconds whatever it costs.
FREE = 16
#: A moving average over about a hundred requests.
WEIGHT = 0.01


class Admission:
    """Counts decisions in flight, and says whether one more can be answered in time."""

    __slots__ = ("_cost_s", "_max", "in_flight")

    def __init__(self, max_in_flight: int | None) -> None:
        """`max_in_flight`: a fixed bound instead of the measured one."""
        self._max = max_in_flight
        self._cost_s = 0.0
        self.in_flight = 0

    def has_room(self, budget_s: float) -> bool:
        """Whether a request with this budget can be answered in time."""
        if self._max is not None:
            return self.in_flight < self._max
        return self.in_flight < FREE or self.in_flight * self._cost_s < budget_s

    def learn(self, cost_s: float) -> None:
        """One decision took this much of the loop's time (waiting for the store not included)."""
        self._cost_s += WEIGHT * (cost_s - self._cost_s)
