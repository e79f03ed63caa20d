"""How often a key may ask: a quota in a window, and when the next request fits it.

The generic cell rate algorithm (ITU-T I.371, annex A): one number says all, the instant at which everything taken so
far would have been earned. It admits a whole quota at once after a pause, and then one request every `window / quota`;
so a window may see up to two quotas, and the long run never more than the rate.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_RATE = re.compile(r"([1-9]\d{0,8})/(s|min|h)")
_WINDOWS_S = {"s": 1, "min": 60, "h": 3600}
_NS = 1_000_000_000


class Rate(NamedTuple):
    """At most `quota` requests in `window_s` seconds."""

    quota: int
    window_s: int


class Taken(NamedTuple):
    """What a request found: when all that was taken will have been earned (ns), and how long to wait (ns; 0: it may
    go on)."""

    earned_at_ns: int
    wait_ns: int


class Standing(NamedTuple):
    """What is left of a quota, in requests, and in how many whole seconds all of it is there again."""

    remaining: int
    whole_in_s: int


def parse_rate(text: str) -> Rate:
    """`100/s`, `6000/min`, `50000/h` → the rate. Raises ValueError with the remedy."""
    found = _RATE.fullmatch(text)
    if found is None:
        raise ValueError("a rate is a number of requests and a unit: `100/s`, `6000/min` or `50000/h`")
    return Rate(int(found[1]), _WINDOWS_S[found[2]])


def take(rate: Rate, earned_at_ns: int, now_ns: int) -> Taken:
    """One request at `now_ns`, of a key whose earlier ones will have been earned at `earned_at_ns`; both on one clock.
    A refused one takes nothing."""
    window_ns = rate.window_s * _NS
    next_ns = max(earned_at_ns, now_ns) + window_ns // rate.quota
    wait_ns = next_ns - window_ns - now_ns
    return Taken(earned_at_ns, wait_ns) if wait_ns > 0 else Taken(next_ns, 0)


def standing(rate: Rate, earned_at_ns: int, now_ns: int) -> Standing:
    """What the next requests will find."""
    owed_ns = max(earned_at_ns - now_ns, 0)
    remaining = (rate.window_s * _NS - owed_ns) // (rate.window_s * _NS // rate.quota)
    return Standing(max(0, min(remaining, rate.quota)), -(-owed_ns // _NS))
