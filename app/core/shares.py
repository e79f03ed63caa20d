"""Shares of a sample, and how far they can be trusted."""

from __future__ import annotations

from math import sqrt

#: Of the normal distribution: 95 % lie within so many standard deviations.
Z_95 = 1.959964


def wilson(count: int, of: int) -> tuple[float, float]:
    """The 95 % interval of a share of which `count` of `of` were seen; (0, 1) of nothing. Wilson's, which stays within
    0 and 1 and holds for small numbers: https://en.wikipedia.org/wiki/Binomial_proportion_confidence_interval
    """
    if of == 0:
        return 0.0, 1.0
    share, square = count / of, Z_95**2
    middle = (share + square / (2 * of)) / (1 + square / of)
    half = Z_95 / (1 + square / of) * sqrt(share * (1 - share) / of + square / (4 * of**2))
    return max(0.0, middle - half), min(1.0, middle + half)
