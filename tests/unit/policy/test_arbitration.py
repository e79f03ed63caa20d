"""Who is worth most, and which wording goes out."""

from __future__ import annotations

import pytest

from policy.arbitration import Terms, best, choose_variant, unit_draw, worths
from policy.bundle import Variant

EVEN = (Variant("a", None, 1.0), Variant("b", None, 1.0))


def test_a_worth_is_propensity_times_value_times_lever_times_context_weight() -> None:
    assert worths([0.5, 0.25], [Terms(2.0, 3.0, 5.0), Terms(1.0, 1.0, 1.0)]) == [15.0, 0.25]


def test_no_term_is_forgotten_for_a_message() -> None:
    with pytest.raises(ValueError, match="shorter"):
        worths([0.5, 0.25], [Terms(1.0, 1.0, 1.0)])


@pytest.mark.parametrize(
    ("scores", "winner"), [([0.1, 0.3, 0.2], 1), ([0.3, 0.3], 0), ([0.0, 0.0, 0.0], 0), ([-1.0], 0)]
)
def test_the_highest_wins_and_ties_go_to_the_message_authored_first(scores: list[float], winner: int) -> None:
    assert best(scores) == winner


def test_the_draw_is_splitmix64() -> None:
    """The first three outputs of the reference implementation from seed 1234567, shifted to 53 bits:
    https://rosettacode.org/wiki/Pseudo-random_numbers/Splitmix64"""
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert [unit_draw(1234567, stream) for stream in range(3)] == [(each >> 11) / 2**53 for each in expected]


def test_a_draw_lies_below_one() -> None:
    draws = [unit_draw(seed, 0) for seed in range(2000)]
    assert 0.0 <= min(draws) < 0.01
    assert 0.99 < max(draws) < 1.0


def test_one_seed_and_placement_always_choose_the_same_wording() -> None:
    assert len({choose_variant(EVEN, 42, 7) for _ in range(100)}) == 1


def test_placements_of_one_request_draw_independently() -> None:
    pairs = {(choose_variant(EVEN, seed, 0), choose_variant(EVEN, seed, 1)) for seed in range(100)}
    assert pairs == {(0, 0), (0, 1), (1, 0), (1, 1)}


@pytest.mark.parametrize("weights", [(1.0, 1.0), (1.0, 2.0, 7.0), (0.5, 0.25, 0.25, 9.0), (1e-9, 1.0)])
def test_wordings_go_out_in_proportion_to_their_weights(weights: tuple[float, ...]) -> None:
    """A χ² test over fixed seeds: it cannot fail by chance, only by another function."""
    number = 20_000
    variants = [Variant(str(place), None, weight) for place, weight in enumerate(weights)]
    counts = [0] * len(weights)
    for seed in range(number):
        counts[choose_variant(variants, seed * 0x9E3779B97F4A7C15 % 2**64, 3)] += 1
    expected = [number * weight / sum(weights) for weight in weights]
    chi_square = sum((seen - due) ** 2 / due for seen, due in zip(counts, expected, strict=True))
    critical = {1: 10.83, 2: 13.82, 3: 16.27}[len(weights) - 1]  # p = 0.001
    assert chi_square < critical, counts
