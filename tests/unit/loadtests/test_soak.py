"""When something counts as growing, and what a short run cannot say."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.store.decisions import STREAM_ENTRY_BYTES
from loadtests.mix.slo import Found, Goal
from loadtests.soak.explained import MIB, explained, growth_goal
from loadtests.soak.held import Family, Held, family_of
from loadtests.soak.slope import STRETCHES, Slope, slope
from loadtests.soak.verdict import SOME_CONNECTIONS, bounded, flatness, ratio

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


def test_what_surely_grows_and_maybe_too_much_is_missed_and_what_is_only_noisy_is_not_shown() -> None:
    assert flatness("server: memory", "MiB", looks(8, 6), 60).met is False
    assert flatness("server: memory", "MiB", looks(1, 40), 60).met is None


def test_a_peak_that_passes_is_no_growth_and_one_that_stays_is() -> None:
    passes, stays = looks(0, 0.5), looks(0, 0.5)
    passes[200:204] = [(at, 900.0) for at, _ in passes[200:204]]
    stays[200:] = [(at, 300.0) for at, _ in stays[200:]]
    goal = flatness("archiver: memory", "MiB", passes, 60)
    assert goal.met
    assert goal.found.endswith("900 at most")
    assert not flatness("archiver: memory", "MiB", stays, 60).met


def test_what_is_so_noisy_that_nobody_knows_is_not_flat() -> None:
    assert Slope(growth=1, low=-20, high=9.9, mean=200).flat(0.05)
    assert not Slope(growth=1, low=-20, high=10.1, mean=200).flat(0.05)


def test_a_few_connections_more_are_a_pool_and_one_in_ten_minutes_is_a_leak() -> None:
    steps = [(at, 13 + sum(at > begin for begin in (900, 1_800, 2_700))) for at, _ in HOUR]
    leak = [(at, 13 + at // 600) for at, _ in HOUR]
    assert flatness("store: connections", "", steps, 60, SOME_CONNECTIONS).met
    assert flatness("store: connections", "", leak, 60, SOME_CONNECTIONS).met is False
    assert Slope(growth=4, low=4, high=4, mean=100).flat(0.05, 3)  # a twentieth of many


@pytest.mark.parametrize(
    ("most", "met"), [({"nextbest": 65, "": 90}, True), ({"nextbest": 66, "nextbest-archive": 1}, False), ({}, None)]
)
def test_connections_are_within_what_a_pool_may_hold(most: dict[str, int], met: bool | None) -> None:
    assert bounded(most).met is met


def test_memory_that_what_was_done_explains_is_met_and_a_fifth_more_is_not() -> None:
    after = store(decisions=1_000_000, resident=0)
    parts = explained(EMPTY, after, {"decisions": 1_000_000})
    known = round(sum(part.mib for part in parts) * MIB)
    assert known == 1_000_000 * (1_000 + STREAM_ENTRY_BYTES)

    def met(resident: float, minutes: float = 60) -> bool | None:
        return growth_goal(EMPTY, replace(after, resident=round(resident)), parts, minutes).met

    assert [met(known), met(known / 0.81), met(known / 0.79), met(known / 1.21)] == [True, True, False, False]
    assert met(known, minutes=1) is None
    little = explained(EMPTY, after, {"decisions": 1_000})
    assert growth_goal(EMPTY, replace(after, resident=50 * MIB), little, 60).met is None


def test_what_nobody_was_told_of_explains_nothing_and_events_that_stay_neither() -> None:
    kept = store(decisions=500, events=10_000, o=900, seen=3, resident=0)
    parts = explained(EMPTY, kept, {"decisions": 300, "decisions to repeat": 100, "events": 10_000, "outcomes": 50})
    found = {part.what: part.number for part in parts if part.number}
    assert found == {
        "records of decisions": 400,
        "sends of which something is known": 50,
        "outcomes, known of their sends": 50,
        "repeats of events": 10_000,
    }
    assert not any(part.family == "events" for part in parts)


def test_keys_are_told_apart_by_family() -> None:
    keys = [b"{s017}:decisions", b"{s255}:d:0a", b"pm:8f", b"{ctl:switches}:log", b"ctl:fields"]
    assert [family_of(key) for key in keys] == ["decisions", "d", "pm", "{ctl", "ctl"]


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


def store(resident: int, **things: int) -> Held:
    return Held({name: Family(count, count, 100.0 * count) for name, count in things.items()}, 1_000.0, resident)


EMPTY = store(resident=0)


def found(p99_ms: float | None) -> Found:
    return Found(
        requests=5000, due_a_second=1, good_a_second=1, error_rate=0, p50_ms=p99_ms, p99_ms=p99_ms, p999_ms=p99_ms
    )
