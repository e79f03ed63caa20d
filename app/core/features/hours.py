"""The best hours of a customer's day, from how often something happened in each."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from operator import sub

DAY_MINUTES = 1_440


def best_hours(by_hour: Sequence[int], span: int, at_least: int, offset_minutes: int = 0) -> str | None:
    """The stretch of `span` hours with most events, as `HH:MM-HH:MM`; None with fewer than `at_least` events at all.

    `by_hour` counts by hour of UTC. `offset_minutes` is that of the customer's zone, for local time. A stretch may run
    over midnight. Of equal stretches the one with the busier hours beside it is best, then the earliest.
    """
    if sum(by_hour) < at_least:
        return None
    around = [by_hour[23], *by_hour, *by_hour[: span + 1]]  # an hour of yesterday, and some of tomorrow
    before = list(accumulate(around, initial=0))
    within = list(map(sub, before[1 + span :], before[1:25]))
    most = max(within)
    start = within.index(most)
    if within.count(most) > 1:
        beside = map(sub, before[2 + span :], before[:24])
        start = -max(zip(within, beside, range(0, -24, -1), strict=True))[2]
    begins = (start * 60 + offset_minutes) % DAY_MINUTES
    ends = (begins + span * 60) % DAY_MINUTES
    return f"{begins // 60:02}:{begins % 60:02}-{ends // 60:02}:{ends % 60:02}"
