"""Send windows against an oracle that looks at the clock on the wall, minute by minute, and knows no cleverness."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from policy.bundle import QuietHours
from policy.hours import Hours, next_opening

SETTINGS = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS

#: Where clocks were or will be changed: a zone, and a time close to the change.
CHANGES = [
    ("Europe/Berlin", datetime(2026, 3, 29, 1, tzinfo=UTC)),
    ("Europe/Berlin", datetime(2026, 10, 25, 1, tzinfo=UTC)),
    ("America/New_York", datetime(2026, 3, 8, 7, tzinfo=UTC)),
    ("America/New_York", datetime(2026, 11, 1, 6, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 4, 4, 15, tzinfo=UTC)),  # half an hour
    ("Australia/Lord_Howe", datetime(2026, 10, 3, 15, 30, tzinfo=UTC)),
    ("Africa/Cairo", datetime(2026, 4, 23, 22, tzinfo=UTC)),  # midnight is skipped
    ("Africa/Cairo", datetime(2026, 10, 29, 21, tzinfo=UTC)),  # the hour before midnight comes twice
    ("Atlantic/Azores", datetime(2026, 10, 25, 1, tzinfo=UTC)),  # the hour after it does
    ("Antarctica/Troll", datetime(2026, 3, 29, 1, tzinfo=UTC)),  # two hours
    ("Pacific/Chatham", datetime(2026, 9, 26, 14, tzinfo=UTC)),  # 02:45
    ("America/St_Johns", datetime(2010, 11, 7, 2, 31, tzinfo=UTC)),  # a minute after midnight, back into yesterday
    ("Pacific/Apia", datetime(2011, 12, 30, 10, tzinfo=UTC)),  # a day is skipped
    ("Asia/Kathmandu", datetime(2028, 2, 28, 18, 15, tzinfo=UTC)),  # no change, but a leap day begins
    ("UTC", datetime(2026, 12, 31, 23, tzinfo=UTC)),
]  # fmt: skip
MINUTES = st.one_of(
    st.sampled_from([0, 1, 60, 119, 120, 150, 165, 180, 480, 1260, 1380, 1439]),
    st.integers(min_value=0, max_value=1439),
)


def oracle_is_open(hours: Hours, zones: Sequence[str], at_s: int) -> bool:
    """Whether a message may leave in this second, by every clock."""
    return all(_open_by_clock(hours, datetime.fromtimestamp(at_s, ZoneInfo(zone))) for zone in zones)


def _open_by_clock(hours: Hours, wall: datetime) -> bool:
    if hours.wanted is not None and not _between(wall.time(), *hours.wanted, equal=True):
        return False
    return not any(_is_quiet(quiet, wall) for quiet in hours.quiet)


def _is_quiet(quiet: QuietHours, wall: datetime) -> bool:
    if (quiet.from_minute, quiet.until_minute) == (0, 1440):
        return _begins(quiet, wall.date())
    if not _between(wall.time(), quiet.from_minute, quiet.until_minute, equal=True):
        return False
    after_midnight = quiet.until_minute <= quiet.from_minute and wall.time() < _time(quiet.until_minute)
    return _begins(quiet, wall.date() - timedelta(days=1) if after_midnight else wall.date())


def _begins(quiet: QuietHours, day: date) -> bool:
    return (not quiet.days and not quiet.dates) or day.weekday() in quiet.days or day in quiet.dates


def _time(minute: int) -> time:
    return time(minute // 60, minute % 60)


def _between(at: time, first: int, until: int, equal: bool) -> bool:
    if first == until:
        return equal
    start, end = _time(first), _time(until % 1440)
    return start <= at < end if start < end else at >= start or at < end


def oracle(hours: Hours, zones: Sequence[str], now_ms: int, wait_ms: int) -> tuple[int, int] | None:
    """The first open instant and the end of what is open from there, an hour on at most."""
    minute_ms = now_ms // MINUTE_MS * MINUTE_MS
    while not oracle_is_open(hours, zones, minute_ms // 1000):
        minute_ms += MINUTE_MS
        if minute_ms > now_ms + wait_ms:
            return None
    start_ms = max(now_ms, minute_ms)
    while minute_ms < start_ms + HOUR_MS and oracle_is_open(hours, zones, minute_ms // 1000):
        minute_ms += MINUTE_MS
    return start_ms, min(minute_ms, start_ms + HOUR_MS)


@st.composite
def quiet_hours(draw: Any, around: date) -> QuietHours:
    first, until = draw(
        st.one_of(st.just((0, 1440)), st.tuples(MINUTES, MINUTES).filter(lambda each: each[0] != each[1]))
    )
    days = draw(st.frozensets(st.integers(0, 6), max_size=2))
    near = st.integers(-1, 2).map(lambda off: around + timedelta(days=off))
    dates = draw(st.frozensets(near, max_size=2))
    if (first, until) == (0, 1440) and not (days or dates):
        dates = frozenset({around})
    return QuietHours(first, until, days, dates)


@st.composite
def questions(draw: Any) -> tuple[Hours, tuple[str, ...], int, int]:
    zone, change = draw(st.sampled_from(CHANGES))
    others = draw(st.lists(st.sampled_from([each for each, _ in CHANGES]), max_size=2))
    around = change.astimezone(ZoneInfo(zone)).date()
    quiet = tuple(draw(st.lists(quiet_hours(around), max_size=3)))
    wanted = draw(st.one_of(st.none(), st.tuples(MINUTES, MINUTES)))
    off_ms = draw(st.integers(-20 * 60, 6 * 60)) * MINUTE_MS + draw(st.sampled_from([0, 0, 1, 31_234, 59_999]))
    now_ms = int(change.timestamp() * 1000) + off_ms
    wait_ms = draw(st.sampled_from([0, 60, 3600, 7 * 3600 + 59, 86400, 36 * 3600])) * 1000
    return Hours("permitted_hours", quiet, wanted), tuple(dict.fromkeys((zone, *others))), now_ms, wait_ms


@SETTINGS
@given(questions())
def test_the_next_opening_is_what_the_clocks_on_the_walls_say(question: Any) -> None:
    hours, zones, now_ms, wait_ms = question
    found = next_opening(hours, zones, now_ms, wait_ms, HOUR_MS)
    expected = oracle(hours, zones, now_ms, wait_ms)
    clipped = found and (found.start_ms, min(found.end_ms, found.start_ms + HOUR_MS))
    assert clipped == expected


@SETTINGS
@given(questions(), st.data())
def test_no_instant_of_a_window_is_quiet_anywhere(question: Any, data: st.DataObject) -> None:
    hours, zones, now_ms, wait_ms = question
    found = next_opening(hours, zones, now_ms, wait_ms, HOUR_MS)
    if found is not None:
        assert now_ms <= found.start_ms <= now_ms + wait_ms
        assert found.start_ms < found.end_ms
        at_ms = data.draw(st.integers(found.start_ms, found.end_ms - 1))
        assert oracle_is_open(hours, zones, at_ms // 1000)


@SETTINGS
@given(questions(), st.data())
def test_more_quiet_hours_or_more_possible_zones_never_open_an_hour(question: Any, data: st.DataObject) -> None:
    hours, zones, now_ms, wait_ms = question
    before = next_opening(hours, zones, now_ms, wait_ms, HOUR_MS)
    day = datetime.fromtimestamp(now_ms / 1000, UTC).date()
    quieter = Hours("permitted_hours", (*hours.quiet, data.draw(quiet_hours(day))), hours.wanted)
    more = (*zones, data.draw(st.sampled_from([zone for zone, _ in CHANGES])))
    for after in (
        next_opening(quieter, zones, now_ms, wait_ms, HOUR_MS),
        next_opening(hours, more, now_ms, wait_ms, HOUR_MS),
    ):
        assert after is None or (before is not None and before.start_ms <= after.start_ms)


@SETTINGS
@given(questions(), st.integers(0, 36 * 3600 * 1000))
def test_who_waits_until_then_and_asks_again_may_send(question: Any, later_ms: int) -> None:
    """A deferred decision is decided anew: at the time that was named it is open, and not before."""
    hours, zones, now_ms, wait_ms = question
    found = next_opening(hours, zones, now_ms, wait_ms, HOUR_MS)
    if found is None:
        return
    again = next_opening(hours, zones, found.start_ms, wait_ms, HOUR_MS)
    assert again is not None
    assert again.start_ms == found.start_ms
    between_ms = min(now_ms + later_ms, found.start_ms)
    assert next_opening(hours, zones, between_ms, wait_ms, HOUR_MS) == again
