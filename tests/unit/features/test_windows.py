"""How time is cut into buckets, and what they weigh."""

from __future__ import annotations

import math
import re
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from app.core.features.weights import ONE_WEIGHT, weights
from app.core.features.windows import MINUTE_MS, ONE, of_half_life, of_histogram, of_window
from policy.durations import seconds

GUIDE = (Path(__file__).parents[3] / "docs" / "features.md").read_text()
UNITS = {"min": MINUTE_MS, "h": 60 * MINUTE_MS, "d": 1440 * MINUTE_MS}
TEN_YEARS_MS = 3_660 * 86_400_000


def test_the_guide_tells_the_buckets_of_common_windows() -> None:
    rows = re.findall(r"\| (\d+[mhd]) \| (\d+) (min|h|d) \| (\d+) ", GUIDE)
    assert len(rows) == 14
    for window, length, unit, kept in rows:
        assert of_window(seconds(window) * 1000) == (int(length) * UNITS[unit], int(kept)), window


@given(st.integers(MINUTE_MS, TEN_YEARS_MS))
def test_any_window_slides_in_at_most_24_buckets_and_reaches_over_by_less_than_one(window_ms: int) -> None:
    step_ms, kept = of_window(window_ms)
    assert 1 <= kept <= 24
    assert step_ms % MINUTE_MS == 0
    assert 0 <= step_ms * kept - window_ms < step_ms


def test_no_window_is_one_bucket_that_never_ends() -> None:
    assert of_window(None) == of_histogram(None) == ONE
    assert ONE.kept == 1


@given(st.integers(MINUTE_MS, TEN_YEARS_MS))
def test_a_histogram_has_few_buckets(window_ms: int) -> None:
    step_ms, kept = of_histogram(window_ms)
    assert kept <= 4
    assert step_ms * kept >= window_ms


@given(st.integers(3 * MINUTE_MS, TEN_YEARS_MS))
def test_what_fades_does_so_in_at_most_24_steps_over_eight_half_lives(half_life_ms: int) -> None:
    step_ms, kept = of_half_life(half_life_ms)
    assert kept <= 24
    assert step_ms * kept >= 8 * half_life_ms
    for age, weight in enumerate(weights(half_life_ms, of_half_life(half_life_ms))):
        assert math.isclose(weight / ONE_WEIGHT, 2 ** (-age * step_ms / half_life_ms), abs_tol=1 / ONE_WEIGHT)


def test_after_whole_half_lives_weights_are_whole_powers_of_two() -> None:
    day_ms = 1440 * MINUTE_MS
    fading = weights(day_ms, of_half_life(day_ms))
    assert [fading[3 * days] for days in range(8)] == [2 ** (32 - days) for days in range(8)]


def test_a_window_cuts_what_fades_short() -> None:
    assert of_half_life(14 * 1440 * MINUTE_MS, 30 * 1440 * MINUTE_MS) == (5 * 1440 * MINUTE_MS, 6)
