"""Arbitration: which of the admissible messages is worth most, and which of its variants is used.

    score = propensity^a × value^b × lever × context weight × fatigue

The exponents and whether a term counts are the placement's (`TermRules`). A term that is switched off is 1, and
multiplying with 1 changes no bit; so does an exponent of 1, which is not even computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import pow
from operator import mul
from sys import float_info
from typing import NamedTuple

from policy.bundle import TermRules, Variant

MASK_64 = (1 << 64) - 1


class Terms(NamedTuple):
    """What a message brings to arbitration besides its propensity and what the customer is tired of."""

    value: float
    lever: float
    context_weight: float


def in_force(terms: Terms, rules: TermRules) -> Terms:
    """The terms as a placement counts them."""
    return Terms(
        _power(terms.value, rules.value),
        terms.lever if rules.lever else 1.0,
        terms.context_weight if rules.context_weight else 1.0,
    )


def powered(responses: Sequence[float], exponent: float) -> Sequence[float]:
    """Predicted probabilities as a placement counts them: under 1 an exponent evens them out, above 1 it sharpens."""
    return responses if exponent == 1.0 else [_power(response, exponent) for response in responses]


def _power(base: float, exponent: float) -> float:
    """Scores fail open: what is too large for a number is the largest one. 0 to the power of 0 is 1: switched off."""
    if exponent == 1.0:
        return base
    try:
        return pow(base, exponent)
    except OverflowError:
        return float_info.max


def worths(responses: Sequence[float], terms: Sequence[Terms], fatigue: Sequence[float] = ()) -> list[float]:
    """Expected value of sending each message: `propensity × value × lever × context weight × fatigue`.

    Args:
        responses: predicted probability that the customer responds, in [0, 1], as `powered` leaves it.
        terms: of the same messages, in the same order, as they are `in_force`.
        fatigue: factors in (0, 1] of the same messages; empty: all 1.

    Returns:
        Numbers in the bundle's currency; the multiplications are in this order on every machine.
    """
    scores = [
        response * value * lever * weight for response, (value, lever, weight) in zip(responses, terms, strict=True)
    ]
    return [score * factor for score, factor in zip(scores, fatigue, strict=True)] if fatigue else scores


def bare_worths(responses: Sequence[float], values: Sequence[float]) -> list[float]:
    """`worths` where all other terms are 1, to the bit: multiplying with 1 changes none. A third of the time."""
    return list(map(mul, responses, values))


def best(scores: Sequence[float]) -> int:
    """Index of the highest score. Ties go to the message authored first, which stands first."""
    return scores.index(max(scores))


def unit_draw(seed: int, stream: int) -> float:
    """A number in [0, 1) that depends only on its arguments: splitmix64 (Steele, Lea, Flood 2014,
    https://doi.org/10.1145/2714064.2660195) of the `stream`-th state after `seed`; the upper 53 bits are used."""
    state = (seed + (stream + 1) * 0x9E3779B97F4A7C15) & MASK_64
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK_64
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & MASK_64
    return ((state ^ (state >> 31)) >> 11) / (1 << 53)


def choose_variant(variants: Sequence[Variant], seed: int, stream: int) -> int:
    """Position of a variant, chosen with probability proportional to its weight."""
    if len(variants) == 1:
        return 0
    left = unit_draw(seed, stream) * sum(variant.weight for variant in variants)
    for position, variant in enumerate(variants):
        left -= variant.weight
        if left < 0:
            return position
    return len(variants) - 1  # only rounding leads here


def variant_shares(variants: Sequence[Variant]) -> tuple[float, ...]:
    """The probability of each variant in `choose_variant`."""
    whole = sum(variant.weight for variant in variants)
    return tuple(variant.weight / whole for variant in variants)
