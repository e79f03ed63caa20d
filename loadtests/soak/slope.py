"""Whether something grows: a straight line through it, and how sure that line is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

#: Neighbours in time are alike, which would make a line through single looks look surer than it is: it goes through the
#: medians of so many stretches instead. A peak that passes is no growth; one that stays moves the medians.
STRETCHES = 20
T_18 = 2.101  # Student's t for 18 degrees of freedom, two-sided 95 %


@dataclass(frozen=True, slots=True)
class Slope:
    """Growth over the whole time looked at, by the line of least squares, with its 95 % interval; and the mean."""

    growth: float
    low: float
    high: float
    mean: float

    def flat(self, share: float, some: float = 0.0) -> bool:
        """Whether it surely grows by no more than this share of its mean, or than `some`. Falling is flat enough."""
        return self.high <= max(share * self.mean, some)


def slope(looks: Sequence[tuple[float, float]]) -> Slope:
    """`looks`: (seconds, value) in order of time. Raises ValueError for fewer than two a stretch."""
    if len(looks) < 2 * STRETCHES:
        raise ValueError(f"{len(looks)} looks are too few for {STRETCHES} stretches")
    stretches = np.array_split(np.array(looks, dtype=float), STRETCHES)
    at = np.array([stretch[:, 0].mean() for stretch in stretches])
    value = np.array([np.median(stretch[:, 1]) for stretch in stretches])
    seconds = looks[-1][0] - looks[0][0]
    spread = ((at - at.mean()) ** 2).sum()
    a_second = ((at - at.mean()) * (value - value.mean())).sum() / spread
    rest = value - value.mean() - a_second * (at - at.mean())
    unsure = T_18 * np.sqrt((rest**2).sum() / (STRETCHES - 2) / spread)
    return Slope(
        float(a_second * seconds),
        float((a_second - unsure) * seconds),
        float((a_second + unsure) * seconds),
        float(value.mean()),
    )
