"""When something counts as growing, and what a short run cannot say."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.mix.slo import Found, Goal
from loadtests.soak.slope import STRETCHES, Slope, slope
from loadtests.soak.verdict import flatness, ratio

HOUR = [(number * 15.0, 0.0) for number in range(240)]


def looks(growth: float, noise: float = 0.0, seed: int = 1) -> list[tuple[float, float]]:
    """Of 200 MiB that become more by `growth` over an hour."""
    chance = random.Random(seed)
    return [(at, 200 + growth * at / 3585 + noise * chance.gauss(0, 1)) for at, _ in HOUR]


@given(st.floats(-100, 100), st.floats(1, 1000))
def test_a_straight_line_is_found_as_it_is(growth: float, foot: float) -> None:
    line = slope([(at, foot + growth * at / 3585) for at, _ in HOUR])
    assert line.growth == pytest.approx(growth, abs=1e-6)
    assert line.low - 1e-6 <= growth <= line.high + 1e-6
    assert line.mean == pytest.approx(foot + growth / 2)


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    held = sum(line.low <= 5 <= line.high for line in (slope(looks(5, 3, seed)) for seed in range(400)))
    assert 0.91 <= held / 400 <= 0.985


def test_more_noise_is_less_sure() -> None:
    quiet, loud = slope(looks(2, 0.5)), slope(looks(2, 20))
    assert loud.high - loud.low > 10 * (quiet.high - quiet.low)


@pytest.mark.parametrize(
    ("growth", "noise", "met"),
    [
        (0, 1, True),
        (-30, 1, True),  # what becomes less is flat enough
        (8, 0.5, True),  # 4 %
        (15, 0.5, False),
    ],
)
def test_memory_is_flat_when_it_surely_grows_by_less_than_a_twentieth(growth: float, noise: float, met: bool) -> None:
    assert flatness("server: memory", "MiB", looks(growth, noise), 60).met is met


def test_what_is_so_noisy_that_nobody_knows_is_not_shown_to_be_flat() -> None:
    assert Slope(growth=1, low=-20, high=9.9, mean=200).flat(0.05)
    assert not Slope(growth=1, low=-20, high=10.1, mean=200).flat(0.05)


def test_three_connections_more_are_a_pool_and_four_are_a_leak() -> None:
    assert Slope(growth=3, low=3, high=3, mean=10).flat(0.05, 3)
    assert not Slope(growth=4, low=4, high=4, mean=10).flat(0.05, 3)
    assert Slope(growth=4, low=4, high=4, mean=100).flat(0.05, 3)  # a twentieth of many


def test_a_minute_says_nothing_about_leaks() -> None:
    assert flatness("server: memory", "MiB", looks(50), 1).met is None
    assert flatness("server: memory", "MiB", looks(0)[: 2 * STRETCHES], 60).met is None


@pytest.mark.parametrize(("last", "met"), [(11.0, True), (11.1, False), (2.0, True)])
def test_the_end_may_be_a_tenth_slower_than_the_begin(last: float, met: bool) -> None:
    assert ratio("decide", found(10.0), found(last), 60).met is met


def test_p99_of_a_minute_is_not_judged_and_of_nothing_neither() -> None:
    assert ratio("decide", found(10.0), found(99.0), 1).met is None
    goal: Goal = ratio("decide", found(None), found(10.0), 60)
    assert goal.met is None


def test_a_p99_of_few_requests_moves_by_chance_and_is_not_judged() -> None:
    few = found(99.0).model_copy(update={"requests": 4_999})
    assert ratio("batch", found(10.0), few, 60).met is None


def found(p99_ms: float | None) -> Found:
    return Found(
        requests=5000, due_a_second=1, good_a_second=1, error_rate=0, p50_ms=p99_ms, p99_ms=p99_ms, p999_ms=p99_ms
    )
