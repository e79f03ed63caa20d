"""Trying what would not rank first: with the probabilities that are said, and with those that are right."""

from __future__ import annotations

import math
import random
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from policy.arbitration import unit_draw
from policy.exploration import PARTS, draw, epsilon_greedy, in_parts, probabilities_of_being_best, softmax
from tests.support.trials import CRITICAL, chi_square

FEW = settings(max_examples=80, deadline=None)
#: As the docstring promises.
ERROR_MAX = 0.001
scores = st.lists(st.floats(0, 1e6), min_size=1, max_size=12)
units = st.floats(0, 1, exclude_max=True)


def counted(drawn: object, number: int = 20_000) -> list[int]:
    """How often each place came up, over fixed seeds."""
    counts: list[int] = []
    for seed in range(number):
        place = drawn(unit_draw(seed * 0x9E3779B97F4A7C15 % 2**64, 7)).place  # type: ignore[operator]  # a place is drawn
        counts += [0] * (place + 1 - len(counts))
        counts[place] += 1
    return counts


# Epsilon


@FEW
@given(number=st.integers(1, 30), epsilon=st.floats(0, 1), unit=units, data=st.data())
def test_epsilon_says_the_probability_of_what_it_chose(
    number: int, epsilon: float, unit: float, data: st.DataObject
) -> None:
    best = data.draw(st.integers(0, number - 1))
    place, probability = epsilon_greedy(number, best, epsilon, unit)
    others = epsilon / number
    assert 0 <= place < number
    assert probability == (1 - epsilon + others if place == best else others)
    assert math.isclose((number - 1) * others + 1 - epsilon + others, 1.0)


@pytest.mark.parametrize(("number", "epsilon"), [(2, 0.5), (4, 0.1), (5, 1.0), (3, 0.03)])
def test_epsilon_chooses_as_often_as_it_says(number: int, epsilon: float) -> None:
    counts = counted(lambda unit: epsilon_greedy(number, 1, epsilon, unit))
    due = [1 - epsilon + epsilon / number if place == 1 else epsilon / number for place in range(number)]
    assert chi_square(counts, due) < CRITICAL[number - 1], counts


def test_without_epsilon_the_best_is_always_chosen() -> None:
    assert counted(lambda unit: epsilon_greedy(3, 2, 0.0, unit), 2_000) == [0, 0, 2_000]


# Softmax


@FEW
@given(scores=scores, temperature=st.floats(1e-6, 1e6))
@example(scores=[0.0, 1e308], temperature=1e-6)
@example(scores=[float("inf"), 1.0, float("inf")], temperature=1.0)
def test_softmax_adds_up_to_one_and_follows_the_scores(scores: list[float], temperature: float) -> None:
    probabilities = softmax(scores, temperature)
    assert sum(map(Fraction, probabilities)) == 1, "exactly"
    pairs = sorted(zip(scores, probabilities, strict=True))
    part = 2 / PARTS * len(scores)  # what rounding may give to the largest
    assert all(low[1] <= high[1] + part for low, high in pairwise(pairs))


@FEW
@given(scores=scores, temperature=st.floats(0.01, 100))
def test_softmax_is_the_formula_to_a_thousand_millionth(scores: list[float], temperature: float) -> None:
    weights = [math.exp((score - max(scores)) / temperature) for score in scores]
    for probability, weight in zip(softmax(scores, temperature), weights, strict=True):
        assert abs(probability - weight / math.fsum(weights)) <= (len(scores) + 1) / PARTS


@FEW
@given(scores=st.lists(st.floats(0, 1000), min_size=1, max_size=12), shift=st.floats(0, 1000))
def test_softmax_looks_at_differences_only(scores: list[float], shift: float) -> None:
    shifted = softmax([score + shift for score in scores], 1.0)
    for one, other in zip(softmax(scores, 1.0), shifted, strict=True):
        assert math.isclose(one, other, abs_tol=1e-8)


def test_softmax_chooses_as_often_as_it_says() -> None:
    probabilities = softmax([0.3, 0.2, 0.25, 0.1], 0.1)
    counts = counted(lambda unit: draw(probabilities, unit))
    assert chi_square(counts, list(probabilities)) < CRITICAL[3], counts


# What is drawn from


@FEW
@given(weights=st.lists(st.floats(1e-12, 1e12), min_size=1, max_size=20), unit=units)
def test_a_draw_says_the_exact_measure_of_what_leads_to_it(weights: list[float], unit: float) -> None:
    probabilities = in_parts(weights)
    assert sum(map(Fraction, probabilities)) == 1
    assert all(probability >= 0 and Fraction(probability) * PARTS % 1 == 0 for probability in probabilities)
    place, probability = draw(probabilities, unit)
    below = sum(map(Fraction, probabilities[:place]), Fraction(0))
    assert below <= Fraction(unit) < below + Fraction(probability)


def test_what_has_no_chance_is_never_drawn() -> None:
    assert [draw((0.0, 0.5, 0.0, 0.5, 0.0), unit).place for unit in (0.0, 0.4999, 0.5, 0.9999)] == [1, 1, 3, 3]


def test_probabilities_that_do_not_add_up_are_refused() -> None:
    with pytest.raises(ValueError, match="add up"):
        draw((0.25, 0.25), 0.75)


# Thompson


def second_is_better(first: tuple[int, int], second: tuple[int, int]) -> float:
    """P(Beta(second) > Beta(first)) for whole numbers, in closed form: Evan Miller,
    https://www.evanmiller.org/bayesian-ab-testing.html#binary_ab"""

    def log_beta(a: float, b: float) -> float:
        return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)

    (a, b), (c, d) = first, second
    terms = (log_beta(a + i, b + d) - math.log(d + i) - log_beta(1 + i, d) - log_beta(a, b) for i in range(c))
    return math.fsum(map(math.exp, terms))


def test_two_of_whom_nothing_is_known_are_equally_probable() -> None:
    assert probabilities_of_being_best(((1.0, 1.0), (1.0, 1.0))) == (0.5, 0.5)


@pytest.mark.parametrize("number", [2, 3, 5, 8])
def test_all_alike_are_equally_probable(number: int) -> None:
    for probability in probabilities_of_being_best(((3.0, 40.0),) * number):
        assert math.isclose(probability, 1 / number, abs_tol=1e-8)


@settings(max_examples=60, deadline=None)
@given(
    first=st.tuples(st.integers(1, 400), st.integers(1, 40_000)),
    second=st.tuples(st.integers(1, 400), st.integers(1, 40_000)),
)
@example(first=(1, 1), second=(1, 1))
@example(first=(121, 881), second=(1, 1))
@example(first=(1, 3756), second=(1, 1))
@example(first=(400, 8000), second=(401, 8000))
def test_the_grid_is_right_to_one_in_a_thousand(first: tuple[int, int], second: tuple[int, int]) -> None:
    one, other = probabilities_of_being_best((first, second))
    assert abs(other - second_is_better(first, second)) <= ERROR_MAX
    assert Fraction(one) + Fraction(other) == 1


@pytest.mark.parametrize(
    "posteriors",
    [
        ((5, 100), (7, 110), (3, 90), (9, 200)),
        ((1, 1), (500, 10_000), (501, 10_000)),
        ((0.5, 0.5), (2, 3), (30, 40)),
        ((1, 1), (1, 1), (1, 1), (1, 2), (2, 1)),
        ((0.01, 0.01), (1, 1)),
    ],
    ids=str,
)
def test_the_grid_agrees_with_simulation(posteriors: tuple[tuple[float, float], ...]) -> None:
    number, chance = 40_000, random.Random(20261124)
    counts = [0] * len(posteriors)
    for _ in range(number):
        drawn = [chance.betavariate(alpha, beta) for alpha, beta in posteriors]
        counts[drawn.index(max(drawn))] += 1
    for probability, count in zip(probabilities_of_being_best(posteriors), counts, strict=True):
        noise = 4 * math.sqrt(max(probability * (1 - probability), 1e-4) / number)
        assert abs(probability - count / number) <= ERROR_MAX + noise


@FEW
@given(
    posteriors=st.lists(st.tuples(st.floats(0.01, 1e8), st.floats(0.01, 1e8)), min_size=2, max_size=5),
    data=st.data(),
)
def test_the_order_of_variants_makes_no_difference_to_their_chances(
    posteriors: list[tuple[float, float]], data: st.DataObject
) -> None:
    order = data.draw(st.permutations(range(len(posteriors))))
    probabilities = probabilities_of_being_best(tuple(posteriors))
    mixed = probabilities_of_being_best(tuple(posteriors[place] for place in order))
    assert sum(map(Fraction, probabilities)) == 1
    for place, probability in zip(order, mixed, strict=True):
        assert math.isclose(probability, probabilities[place], abs_tol=1e-8)


@FEW
@given(alpha=st.floats(0.5, 1e4), beta=st.floats(0.5, 1e4), more=st.floats(0.0, 1e3))
def test_a_further_response_never_makes_a_variant_less_probable(alpha: float, beta: float, more: float) -> None:
    other = (20.0, 300.0)
    before = probabilities_of_being_best(((alpha, beta), other))[0]
    after = probabilities_of_being_best(((alpha + more, beta), other))[0]
    assert after >= before - 2 * ERROR_MAX


def test_one_that_is_far_better_is_nearly_always_chosen_and_the_other_is_still_tried_a_little() -> None:
    worse, better = probabilities_of_being_best(((10.0, 990.0), (20.0, 980.0)))
    assert 0.01 < worse < 0.05
    assert better == 1 - worse


def test_millions_of_outcomes_decide_between_small_differences() -> None:
    worse, better = probabilities_of_being_best(((5_000_000.0, 95_000_000.0), (5_010_000.0, 94_990_000.0)))
    assert worse < 0.001
    assert better > 0.999
