"""Latencies of one measurement, and what is said about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

NS_PER_MS = 1e6

Number = TypeVar("Number", int, float)


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Latencies in milliseconds, by nearest rank: each figure is a latency that some request really had."""

    mean: float
    p50: float
    p90: float
    p99: float
    p999: float
    worst: float


def percentiles(latencies_ns: Sequence[int]) -> Percentiles:
    """Raises ValueError when there is nothing to speak of: an empty measurement is a failed one."""
    if not latencies_ns:
        raise ValueError("no request was answered")
    ordered = sorted(latencies_ns)
    mean = sum(ordered) / len(ordered)
    ranks = (nearest_rank(ordered, share) / NS_PER_MS for share in (0.5, 0.9, 0.99, 0.999, 1.0))
    return Percentiles(mean / NS_PER_MS, *ranks)


def nearest_rank(ordered: Sequence[Number], share: float) -> Number:
    """The smallest value that at least `share` (0 to 1) of all values do not exceed."""
    rank = -int(-share * len(ordered) // 1)  # ceiling
    return ordered[max(rank, 1) - 1]


def curve(latencies_ns: Sequence[int]) -> tuple[tuple[float, float], ...]:
    """(share, latency in ms) at shares that come ever closer to 1, as a latency plot wants them."""
    shares = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9999)
    ordered = sorted(latencies_ns)
    # A share that fewer than ten requests lie beyond says nothing.
    kept = (share for share in shares if (1 - share) * len(ordered) >= 10)
    return tuple((share, nearest_rank(ordered, share) / NS_PER_MS) for share in kept)
