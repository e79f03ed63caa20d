"""When something may be sent: quiet hours, and the hours that a placement or a customer wants.

**Rule: a minute is quiet if the clock on the customer's wall says so.** Local wall time is turned into instants, offset
by offset; nothing is ever counted in steps of 24 hours. A night on which clocks go forward is an hour shorter, one on
which they go back an hour longer, and a local hour that comes twice is quiet twice. Hours are half-open: [from, until).

**Rule: an unknown zone never opens an hour.** Where the customer may be in several zones, only what is permitted in
each of them is permitted. That fails closed: nothing may be left.

Hours that are wanted are the customer's own where they are known, else the placement's. The customer's own are a
preference, and a preference must not silence: where they cannot be met (within the wait, while a message is valid), the
placement's hold instead, or all permitted hours where the placement names none. The placement's hours are a rule of the
business and bind, as quiet hours do. A transactional placement that names no hours does not wait for the customer's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache
from typing import Literal, NamedTuple

from policy.bundle import Bundle, Placement, QuietHours, Region
from policy.calendar import Zone, stretches

MINUTE_MS = 60_000
DAY_MS = 86_400_000
MINUTES_A_DAY = 1440
#: How long an answer may ask the caller to wait, where the placement says nothing: any hour of the day comes within it.
USUAL_WAIT_MS = DAY_MS
_EPOCH = date(1970, 1, 1)
_ONE_DAY = timedelta(days=1)
_HOURS = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])-([01][0-9]|2[0-3]):([0-5][0-9])")

Basis = Literal["customer_hours", "placement_hours", "permitted_hours", "immediate"]
Minutes = tuple[int, int]  # of the local day: from, until (not included)
Span = tuple[int, int]  # Unix milliseconds: from, until (not included)


@dataclass(frozen=True, slots=True, eq=False)
class Hours:
    """Hours in which something may be sent. Compared by identity, so that what follows from them is looked up."""

    basis: Basis
    quiet: tuple[QuietHours, ...]
    wanted: Minutes | None = None  # over midnight where the second is not after the first; None: the whole day

    def open_on(self, day: date) -> list[Minutes]:
        """The minutes of a local day that are permitted, in order and apart."""
        opened, at = [], 0
        for first, after in sorted(self._shut_on(day)):
            if at < first:
                opened.append((at, first))
            at = max(at, after)
        if at < MINUTES_A_DAY:
            opened.append((at, MINUTES_A_DAY))
        return opened

    def _shut_on(self, day: date) -> Iterator[Minutes]:
        if self.wanted is not None:
            first, until = self.wanted
            if first < until:
                yield 0, first
                yield until, MINUTES_A_DAY
            elif until < first:
                yield until, first
        for quiet in self.quiet:
            over_midnight = quiet.until_minute <= quiet.from_minute
            if _begin_on(quiet, day):
                yield quiet.from_minute, MINUTES_A_DAY if over_midnight else quiet.until_minute
            if over_midnight and _begin_on(quiet, day - _ONE_DAY):
                yield 0, quiet.until_minute


def _begin_on(quiet: QuietHours, day: date) -> bool:
    """Whether quiet hours begin on a day of the calendar, also on one that a zone skipped."""
    return not (quiet.days or quiet.dates) or day.weekday() in quiet.days or day in quiet.dates


# Which hours hold


def choices(bundle: Bundle, placement: Placement, region: Region | None, best_hours: str | None) -> tuple[Hours, ...]:
    """The hours that hold for a customer in a placement, those first that are to be met if they can be. Empty: any.

    Args:
        region: the customer's row of the consent table; None: not known, then the `default` row's quiet hours hold.
        best_hours: the customer's own, such as `18:00-21:00`.
    """
    row = region or bundle.regions["default"]
    if not row.quiet and placement.send_hours is None and best_hours is None:
        return ()  # most bundles: nothing is looked up
    return _choices(bundle, placement, row.id, best_hours)


@lru_cache(maxsize=4096)
def _choices(bundle: Bundle, placement: Placement, region: str, best_hours: str | None) -> tuple[Hours, ...]:
    quiet = tuple(each for each in bundle.regions[region].quiet if _binds(each, placement))
    own, sends = minutes_of(best_hours), placement.send_hours
    found = []
    if own is not None and (placement.marketing or sends is not None):
        found.append(Hours("customer_hours", quiet, own))
    if sends is not None:
        found.append(Hours("placement_hours", quiet, (sends.from_minute, sends.until_minute)))
    elif quiet:
        found.append(Hours("permitted_hours", quiet))
    elif found:
        found.append(Hours("immediate", ()))
    return tuple(found)


def _binds(quiet: QuietHours, placement: Placement) -> bool:
    return placement.klass in quiet.classes and (not quiet.channels or placement.channel in quiet.channels)


def minutes_of(best_hours: str | None) -> Minutes | None:
    """`18:00-21:00` as minutes. What does not read like hours is no preference (it came from a caller): it opens."""
    found = _HOURS.fullmatch(best_hours) if best_hours else None
    if found is None:
        return None
    first_hour, first_minute, last_hour, last_minute = map(int, found.groups())
    return first_hour * 60 + first_minute, last_hour * 60 + last_minute


def longest_wait_ms(placement: Placement) -> int:
    """How long an answer of this placement may ask the caller to wait."""
    return USUAL_WAIT_MS if placement.send_hours is None else placement.send_hours.max_wait_s * 1000


# When they are open


class Opening(NamedTuple):
    """A time in which something may be sent, in Unix milliseconds."""

    start_ms: int
    end_ms: int  # not included; where it is open for longer, at least as far off as was asked for


def next_opening(
    hours: Hours, zones: tuple[Zone, ...], now_ms: int, longest_wait_ms: int, length_ms: int
) -> Opening | None:
    """The first time that is open in every zone, from `now_ms` on; None if it begins after the longest wait.

    Its start is `now_ms` where it is open already. Its end is exact where it is within `length_ms` of the start.
    """
    found = _next_opening(hours, zones, now_ms // MINUTE_MS, longest_wait_ms, length_ms)
    if found is None or found.start_ms > now_ms + longest_wait_ms:
        return None
    return found if found.start_ms > now_ms else Opening(now_ms, found.end_ms)


@lru_cache(maxsize=8192)
def _next_opening(
    hours: Hours, zones: tuple[Zone, ...], minute: int, longest_wait_ms: int, length_ms: int
) -> Opening | None:
    """Of any instant in a minute of Unix time: hours begin and end with minutes, and so do offsets since 1972."""
    from_ms = minute * MINUTE_MS
    latest_ms = from_ms + MINUTE_MS + longest_wait_ms
    opening: Opening | None = None
    for day in range(from_ms // DAY_MS, (latest_ms + length_ms) // DAY_MS + 2):
        for start_ms, end_ms in _open_everywhere(hours, zones, day):
            if end_ms <= from_ms:
                continue
            if opening is None:
                opening = Opening(max(start_ms, from_ms), end_ms)
            elif start_ms == opening.end_ms:
                opening = Opening(opening.start_ms, end_ms)
            else:
                return opening
            if opening.end_ms >= opening.start_ms + MINUTE_MS + length_ms:
                return opening
        if opening is None and (day + 1) * DAY_MS > latest_ms:
            return None
    return opening


@lru_cache(maxsize=8192)
def _open_everywhere(hours: Hours, zones: tuple[Zone, ...], utc_day: int) -> tuple[Span, ...]:
    """What of a day of UTC is open in each of the zones."""
    shared: tuple[Span, ...] = ((utc_day * DAY_MS, (utc_day + 1) * DAY_MS),)
    for zone in zones:
        shared = tuple(_both(shared, _open_in(hours, zone, utc_day)))
        if not shared:
            break
    return shared


@lru_cache(maxsize=8192)
def _open_in(hours: Hours, zone: Zone, utc_day: int) -> tuple[Span, ...]:
    """What of a day of UTC is open by the clocks of one zone, in order."""
    return tuple(_joined(_pieces(hours, zone, utc_day)))


def _pieces(hours: Hours, zone: Zone, utc_day: int) -> Iterator[Span]:
    for start_ms, end_ms, offset_ms in stretches(zone, utc_day):
        first_day, last_day = (start_ms + offset_ms) // DAY_MS, (end_ms - 1 + offset_ms) // DAY_MS
        for local_day in range(first_day, last_day + 1):
            midnight_ms = local_day * DAY_MS - offset_ms
            for first, after in hours.open_on(_EPOCH + timedelta(days=local_day)):
                piece = max(midnight_ms + first * MINUTE_MS, start_ms), min(midnight_ms + after * MINUTE_MS, end_ms)
                if piece[0] < piece[1]:
                    yield piece


def _joined(pieces: Iterable[Span]) -> Iterator[Span]:
    """Spans in order, those that touch made one."""
    whole: Span | None = None
    for piece in pieces:
        if whole is not None and piece[0] == whole[1]:
            whole = whole[0], piece[1]
            continue
        if whole is not None:
            yield whole
        whole = piece
    if whole is not None:
        yield whole


def _both(one: Sequence[Span], other: Sequence[Span]) -> Iterator[Span]:
    """What two rows of spans share; a day has few."""
    for start_ms, end_ms in one:
        for other_start_ms, other_end_ms in other:
            span = max(start_ms, other_start_ms), min(end_ms, other_end_ms)
            if span[0] < span[1]:
                yield span
