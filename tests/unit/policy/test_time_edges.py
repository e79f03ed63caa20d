"""Hours and days at the very edges: found by making small mistakes on purpose (`make mutate`)."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

import pytest

from policy import calendar
from policy.bundle import QuietHours
from policy.calendar import period
from policy.hours import Hours, next_opening
from tests.support.deciding import DAY_MS, HOUR_MS

NIGHT = QuietHours(21 * 60, 8 * 60)


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


@pytest.fixture
def server_in_auckland() -> Iterator[None]:
    """A machine whose own clock shows another day than Greenwich."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = "Pacific/Auckland"
    time.tzset()
    yield
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


@pytest.mark.usefixtures("server_in_auckland")
def test_where_the_server_stands_makes_no_difference_to_a_customers_day() -> None:
    noon_ms = at("2031-05-06T12:00")  # a day that no other test asks for: nothing is remembered of it
    assert period("day", "UTC", noon_ms) == (at("2031-05-06T00:00"), at("2031-05-07T00:00"))
    assert period("day", "Europe/Berlin", noon_ms) == (at("2031-05-05T22:00"), at("2031-05-06T22:00"))
    assert calendar.stretches("Europe/Berlin", noon_ms // DAY_MS) == (
        (at("2031-05-06T00:00"), at("2031-05-07T00:00"), 2 * HOUR_MS),
    )


def test_what_opens_at_midnight_of_greenwich_comes_just_within_the_wait() -> None:
    from_midnight = Hours("permitted_hours", (QuietHours(20 * 60, 24 * 60),))
    opening = next_opening(from_midnight, ("UTC",), at("2026-11-24T23:00"), HOUR_MS, HOUR_MS)
    assert opening is not None
    assert opening.start_ms == at("2026-11-25T00:00")
    assert next_opening(from_midnight, ("UTC",), at("2026-11-24T23:00") - 1, HOUR_MS, HOUR_MS) is None


def test_an_hours_window_goes_on_over_midnight_of_greenwich() -> None:
    by_day = Hours("permitted_hours", (QuietHours(12 * 60, 13 * 60),))
    now_ms = at("2026-11-24T23:00") + 30_000
    opening = next_opening(by_day, ("UTC",), now_ms, DAY_MS, HOUR_MS)
    assert opening is not None
    assert opening.start_ms == now_ms
    assert opening.end_ms >= now_ms + HOUR_MS


def test_an_end_is_exact_as_far_as_it_was_asked_for_also_when_that_is_days_off() -> None:
    until_saturday = Hours("permitted_hours", (QuietHours(0, 1440, dates=frozenset({date(2026, 11, 28)})),))
    opening = next_opening(until_saturday, ("UTC",), at("2026-11-24T10:00"), HOUR_MS, 5 * DAY_MS)
    assert opening == (at("2026-11-24T10:00"), at("2026-11-28T00:00"))


def test_after_a_pause_at_noon_it_opens_again_on_the_same_day() -> None:
    """In New York the local day begins in the middle of Greenwich's, and what touches there is one opening."""
    lunch = Hours("permitted_hours", (QuietHours(12 * 60, 13 * 60),))
    night_ms, noon_ms = at("2026-11-25T03:00"), at("2026-11-25T17:00")  # 22:00 and 12:00 there
    assert next_opening(lunch, ("America/New_York",), night_ms, DAY_MS, DAY_MS) == (night_ms, noon_ms)
    found = next_opening(lunch, ("America/New_York",), noon_ms, DAY_MS, HOUR_MS)
    assert found is not None
    assert found.start_ms == noon_ms + HOUR_MS


def test_hours_that_only_touch_have_no_moment_in_common() -> None:
    """Open from eight to nine by each clock, an hour apart: where it ends in the one zone it begins in the other."""
    early = Hours("permitted_hours", (), (8 * 60, 9 * 60))
    assert next_opening(early, ("UTC", "Europe/Berlin"), at("2026-11-24T00:00"), 3 * DAY_MS, HOUR_MS) is None


def test_quiet_from_an_hour_until_the_same_hour_is_quiet_all_day() -> None:
    always = Hours("permitted_hours", (QuietHours(480, 480),))
    assert always.open_on(date(2026, 11, 24)) == []


def read_zone(name: str) -> tzinfo:
    """As if nobody had asked for it before."""
    getattr(calendar._tzinfo, "cache_clear", lambda: None)()
    return calendar._tzinfo(name)


@pytest.fixture(autouse=True)
def _zones_are_read_anew_afterwards() -> Iterator[None]:
    """What a test's stand-in for the machine said is nobody else's."""
    yield
    getattr(calendar._tzinfo, "cache_clear", lambda: None)()


def test_a_zone_is_read_from_the_package_under_its_own_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("the machine was asked")

    monkeypatch.setattr("policy.calendar.ZoneInfo", type("FromPackage", (ZoneInfo,), {"__new__": never}))
    assert str(read_zone("Europe/Berlin")) == "Europe/Berlin"
    assert read_zone("America/Argentina/Salta").utcoffset(datetime(2026, 7, 1)) == timedelta(hours=-3)
    assert read_zone("UTC").utcoffset(datetime(2026, 7, 1)) == timedelta()


def test_a_zone_that_the_package_lacks_is_the_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr("policy.calendar.ZoneInfo", lambda name: asked.append(name) or ZoneInfo("UTC"))
    assert read_zone("Moon/Tranquility") is ZoneInfo("UTC")
    assert asked == ["Moon/Tranquility"]
