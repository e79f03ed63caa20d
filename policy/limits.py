"""Frequency limits, counted contact by contact from the ledger. There are no counters that could drift.

A contact counts in every window that touches [`not_before_ms`, `not_after_ms`], and so does the contact to be made:
a limit is reached if *some* window that the new contact might fall into already holds `at_most` others. Reservations
in the future count as well. Once the time of sending is known both ends are equal and the count is exact.

This file fails closed: where the customer's zone is not known, every zone they may be in must have room.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache

from policy.bundle import Bundle, Limit, Placement, Region, Window
from policy.calendar import ANYWHERE, Zone, period, zones_of_country
from policy.facts import Contact, ContactKind


def fits(classes: frozenset[str], match: Mapping[str, str], kind: ContactKind) -> bool:
    """Whether a contact of this kind is of one of `classes` and fits every entry of `match`."""
    return kind.klass in classes and all(getattr(kind, key) == wanted for key, wanted in match.items())


def matches(limit: Limit, kind: ContactKind) -> bool:
    """Whether a contact of this kind counts under `limit`."""
    return fits(limit.classes, limit.match, kind)


@lru_cache(maxsize=65536)  # a deployment has as many kinds as (placement, message) pairs
def limits_counting(bundle: Bundle, kind: ContactKind) -> tuple[int, ...]:
    """Indexes of the bundle's limits under which a contact of this kind counts."""
    return tuple(limit.index for limit in bundle.limits if matches(limit, kind))


@lru_cache(maxsize=65536)
def contact_matters(bundle: Bundle, kind: ContactKind) -> bool:
    """Whether anything in the bundle is counted from contacts of this kind: only then do records keep them."""
    return (
        bool(limits_counting(bundle, kind))
        or (bundle.fatigue is not None and kind.klass == "marketing")
        or any(kind.message in exclusion.messages for exclusion in bundle.exclusions)
        or any(cooldown.after == "ignored" and kind.klass in cooldown.classes for cooldown in bundle.cooldowns)
    )


def customer_zones(timezone: str | None, code: str | None, region: Region | None) -> tuple[Zone, ...]:
    """The zones a customer may be in: their own; else every zone of their region; else anywhere."""
    if timezone is not None:
        return (timezone,)
    if region is not None and region.timezones:
        return region.timezones
    return (zones_of_country(code) if code else ()) or ANYWHERE


def fullest_window(
    window: Window, contacts: Sequence[Contact], not_before_ms: int, not_after_ms: int, zones: Iterable[Zone]
) -> tuple[Contact, ...]:
    """The contacts in that window which holds the most of them, among all that a new contact, sent at some time in
    [`not_before_ms`, `not_after_ms`], may fall into. `zones` are the customer's; a window with a zone of its own
    ignores them.
    """
    if window.kind == "rolling":
        return _fullest_rolling(window.seconds * 1000, contacts, not_before_ms, not_after_ms)
    return _fullest_calendar(window, contacts, not_before_ms, not_after_ms, zones)


def _fullest_rolling(
    length_ms: int, contacts: Sequence[Contact], not_before_ms: int, not_after_ms: int
) -> tuple[Contact, ...]:
    """Windows are (end − length, end]: a contact exactly `length_ms` old no longer counts. As the end moves on, only
    the start of a contact adds one, so the ends to look at are the new contact's start and later contacts' starts."""
    latest_end = not_after_ms + length_ms
    ends = [not_before_ms, *(c.not_before_ms for c in contacts if not_before_ms < c.not_before_ms < latest_end)]
    best: tuple[Contact, ...] = ()
    for end in ends:
        start = end - length_ms
        inside = tuple(c for c in contacts if c.not_before_ms <= end and c.not_after_ms > start)
        if len(inside) > len(best):
            best = inside
    return best


def _fullest_calendar(
    window: Window, contacts: Sequence[Contact], not_before_ms: int, not_after_ms: int, zones: Iterable[Zone]
) -> tuple[Contact, ...]:
    best: tuple[Contact, ...] = ()
    unit = window.unit or "day"  # the compiler gives every calendar window its unit
    for zone in zones if window.zone == "customer" else (window.zone,):
        start, end = period(unit, zone, not_before_ms)
        while start <= not_after_ms:
            inside = tuple(c for c in contacts if c.not_before_ms < end and c.not_after_ms >= start)
            if len(inside) > len(best):
                best = inside
            start, end = period(unit, zone, end)
    return best


@lru_cache(maxsize=1024)
def _smallest(bundle: Bundle, placement: Placement) -> int:
    """As many contacts as it takes to reach any limit of the placement."""
    return min(bundle.limits[index].at_most for index in placement.limits)


def reached_limits(
    bundle: Bundle,
    placement: Placement,
    contacts: Sequence[Contact],
    not_before_ms: int,
    not_after_ms: int,
    zones: Callable[[], Iterable[Zone]],
) -> dict[int, tuple[Contact, ...]]:
    """Limits of the placement that leave no room for a contact in [`not_before_ms`, `not_after_ms`], by index, with
    the contacts that fill them. `zones` is asked only when a window must be looked at."""
    if len(contacts) < _smallest(bundle, placement):
        return {}
    counting: dict[int, list[Contact]] = {index: [] for index in placement.limits}
    for contact in contacts:
        for index in limits_counting(bundle, contact.kind):
            if index in counting:
                counting[index].append(contact)
    reached = {}
    for index, counted in counting.items():
        limit = bundle.limits[index]
        if len(counted) >= limit.at_most:  # most customers are far below: no window is computed for them
            inside = fullest_window(limit.window, counted, not_before_ms, not_after_ms, zones())
            if len(inside) >= limit.at_most:
                reached[index] = inside
    return reached
