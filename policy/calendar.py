"""Days, weeks and months in a zone, and the offsets of a zone, as instants. Times are Unix milliseconds.

Zones are read from the `tzdata` package, not from the machine: nodes of one deployment then agree on when a day begins
and when it is quiet, and a record decides the same way elsewhere.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from functools import cache, lru_cache
from importlib.resources import files
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo

Unit = Literal["day", "week", "month"]
#: An IANA name, or minutes east of UTC where not even the region is known.
Zone = str | int

SECOND_MS = 1000
DAY_S = 86_400
QUARTER_MS = 900_000  # every offset in the zone database since 1972 is a multiple of 15 minutes
#: Offsets in use that are no whole hours, in minutes (https://en.wikipedia.org/wiki/List_of_UTC_offsets): a day begins
#: there while no whole-hour zone has midnight.
_BROKEN_HOURS = (-570, -210, -150, 210, 270, 330, 345, 390, 525, 570, 630, 765, 825)
#: Everywhere that a person may be: UTC−12 to UTC+14.
ANYWHERE: tuple[Zone, ...] = tuple(sorted((*range(-12 * 60, 14 * 60 + 1, 60), *_BROKEN_HOURS)))


@cache
def _tzinfo(zone: Zone) -> tzinfo:
    if isinstance(zone, int):
        return timezone(timedelta(minutes=zone))
    try:
        with files("tzdata").joinpath("zoneinfo", *zone.split("/")).open("rb") as data:
            return ZoneInfo.from_file(data, zone)
    except OSError:  # a zone that a bundle names and only the machine knows
        return ZoneInfo(zone)


def _start_ms(day: date, zone: Zone) -> int:
    """The first instant of a local day. Where midnight falls into a gap, `fold=0` gives the instant of the gap."""
    return int(datetime.combine(day, time(), _tzinfo(zone)).timestamp() * 1000)


@lru_cache(maxsize=4096)
def _period(unit: Unit, zone: Zone, quarter: int) -> tuple[int, int]:
    day = datetime.fromtimestamp(quarter * QUARTER_MS / 1000, UTC).astimezone(_tzinfo(zone)).date()
    if unit == "day":
        first, after = day, day + timedelta(days=1)
    elif unit == "week":
        first = day - timedelta(days=day.weekday())
        after = first + timedelta(days=7)
    else:
        first = day.replace(day=1)
        after = (first + timedelta(days=32)).replace(day=1)
    return _start_ms(first, zone), _start_ms(after, zone)


def period(unit: Unit, zone: Zone, at_ms: int) -> tuple[int, int]:
    """The day, week (from Monday) or month in `zone` that holds `at_ms`: its first instant, and the next one's."""
    return _period(unit, zone, at_ms // QUARTER_MS)


class Stretch(NamedTuple):
    """A time in which a zone's clocks run on without a change: local time is the instant plus `offset_ms`."""

    start_ms: int
    end_ms: int  # not included
    offset_ms: int  # east of UTC is positive


@lru_cache(maxsize=4096)
def stretches(zone: Zone, utc_day: int) -> tuple[Stretch, ...]:
    """A day of UTC (days since 1970), cut where the zone's clocks are changed; nearly always one piece."""
    start_s, end_s = utc_day * DAY_S, (utc_day + 1) * DAY_S
    cut_s = _change(zone, start_s, end_s) if _offset(zone, start_s) != _offset(zone, end_s) else end_s
    return tuple(
        Stretch(first_s * SECOND_MS, after_s * SECOND_MS, _offset(zone, first_s) // timedelta(milliseconds=1))
        for first_s, after_s in ((start_s, cut_s), (cut_s, end_s))
        if first_s < after_s
    )


def _offset(zone: Zone, at_s: int) -> timedelta:
    return datetime.fromtimestamp(at_s, UTC).astimezone(_tzinfo(zone)).utcoffset() or timedelta()


def _change(zone: Zone, before_s: int, after_s: int) -> int:
    """The first second of the new offset. Since 1972 no zone has changed its clocks twice within six days."""
    old = _offset(zone, before_s)
    while after_s - before_s > 1:
        middle_s = (before_s + after_s) // 2
        if _offset(zone, middle_s) == old:
            before_s = middle_s
        else:
            after_s = middle_s
    return after_s


@cache
def _zones_by_country() -> dict[str, tuple[str, ...]]:
    """From the zone database's own table `zone1970.tab` (country codes, coordinates, zone)."""
    table: dict[str, list[str]] = {}
    for line in files("tzdata").joinpath("zoneinfo/zone1970.tab").read_text("utf-8").splitlines():
        if line and not line.startswith("#"):
            countries, _, zone = line.split("\t")[:3]
            for country in countries.split(","):
                table.setdefault(country, []).append(zone)
    return {country: tuple(zones) for country, zones in table.items()}


def zones_of_country(region: str) -> tuple[str, ...]:
    """Every zone of an ISO 3166 country (of `US` for `US-CA`); empty for a country the zone database does not know."""
    return _zones_by_country().get(region[:2], ())
