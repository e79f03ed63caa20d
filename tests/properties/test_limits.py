"""Limits against an oracle that walks through time step by step and knows no cleverness."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from policy.bundle import Window
from policy.facts import Contact, ContactKind
from policy.limits import fullest_window

SETTINGS = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
KIND = ContactKind("weekly", "email", "marketing", "offer", "", "")
MINUTE_MS = 60_000
QUARTER_MS = 15 * MINUTE_MS


def ledger(steps: st.SearchStrategy[int], lengths: st.SearchStrategy[int], step_ms: int) -> Any:
    """Contacts at multiples of a step; some are reservations over a while."""
    one = st.tuples(steps, lengths).map(lambda pair: Contact(b"", KIND, pair[0] * step_ms, sum(pair) * step_ms))
    return st.lists(one, max_size=6).map(lambda each: sorted(each, key=lambda c: c.not_before_ms))


# Rolling windows, minute by minute

#: Minutes of Unix time: 2026-07-15T21:30Z, half an hour before midnight in Berlin. (Before 1972 some offsets were no
#: quarters of an hour.)
EVENING = 29_735_850
MOMENTS = st.integers(EVENING, EVENING + 120)
MINUTES = ledger(MOMENTS, st.sampled_from([0, 0, 0, 5, 30]), MINUTE_MS)


def fullest_rolling(length: int, contacts: Sequence[Contact], first: int, last: int) -> int:
    """Every window (end − length, end] that holds some minute of the new contact; all in minutes."""
    most = 0
    for end in range(first, last + length):
        inside = sum(
            c.not_before_ms <= end * MINUTE_MS and c.not_after_ms > (end - length) * MINUTE_MS for c in contacts
        )
        most = max(most, inside)
    return most


@SETTINGS
@given(contacts=MINUTES, length=st.integers(1, 60), first=MOMENTS, wait=st.sampled_from([0, 0, 5, 40]))
def test_rolling_windows_hold_what_a_walk_through_time_finds(
    contacts: list[Contact], length: int, first: int, wait: int
) -> None:
    window = Window("rolling", seconds=length * 60)
    found = fullest_window(window, contacts, first * MINUTE_MS, (first + wait) * MINUTE_MS, ())
    assert len(found) == fullest_rolling(length, contacts, first, first + wait)


# Calendar windows, quarter by quarter, in the nights on which clocks change and the others

NIGHTS = [
    datetime(2026, 3, 28, tzinfo=UTC),  # Europe goes forward
    datetime(2026, 10, 24, tzinfo=UTC),  # and back
    datetime(2026, 10, 31, tzinfo=UTC),  # America goes back; a month ends
    datetime(2026, 4, 23, tzinfo=UTC),  # Cairo skips midnight
    datetime(2026, 12, 30, tzinfo=UTC),  # a year ends
]
ZONES = [
    "UTC", "Europe/Berlin", "America/New_York", "Africa/Cairo", "Asia/Kathmandu", "Pacific/Kiritimati",
    "Australia/Lord_Howe", "Atlantic/Azores",
]  # fmt: skip


def period_of(unit: str, zone: str, at_ms: int) -> date | tuple[int, int]:
    """What the calendar on the wall says."""
    day = datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(ZoneInfo(zone)).date()
    if unit == "day":
        return day
    return day - timedelta(days=day.weekday()) if unit == "week" else (day.year, day.month)


def fullest_calendar(unit: str, contacts: Sequence[Contact], first_ms: int, last_ms: int, zones: Iterable[str]) -> int:
    most = 0
    for zone in zones:
        held = [
            {period_of(unit, zone, at) for at in range(c.not_before_ms, c.not_after_ms + 1, QUARTER_MS)}
            for c in contacts
        ]
        for mine in {period_of(unit, zone, at) for at in range(first_ms, last_ms + 1, QUARTER_MS)}:
            most = max(most, sum(mine in periods for periods in held))
    return most


@SETTINGS
@given(
    data=st.data(), unit=st.sampled_from(["day", "week", "month"]), zones=st.lists(st.sampled_from(ZONES), max_size=3)
)
def test_calendar_windows_hold_what_the_calendar_on_the_wall_says(
    data: st.DataObject, unit: Any, zones: list[str]
) -> None:
    night = int(data.draw(st.sampled_from(NIGHTS)).timestamp() * 1000) // QUARTER_MS
    quarters = st.integers(night - 96, night + 4 * 96)
    contacts = data.draw(ledger(quarters, st.sampled_from([0, 0, 0, 4, 100]), QUARTER_MS))
    first_ms = data.draw(quarters) * QUARTER_MS
    last_ms = first_ms + data.draw(st.sampled_from([0, 0, 4, 120])) * QUARTER_MS
    found = fullest_window(Window("calendar", unit=unit), contacts, first_ms, last_ms, zones)
    assert len(found) == fullest_calendar(unit, contacts, first_ms, last_ms, zones)


# What must hold whatever the window

WINDOWS = st.one_of(
    st.integers(1, 200).map(lambda minutes: Window("rolling", seconds=minutes * 60)),
    st.builds(lambda unit: Window("calendar", unit=unit), st.sampled_from(["day", "week", "month"])),
)


@SETTINGS
@given(window=WINDOWS, contacts=MINUTES, more=MINUTES, first=MOMENTS, wait=st.sampled_from([0, 10]))
def test_one_more_contact_never_opens_a_limit(
    window: Window, contacts: list[Contact], more: list[Contact], first: int, wait: int
) -> None:
    def count(among: list[Contact], last: int) -> int:
        return len(fullest_window(window, among, first * MINUTE_MS, last * MINUTE_MS, ("Europe/Berlin",)))

    both = sorted([*contacts, *more], key=lambda each: each.not_before_ms)
    assert count(contacts, first + wait) <= count(both, first + wait)
    assert count(contacts, first) <= count(contacts, first + wait), "nor does more time to send in"


@SETTINGS
@given(window=WINDOWS, contacts=MINUTES, first=MOMENTS, zones=st.lists(st.sampled_from(ZONES), max_size=3))
def test_one_more_possible_zone_never_opens_a_limit(
    window: Window, contacts: list[Contact], first: int, zones: list[str]
) -> None:
    def count(among: list[str]) -> int:
        return len(fullest_window(window, contacts, first * MINUTE_MS, first * MINUTE_MS, among))

    assert count(zones) <= count([*zones, "Pacific/Kiritimati"])


@SETTINGS
@given(window=WINDOWS, contacts=MINUTES, first=MOMENTS)
def test_what_fills_a_window_is_of_the_ledger_and_each_counts_once(
    window: Window, contacts: list[Contact], first: int
) -> None:
    at_ms = first * MINUTE_MS
    numbered = [each._replace(decision=bytes([number])) for number, each in enumerate(contacts)]
    found = fullest_window(window, numbered, at_ms, at_ms, ("UTC",))
    assert set(found) <= set(numbered)
    assert len(set(found)) == len(found)
