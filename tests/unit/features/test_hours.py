"""The best hours of a day."""

from __future__ import annotations

import pytest

from app.core.features.hours import best_hours


def day(**hours: int) -> list[int]:
    return [hours.get(f"h{hour}", 0) for hour in range(24)]


@pytest.mark.parametrize(
    ("by_hour", "span", "best"),
    [
        (day(h9=5, h10=5, h11=5), 3, "09:00-12:00"),
        (day(h9=1, h18=3, h19=4), 2, "18:00-20:00"),
        (day(h23=3, h0=3), 2, "23:00-01:00"),
        (day(h12=9), 3, "10:00-13:00"),
        (day(h0=9), 3, "00:00-03:00"),
        (day(h6=2, h20=2), 1, "06:00-07:00"),
        (day(h6=2, h20=2, h21=1), 1, "20:00-21:00"),
        ([1] * 24, 12, "00:00-12:00"),
    ],
)
def test_the_best_hours_hold_most_then_lie_by_busy_ones_then_come_first(
    by_hour: list[int], span: int, best: str
) -> None:
    assert best_hours(by_hour, span, 1) == best


def test_few_events_say_nothing() -> None:
    assert best_hours(day(h9=4), 3, 5) is None
    assert best_hours(day(h9=5), 3, 5) == "07:00-10:00"


@pytest.mark.parametrize(("offset", "best"), [(60, "10:00-12:00"), (330, "14:30-16:30"), (-600, "23:00-01:00")])
def test_hours_may_be_told_in_local_time(offset: int, best: str) -> None:
    assert best_hours(day(h9=5, h10=5), 2, 1, offset) == best
