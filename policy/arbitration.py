"""Arbitration: which of the admissible messages is worth most, and which of its variants is used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from policy.bundle import Variant

MASK_64 = (1 << 64) - 1


class Terms(NamedTuple):
    """What a message brings to arbitration besides its propensity."""

    value: float
    lever: float
    context_weight: float


def worths(responses: Sequence[float], terms: Sequence[Terms]) -> list[float]:
    """Expected value of sending each message: `propensity × value × lever × context weight`.

    Args:
        responses: predicted probability that the customer responds, in [0, 1].
        terms: of the same messages, in the same order.

    Returns:
        Numbers in the bundle's currency; the multiplications are in this order on every machine.
    """
    return [
        response * value * lever * weight for response, (value, lever, weight) in zip(responses, terms, strict=True)
    ]


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
