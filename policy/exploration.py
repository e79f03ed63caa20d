"""Exploration: trying what would not rank first, with a probability that is known exactly.

Three ways, of which a placement names one:

- `epsilon`: with probability ε any of the n messages that may be sent, each alike. The best has 1 − ε + ε/n, every
  other ε/n (Sutton, Barto 2018, section 2.2, http://incompleteideas.net/book/the-book-2nd.html).
- `softmax`: in proportion to exp(score / temperature). The temperature is in the unit of the scores, the bundle's
  currency: messages that differ by less are nearly alike.
- `thompson`: over the variants of the message that was chosen, each with the probability that it is the best, after
  what customers did so far (Thompson 1933, https://doi.org/10.1093/biomet/25.3-4.285). A variant's rate of responses
  has the distribution Beta(prior alpha + responses, prior beta + sends − responses).

What is recorded is what is drawn from: probabilities are first rounded to whole multiples of 2⁻³⁰ that add up to 1, and
the draw is among these. So a stated propensity is exact, however roughly the exponentials and integrals behind it were
computed, and it does not depend on the last bits of a machine's `exp`. What is less probable than 2⁻³¹ is never drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from math import asinh, exp, fsum, isfinite, log, log1p, prod, sinh, sqrt
from typing import NamedTuple

#: Probabilities are multiples of one 2³⁰th.
PARTS = 1 << 30
#: Nodes of a posterior's grid on either side of its mode. With 40 the probabilities are right to 0.001 (tests compare
#: them with closed forms and with simulation).
NODES_A_SIDE = 40
#: How far the grid goes: so many standard deviations, and so many lengths of an exponential tail (e⁻²⁵ = 10⁻¹¹).
BELL_REACH, TAIL_REACH = 9.0, 25.0


class Drawn(NamedTuple):
    """What was drawn, and how probable that was."""

    place: int
    probability: float


def epsilon_greedy(number: int, best: int, epsilon: float, unit: float) -> Drawn:
    """The best of `number` messages, or with probability `epsilon` any of them. `unit`: a draw in [0, 1)."""
    each = epsilon / number
    index = best if unit >= epsilon else min(int(unit / epsilon * number), number - 1)
    return Drawn(index, 1.0 - epsilon + each if index == best else each)


def softmax(scores: Sequence[float], temperature: float) -> tuple[float, ...]:
    """Probabilities in proportion to exp(score / temperature). The highest score is taken off first, so that nothing
    overflows: https://en.wikipedia.org/wiki/Softmax_function#Numerical_algorithms"""
    top = max(scores)
    if not isfinite(top):  # an absurd value in the bundle: no message is then a known distance from the best
        return in_parts([float(score == top) for score in scores])
    return in_parts([exp((score - top) / temperature) for score in scores])


def draw(probabilities: Sequence[float], unit: float) -> Drawn:
    """One of them. `unit`: a draw in [0, 1); `probabilities`: as `in_parts` makes them, whose sums are exact."""
    reached = 0.0
    for index, probability in enumerate(probabilities):
        reached += probability
        if unit < reached:
            return Drawn(index, probability)
    raise ValueError("the probabilities do not add up to 1")


def in_parts(weights: Sequence[float]) -> tuple[float, ...]:
    """The weights as probabilities, each a multiple of 2⁻³⁰, that add up to exactly 1. What rounding leaves over is
    the largest's."""
    whole = fsum(weights)
    parts = [int(weight / whole * PARTS + 0.5) for weight in weights]
    parts[parts.index(max(parts))] += PARTS - sum(parts)
    return tuple(part / PARTS for part in parts)


@lru_cache(maxsize=4096)  # posteriors move every second or so, and all decisions in between share them
def probabilities_of_being_best(posteriors: tuple[tuple[float, float], ...]) -> tuple[float, ...]:
    """For each Beta(α, β), both > 0, the probability that its rate is the highest of all.

    P(i is best) = ∫ fᵢ(t) Πⱼ Fⱼ(t) dt, in t = log(rate / (1 − rate)), where a Beta is smooth and bell-shaped however
    many outcomes it has seen. The grid is fixed in the posteriors' own terms (`_grid`), all of them together. Each
    posterior is integrated by the trapezoidal rule, and in every cell the others are taken at their mean.
    """
    nodes = sorted({node for alpha, beta in posteriors for node in _grid(alpha, beta)})
    cumulated = [_cumulated(alpha, beta, nodes) for alpha, beta in posteriors]
    sums = [0.0] * len(posteriors)
    for below, above in pairwise(zip(*cumulated, strict=True)):
        means = [(low + high) / 2 for low, high in zip(below, above, strict=True)]
        all_below = prod(means)
        if all_below > 0.0:
            for index, mean in enumerate(means):
                sums[index] += (above[index] - below[index]) * all_below / mean
    return in_parts(sums)


def _grid(alpha: float, beta: float) -> list[float]:
    """Log-odds around the mode of a Beta: densely where its bell is, and on both sides as far as its tails go, which
    fall off like e^(αt) and e^(−βt). With few outcomes the tails are the longer part."""
    mode, sd = log(alpha / beta), sqrt(1 / alpha + 1 / beta)
    left, right = (asinh(BELL_REACH + TAIL_REACH / (each * sd)) / NODES_A_SIDE for each in (alpha, beta))
    below = [mode - sd * sinh(left * step) for step in range(NODES_A_SIDE, 0, -1)]
    return below + [mode + sd * sinh(right * step) for step in range(NODES_A_SIDE + 1)]


def _cumulated(alpha: float, beta: float, nodes: Sequence[float]) -> list[float]:
    """The distribution function of a Beta at the nodes, which are log-odds in order."""
    at_mode = _log_density(alpha, beta, log(alpha / beta))
    densities = [exp(_log_density(alpha, beta, node) - at_mode) for node in nodes]
    reached, sums = 0.0, [0.0]
    for (low, high), (left, right) in zip(pairwise(nodes), pairwise(densities), strict=True):
        reached += (left + right) * (high - low)
        sums.append(reached)
    return [each / reached for each in sums]


def _log_density(alpha: float, beta: float, log_odds: float) -> float:
    """Of a Beta in log-odds, up to a constant: α t − (α + β) log(1 + eᵗ)."""
    soft = log1p(exp(-abs(log_odds))) + max(log_odds, 0.0)
    return alpha * log_odds - (alpha + beta) * soft
