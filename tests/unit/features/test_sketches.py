"""Different values, and favourite keys, when there are many of them."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from app.core.features.fold import united
from app.core.features.history import folded
from app.core.features.read import ranking, read
from app.core.features.sketches import DISTINCT_MAX, KEYS_MAX, estimate, hash_of
from tests.support.folding import event, plan_of

NOW_MS = 1_795_507_140_000
HOUR_MS = 3_600_000
DISTINCT = plan_of("it: {on: viewed, distinct: product, window: 7d}")
FAVOURITE = plan_of("it: {on: viewed, affinity: {key: category, half_life: 14d, top: 3}}")


@pytest.mark.parametrize(("values", "error"), [(5, 0.05), (50, 0.06), (100, 0.06), (200, 0.06), (500, 0.075)])
def test_the_stated_error_holds(values: int, error: float) -> None:
    squares = []
    for customer in range(200):
        taken = {hash_of(f"{customer} {value}") % 256 for value in range(values)}
        squares.append((estimate(len(taken)) / values - 1) ** 2)
    assert (sum(squares) / len(squares)) ** 0.5 < error


def test_more_than_can_be_told_is_the_most_that_can() -> None:
    events = [event("viewed", NOW_MS, product=f"p{number}") for number in range(5_000)]
    assert read(DISTINCT, folded(DISTINCT, events), NOW_MS) == {"it": DISTINCT_MAX} == {"it": 1420}


def test_a_hash_is_the_same_on_every_machine_and_in_every_process() -> None:
    assert [hash_of(text) % 256 for text in ("", "shoes", "Müller")] == [180, 28, 191]


def test_a_value_leaves_the_window_with_the_last_time_it_was_met() -> None:
    events = [event("viewed", NOW_MS - 6 * 24 * HOUR_MS, product="hat"), event("viewed", NOW_MS, product="hat")]
    for order in (events, events[::-1]):
        state = folded(DISTINCT, order)
        assert read(DISTINCT, state, NOW_MS + 6 * 24 * HOUR_MS) == {"it": 1}
        assert read(DISTINCT, state, NOW_MS + 8 * 24 * HOUR_MS) == {"it": 0}


def test_up_to_sixteen_keys_in_a_bucket_are_ranked_exactly() -> None:
    rng = random.Random(1)
    events = [event("viewed", NOW_MS, category=f"c{rng.randrange(KEYS_MAX)}") for _ in range(500)]
    counts = Counter(each.properties["category"] for each in events)
    expected = sorted(counts, key=lambda key: (-counts[key], str(key)))[:3]
    assert list(ranking(FAVOURITE, folded(FAVOURITE, events), "it", NOW_MS)) == expected


def test_of_more_the_same_ones_are_ranked_in_any_order_and_after_a_merge() -> None:
    rng = random.Random(2)
    events = [
        event("viewed", NOW_MS - rng.randrange(60 * 24) * HOUR_MS, category=f"c{rng.randrange(60)}") for _ in range(900)
    ]
    whole = folded(FAVOURITE, events)
    for _ in range(5):
        rng.shuffle(events)
        assert folded(FAVOURITE, events) == whole
        assert united(FAVOURITE, folded(FAVOURITE, events[:300]), folded(FAVOURITE, events[300:])) == whole
    held = whole[0]
    assert held is not None
    ages = [sum(age < len(counts) and counts[age] > 0 for counts in held[1].values()) for age in range(24)]
    assert max(ages) == KEYS_MAX


def test_keys_may_be_numbers_and_are_told_as_text() -> None:
    plan = plan_of(
        "it: {on: viewed, affinity: {key: shelf, half_life: 14d}}", "viewed: {properties: {shelf: {type: int}}}"
    )
    assert read(plan, folded(plan, [event("viewed", NOW_MS, shelf=12)]), NOW_MS) == {"it": "12"}


def test_who_met_nothing_has_no_ranking() -> None:
    assert ranking(FAVOURITE, folded(FAVOURITE, []), "it", NOW_MS) == ()
    assert ranking(FAVOURITE, folded(FAVOURITE, [event("viewed", NOW_MS)]), "it", NOW_MS) == ()
