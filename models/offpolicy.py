"""What a policy would have earned, from logged choices whose probabilities are known.

With w = P(policy takes the logged action) / P(logging took it) and reward r, over n customers:
IPS = mean(w·r) is unbiased; SNIPS = Σw·r / Σw is nearly so and varies less. SE = sd(w·(r − SNIPS)) / √n.
Horvitz and Thompson 1952, https://doi.org/10.1080/01621459.1952.10483446; Swaminathan and Joachims 2015,
https://papers.nips.cc/paper/5748-the-self-normalized-estimator-for-counterfactual-learning
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
#: Two-sided 95 % of the normal distribution; the samples here are tens of thousands.
Z95 = 1.959964


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its standard error, in the reward's unit a customer."""

    value: float
    standard_error: float

    @property
    def interval(self) -> tuple[float, float]:
        """95 %."""
        return self.value - Z95 * self.standard_error, self.value + Z95 * self.standard_error

    @property
    def significant(self) -> bool:
        """Whether the interval leaves zero out: of use for differences only."""
        low, high = self.interval
        return low > 0.0 or high < 0.0


def weights(taken: Floats, propensity: float | Floats) -> Floats:
    """`taken`: the probability with which the policy takes each row's logged action (0 or 1 where it is certain)."""
    return taken / propensity


def ips(weight: Floats, reward: Floats) -> Estimate:
    terms = weight * reward
    return Estimate(float(terms.mean()), _standard_error(terms))


def snips(weight: Floats, reward: Floats) -> Estimate:
    value = float((weight * reward).sum() / weight.sum())
    return Estimate(value, _standard_error(weight * (reward - value)))


def ips_difference(weight: Floats, baseline: Floats, reward: Floats) -> Estimate:
    """Policy minus baseline by IPS, paired row by row."""
    return ips(weight - baseline, reward)


def snips_difference(weight: Floats, baseline: Floats, reward: Floats) -> Estimate:
    """Policy minus baseline by SNIPS, paired: where both agree a row cancels out, so the interval is narrower than
    that of two separate values."""
    ours, theirs = snips(weight, reward).value, snips(baseline, reward).value
    terms = weight * (reward - ours) - baseline * (reward - theirs)
    return Estimate(ours - theirs, _standard_error(terms))


def _standard_error(terms: Floats) -> float:
    return float(terms.std(ddof=1) / np.sqrt(len(terms)))
