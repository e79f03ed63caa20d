"""Days, weeks and months as instants, where clocks do what clocks do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest

from policy.calendar import ANYWHERE, QUARTER_MS, Unit, period, zones_of_country

HOUR_MS = 3_600_000


def at(text: str, zone: str = "UTC") -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp() * 1000)


@pytest.mark.parametrize(
    ("unit", "first", "after"),
    [
        ("day", "2026-11-24T00:00", "2026-11-25T00:00"),
        ("week", "2026-11-23T00:00", "2026-11-30T00:00"),
        ("month", "2026-11-01T00:00", "2026-12-01T00:00"),
    ],
)
@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "Asia/Kathmandu", "Pacific/Kiritimati", "America/New_York"])
def test_a_period_begins_at_local_midnight_and_ends_where_the_next_begins(
    unit: Unit, first: str, after: str, zone: str
) -> None:
    wanted = at(first, zone), at(after, zone)
    assert period(unit, zone, at("2026-11-24T12:34:56", zone)) == wanted
    assert period(unit, zone, wanted[0]) == wanted
    assert period(unit, zone, wanted[1] - 1) == wanted
    assert period(unit, zone, wanted[1])[0] == wanted[1]


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Berlin", "2026-03-29", 23),
        ("Europe/Berlin", "2026-10-25", 25),
        ("America/New_York", "2026-03-08", 23),
        ("America/New_York", "2026-11-01", 25),
        ("Australia/Lord_Howe", "2026-04-05", 24.5),
        ("Australia/Lord_Howe", "2026-10-04", 23.5),
        ("Africa/Cairo", "2026-04-24", 23),  # from midnight to one
        ("Atlantic/Azores", "2026-10-25", 25),  # from one to midnight
        ("Asia/Beirut", "2026-03-29", 23),
        ("UTC", "2026-03-29", 24),
    ],
)
def test_a_day_on_which_clocks_change_is_longer_or_shorter(zone: str, day: str, hours: float) -> None:
    first, after = period("day", zone, at(f"{day}T12:00", zone))
    assert after - first == hours * HOUR_MS
    assert datetime.fromtimestamp(first / 1000, ZoneInfo(zone)).date().isoformat() == day
    assert datetime.fromtimestamp(first / 1000 - 1, ZoneInfo(zone)).date().isoformat() < day


def test_december_ends_with_the_year_and_february_may_have_29_days() -> None:
    assert period("month", "UTC", at("2026-12-31T23:59")) == (at("2026-12-01T00:00"), at("2027-01-01T00:00"))
    assert period("month", "UTC", at("2028-02-29T00:00")) == (at("2028-02-01T00:00"), at("2028-03-01T00:00"))


def test_an_offset_is_a_zone_without_summer_time() -> None:
    first, after = period("day", 345, at("2026-11-24T00:00"))
    assert (first, after) == (at("2026-11-23T18:15"), at("2026-11-24T18:15"))


def test_anywhere_has_every_offset_that_some_clock_shows() -> None:
    """A zone that is missing here could hold a second contact on its own day."""
    shown = set()
    for zone in available_timezones() - {"localtime", "Factory"}:
        for month in range(1, 13):
            offset = datetime(2026, month, 15, tzinfo=UTC).astimezone(ZoneInfo(zone)).utcoffset()
            assert offset is not None
            shown.add(offset // timedelta(minutes=1))
    assert shown <= set(ANYWHERE)
    assert (min(ANYWHERE), max(ANYWHERE)) == (-720, 840)


def test_every_offset_is_a_multiple_of_what_the_cache_takes_for_one_instant() -> None:
    assert all(minutes * 60_000 % QUARTER_MS == 0 for minutes in ANYWHERE if isinstance(minutes, int))


def test_a_country_has_its_zones_and_a_subdivision_those_of_its_country() -> None:
    assert "Europe/Berlin" in zones_of_country("DE")
    assert zones_of_country("US-CA") == zones_of_country("US")
    assert len(zones_of_country("US")) > 4
    assert zones_of_country("ZZ") == ()
