"""The trials bundle (`trials_bundle/`), and who is in which arm of it."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from policy.bundle import Bundle
from policy.compile import load

FOLDER = Path(__file__).parent / "trials_bundle"


@cache
def trials_bundle() -> Bundle:
    return load(FOLDER)


def chi_square(counts: list[int], probabilities: list[float]) -> float:
    """How far counts are from what probabilities let expect. Seeds are fixed, so a test of it cannot fail by chance."""
    number = sum(counts)
    due = [number * probability for probability in probabilities]
    return sum((seen - expected) ** 2 / expected for seen, expected in zip(counts, due, strict=True) if expected)


#: Critical values of χ² at p = 0.001, by degrees of freedom.
CRITICAL = {1: 10.83, 2: 13.82, 3: 16.27, 4: 18.47, 5: 20.52}
