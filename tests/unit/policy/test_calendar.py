"""Days, weeks and months as instants, where clocks do what clocks do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest

from policy import calendar
from policy.calendar import ANYWHERE, QUARTER_MS, Unit, period, stretches, zones_of_country

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


def test_a_day_that_a_zone_skipped_is_no_day() -> None:
    """Samoa had no 30 December 2011."""
    midnight_ms = at("2011-12-30T10:00")
    assert period("day", "Pacific/Apia", midnight_ms - 1) == (midnight_ms - 24 * HOUR_MS, midnight_ms)
    assert period("day", "Pacific/Apia", midnight_ms) == (midnight_ms, midnight_ms + 24 * HOUR_MS)


@pytest.mark.parametrize(
    ("zone", "day", "change", "before", "after"),
    [
        ("Europe/Berlin", "2026-03-29", "2026-03-29T01:00:00", 60, 120),
        ("Europe/Berlin", "2026-10-25", "2026-10-25T01:00:00", 120, 60),
        ("Australia/Lord_Howe", "2026-04-04", "2026-04-04T15:00:00", 660, 630),
        ("Antarctica/Troll", "2026-03-29", "2026-03-29T01:00:00", 0, 120),
        ("America/St_Johns", "2010-03-14", "2010-03-14T03:31:00", -210, -150),  # one minute after midnight
        ("Pacific/Apia", "2011-12-30", "2011-12-30T10:00:00", -600, 840),  # from one side of the date line to the other
    ],
)
def test_a_day_is_cut_where_clocks_are_changed(zone: str, day: str, change: str, before: int, after: int) -> None:
    first_ms, change_ms = at(f"{day}T00:00"), at(change)
    assert stretches(zone, first_ms // (24 * HOUR_MS)) == (
        (first_ms, change_ms, before * 60_000),
        (change_ms, first_ms + 24 * HOUR_MS, after * 60_000),
    )


def test_on_other_days_clocks_run_on() -> None:
    first_ms = at("2026-11-24T00:00")
    day = first_ms // (24 * HOUR_MS)
    for zone, minutes in (("Asia/Kathmandu", 345), ("America/New_York", -300), (-570, -570), ("UTC", 0)):
        assert stretches(zone, day) == ((first_ms, first_ms + 24 * HOUR_MS, minutes * 60_000),)


def test_a_change_at_midnight_in_greenwich_cuts_neither_day() -> None:
    """Gaza goes forward at 02:00, two hours ahead of it."""
    changed_ms = at("2026-03-28T00:00")
    day = changed_ms // (24 * HOUR_MS)
    assert stretches("Asia/Gaza", day - 1) == ((changed_ms - 24 * HOUR_MS, changed_ms, 2 * HOUR_MS),)
    assert stretches("Asia/Gaza", day) == ((changed_ms, changed_ms + 24 * HOUR_MS, 3 * HOUR_MS),)


def test_zones_come_from_the_package_and_not_from_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two nodes with other zone files would disagree on when it is night, and a replay would find another answer."""

    def never(*_: object) -> None:
        raise AssertionError("the machine was asked")

    calendar._tzinfo.cache_clear()
    monkeypatch.setattr("policy.calendar.ZoneInfo", type("FromPackage", (ZoneInfo,), {"__new__": never}))
    assert calendar._tzinfo("Europe/Berlin").utcoffset(datetime(2026, 7, 1)) == timedelta(hours=2)
    calendar._tzinfo.cache_clear()


def test_a_zone_that_only_the_machine_knows_is_asked_there(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr("policy.calendar.ZoneInfo", lambda name: asked.append(name) or ZoneInfo("UTC"))
    assert calendar._tzinfo("Moon/Tranquility") is ZoneInfo("UTC")
    assert asked == ["Moon/Tranquility"]
    calendar._tzinfo.cache_clear()
