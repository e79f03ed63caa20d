"""How time is cut: a window slides in at most 24 buckets, whose edges are multiples of the bucket since 1970 (UTC).

A bucket of a window is the smallest of `STEPS_MINUTES` that gives at most 24 buckets, of those that divide the window
into at least 12 equal parts; where none does, the smallest that gives at most 24, the last of them reaching over the
window's end. So a window of 7 days slides in 21 buckets of 8 hours: at any instant it spans the bucket that is being
filled and the 20 before it, between 6 days 16 hours and 7 days.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

MINUTE_MS = 60_000
DAY_MINUTES = 1_440
BUCKETS_MAX = 24
#: Below it a window would jump rather than slide.
BUCKETS_MIN = 12
#: Lengths of a bucket that people can follow: minutes, hours, days.
STEPS_MINUTES = (
    *(1, 2, 3, 5, 10, 15, 20, 30),
    *(60 * hours for hours in (1, 2, 3, 4, 6, 8, 12)),
    *(DAY_MINUTES * days for days in (1, 2, 3, 4, 5, 7, 10, 14, 16, 20, 30, 60, 90, 180)),
)
#: Decay goes on for so many half-lives; what is older weighs less than 1/256 and is left out.
HALF_LIVES = 8
#: Buckets of an hour-of-day histogram: 24 numbers each, so there are few.
HISTOGRAM_BUCKETS_MAX = 4
#: The bucket of what has no window: one that has always been and never ends.
FOREVER_MS = 2**62


class Buckets(NamedTuple):
    """`kept` buckets of `step_ms` each, the newest included."""

    step_ms: int
    kept: int


ONE = Buckets(FOREVER_MS, 1)


@lru_cache(maxsize=1024)
def of_window(window_ms: int | None) -> Buckets:
    """The buckets in which a window slides; None: no window."""
    if window_ms is None:
        return ONE
    window = -(-window_ms // MINUTE_MS)
    for step in STEPS_MINUTES:
        if window % step == 0 and BUCKETS_MIN <= window // step <= BUCKETS_MAX:
            return Buckets(step * MINUTE_MS, window // step)
    return _at_most(window, BUCKETS_MAX)


def of_histogram(window_ms: int | None) -> Buckets:
    """The few buckets of a histogram."""
    return ONE if window_ms is None else _at_most(-(-window_ms // MINUTE_MS), HISTOGRAM_BUCKETS_MAX)


@lru_cache(maxsize=1024)
def of_half_life(half_life_ms: int, window_ms: int | None = None) -> Buckets:
    """The buckets over which something fades: at least three a half-life is the aim, so that a step down is a fifth;
    a window cuts them short."""
    fading = _at_most(-(-HALF_LIVES * half_life_ms // MINUTE_MS), BUCKETS_MAX)
    if window_ms is None:
        return fading
    return Buckets(fading.step_ms, min(fading.kept, -(-window_ms // fading.step_ms)))


def _at_most(minutes: int, buckets: int) -> Buckets:
    step = next((step for step in STEPS_MINUTES if step * buckets >= minutes), -(-minutes // buckets))
    return Buckets(step * MINUTE_MS, -(-minutes // step))
