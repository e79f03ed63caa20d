"""How much a bucket still weighs: whole numbers, so that a decayed sum is the same in any order and on any machine."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal
from functools import lru_cache

from app.core.features.windows import Buckets

#: The weight of the newest bucket. The oldest weighs at least 2^-9 of it, so every weight has 23 bits or more.
ONE_WEIGHT = 2**32
#: `decimal` is the same software on every machine, which `pow` of a C library need not be.
_EXACT = Context(prec=40, rounding=ROUND_HALF_EVEN)


@lru_cache(maxsize=256)
def weights(half_life_ms: int, buckets: Buckets) -> tuple[int, ...]:
    """One weight a bucket, the newest first: 2^(32 − age of the bucket / half-life). An event weighs as its bucket."""
    return tuple(_weight(age * buckets.step_ms, half_life_ms) for age in range(buckets.kept))


def _weight(age_ms: int, half_life_ms: int) -> int:
    exponent = _EXACT.divide(Decimal(-age_ms), Decimal(half_life_ms))
    weight = _EXACT.multiply(_EXACT.power(Decimal(2), exponent), Decimal(ONE_WEIGHT))
    return int(weight.to_integral_value(ROUND_HALF_EVEN))
