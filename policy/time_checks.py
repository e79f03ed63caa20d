"""Checks of hours and zones: that a region's zones are its own, and that quiet hours leave time to send at all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from importlib.resources import files

from policy import catalogue
from policy.bundle import QuietHours
from policy.findings import Findings
from policy.schema import offers
from policy.schema.types import minute_of_day

DAY = 1440  # minutes
WEEK = 7 * DAY


def check(found: Findings) -> None:
    for code, region in found.documents.consent.regions.items():
        here = ("regions", code)
        for index, zone in enumerate(region.timezones):
            if code != "default" and zone not in zones_in(code[:2]):
                text = f"the zone `{zone}` does not lie in `{code}`"
                found.note("consent.yaml", (*here, "timezones", index), "foreign_zone", text)
        _permitted_minutes(found, here, tuple(catalogue.quiet_hours(region.quiet)))


@cache
def zones_in(country: str) -> frozenset[str]:
    """Every zone of a country. `zone1970.tab` merges countries whose clocks agree since 1970 (Oslo is Berlin's there),
    `zone.tab` has the names that people write (https://data.iana.org/time-zones/tz-link.html)."""
    found = set()
    for table in ("zone1970.tab", "zone.tab"):
        for line in files("tzdata").joinpath(f"zoneinfo/{table}").read_text("utf-8").splitlines():
            if line and not line.startswith("#"):
                countries, _, zone = line.split("\t")[:3]
                found |= {zone} if country in countries.split(",") else set()
    return frozenset(found)


def _permitted_minutes(found: Findings, here: tuple[str, str], quiet: tuple[QuietHours, ...]) -> None:
    """Quiet hours that fill the week are a mistake; that fill the hours of a placement, a note."""
    for placement in found.documents.placements.placements:
        loud = ~_quiet_minutes(quiet, placement)
        week = (1 << WEEK) - 1
        if not loud & week:
            text = f"quiet hours leave no minute of the week to placement `{placement.id}`"
            remedy = "shorten them, or name the `channels` and `classes` that they are for"
            found.mistake("consent.yaml", (*here, "quiet"), "never_permitted", text, remedy)
            return
        hours = placement.send_hours
        wanted = _minutes(minute_of_day(hours.from_), minute_of_day(hours.until), range(7)) if hours else week
        if not loud & wanted:
            text = f"quiet hours of region `{here[1]}` leave nothing of the send hours of placement `{placement.id}`"
            found.note("consent.yaml", (*here, "quiet"), "never_permitted", text)


def _quiet_minutes(quiet: Iterable[QuietHours], placement: offers.Placement) -> int:
    """The quiet minutes of any week as bits. Single dates are no part of any week."""
    minutes = 0
    for each in quiet:
        binds = placement.klass in each.classes and (not each.channels or placement.channel in each.channels)
        if binds and (each.days or not each.dates):
            minutes |= _minutes(each.from_minute, each.until_minute, each.days or range(7))
    return minutes


def _minutes(first: int, until: int, days: Iterable[int]) -> int:
    """Bits of the minutes from `first` to `until` on some days, over midnight where `until` is not later."""
    length = until - first if until > first else until - first + DAY
    return _union(_rotated(((1 << length) - 1) << first, day * DAY) for day in days)


def _rotated(bits: int, by: int) -> int:
    shifted = bits << by
    return (shifted & ((1 << WEEK) - 1)) | (shifted >> WEEK)


def _union(parts: Iterator[int]) -> int:
    whole = 0
    for part in parts:
        whole |= part
    return whole
