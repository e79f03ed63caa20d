"""Rates of rare things, and how sure they are. Pure.

Two questions are asked of `count` of `of`, and each has the formula that suits it:

- What may the rate be? Wilson's interval, for people to read: short, never below 0 or above 1, sensible at 0 of n.
  https://en.wikipedia.org/wiki/Binomial_proportion_confidence_interval
- Could it be chance? The binomial tail itself, exact, for what acts by itself. Wilson's lower end lies too high for
  rare things: of 2 in 200 it says with 99 % that the rate is above 0.2 %, and at a rate of 0.1 % that is seen in one of
  57 cases. It must not switch anything off.
"""

from __future__ import annotations

from math import exp, lgamma, log, log1p, sqrt
from typing import NamedTuple

#: Of the normal distribution: 95 % lie within so many standard deviations.
Z_95 = 1.959964
#: Terms of a tail below this share of its sum add nothing that anybody compares with.
NEGLIGIBLE = 1e-12


class Measured(NamedTuple):
    """A rate: `seen` of `of`, and its 95 % interval. Where `of` is 0 nothing is known: 0, from 0 to 1."""

    seen: int
    of: int
    rate: float
    low: float
    high: float


def wilson(count: int, of: int) -> tuple[float, float]:
    """The 95 % interval of a share of which `count` of `of` were seen; (0, 1) of nothing."""
    if of == 0:
        return 0.0, 1.0
    share, square = count / of, Z_95**2
    middle = (share + square / (2 * of)) / (1 + square / of)
    half = Z_95 / (1 + square / of) * sqrt(share * (1 - share) / of + square / (4 * of**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def measured(count: int, of: int) -> Measured:
    """`count` (≥ 0) of `of` (≥ 0). More of the part than of the whole is told now and then, while the whole is on its
    way: that is all of it."""
    low, high = wilson(min(count, of), of)
    return Measured(count, of, min(1.0, count / of) if of else 0.0, low, high)


def chance_of_so_many(count: int, of: int, rate: float) -> float:
    """How likely `count` or more of `of` independent tries are, each with the chance `rate`: P(X ≥ count)."""
    if count <= 0 or rate >= 1.0:
        return 1.0
    if rate <= 0.0 or count > of:
        return 0.0
    if count <= of * rate:  # the other tail is the short one
        return 1.0 - _tail(of - count + 1, of, 1 - rate)
    return _tail(count, of, rate)


def _tail(count: int, of: int, rate: float) -> float:
    """The same from above the mean on, where each term is smaller than the one before it."""
    odds = rate / (1 - rate)
    ways = lgamma(of + 1) - lgamma(count + 1) - lgamma(of - count + 1)
    term = exp(ways + count * log(rate) + (of - count) * log1p(-rate))
    total = 0.0
    while term > total * NEGLIGIBLE:
        total += term
        term *= (of - count) / (count + 1) * odds
        count += 1
    return min(1.0, total)
