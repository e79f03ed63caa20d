"""Checks of outcomes.yaml and of rewards: that events and properties exist, and that what they look back at is kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from policy.durations import seconds
from policy.findings import Findings
from policy.message_events import BUILT_IN_NAMES
from policy.rule_types import did_you_mean
from policy.schema import facts, outcomes
from policy.source import Path

FILE = "outcomes.yaml"


def check(found: Findings) -> None:
    authored = found.documents.outcomes
    for conversion in authored.conversions:
        _events(found, conversion)
        _kept_long_enough(found, FILE, ("conversions", conversion.id, "window"), conversion.window)
    _kept_long_enough(found, FILE, ("match_within",), authored.match_within)
    _domains(found, authored.watch)
    _rewards(found)


def _events(found: Findings, conversion: outcomes.Conversion) -> None:
    """Where no event is declared at all, none is collected, and every name would be unknown: said as a mistake too."""
    if "events.yaml" in found.reading.incomplete:
        return
    here = ("conversions", conversion.id)
    for field, name in (("on", conversion.on), ("refund", conversion.refund)):
        if name is None:
            continue
        event = _event(found, (*here, field), name)
        if event is None:
            continue
        if conversion.order:
            _property(found, (*here, "order"), event, conversion.order, numeric=False)
        worth = "value" if field == "on" else "refund_value"
        if name_of_worth := getattr(conversion, worth):
            _property(found, (*here, worth), event, name_of_worth, numeric=True)


def _event(found: Findings, path: Path, name: str) -> facts.Event | None:
    declared = found.documents.events.events
    event = next((each for each in declared if each.id == name), None)
    if event is not None or name in found.ids("events", declared):
        return event
    if name in BUILT_IN_NAMES:
        message, remedy = f"`{name}` tells of outcomes itself", "name an event that customers or systems send"
        found.mistake(FILE, path, "unknown_event", message, remedy)
        return None
    remedy = did_you_mean(name, [each.id for each in declared], "declare it in events.yaml")
    found.mistake(FILE, path, "unknown_event", f"unknown event `{name}`", remedy)
    return None


def _property(found: Findings, path: Path, event: facts.Event, name: str, numeric: bool) -> None:
    declared = next((each for each in event.properties if each.id == name), None)
    if declared is None:
        remedy = did_you_mean(name, [each.id for each in event.properties], f"declare it in `{event.id}`")
        found.mistake(FILE, path, "unknown_property", f"`{name}` is no property of `{event.id}`", remedy)
        return
    row = found.documents.data.data.get(name)
    ways = {row.collect, row.store, row.transform} if row else set()
    if "drop" in ways:
        message = f"`{name}` is dropped on arrival by data.yaml"
        found.mistake(FILE, path, "unknown_property", message, "name another property, or keep this one")
    elif numeric and (declared.type not in ("int", "float") or "hash" in ways):
        message = f"`{name}` of `{event.id}` is no number"
        found.mistake(FILE, path, "wrong_type", message, "make the property an int or a float")


def _domains(found: Findings, watch: outcomes.Watch) -> None:
    """No domain is of two classes."""
    times = Counter(domain for domains in watch.domains.values() for domain in domains)
    for name, domains in watch.domains.items():
        for index, domain in enumerate(domains):
            if times[domain] > 1:
                message, remedy = f"`{domain}` stands twice", "leave it in one class"
                found.mistake(FILE, ("watch", "domains", name, index), "duplicate_id", message, remedy)


def _rewards(found: Findings) -> None:
    conversions = found.ids("conversions", found.documents.outcomes.conversions)
    for placement in found.documents.placements.placements:
        reward = placement.reward
        if reward is None:
            continue
        here = ("placements", placement.id, "reward")
        if reward.of != "click" and not conversions and FILE not in found.reading.incomplete:
            message = f"a reward of `{reward.of}`, and no conversion is declared: it would always be 0"
            remedy = "add `conversions` to outcomes.yaml, or write `of: click`"
            found.mistake("placements.yaml", (*here, "of"), "missing_conversion", message, remedy)
        elif reward.of == "revenue" and not _priced(found.documents.outcomes.conversions) and conversions:
            message = "a reward of `revenue`, and no conversion has a `value`"
            remedy = "add `value:` with the property that holds it, or write `of: conversion`"
            found.mistake("placements.yaml", (*here, "of"), "missing_conversion", message, remedy)
        _kept_long_enough(found, "placements.yaml", (*here, "window"), reward.window)


def _priced(conversions: Iterable[outcomes.Conversion]) -> bool:
    return any(each.value for each in conversions)


def _kept_long_enough(found: Findings, file: str, path: Path, window: str) -> None:
    """What was sent must still be known when it is asked for."""
    kept = found.documents.data.retention.ledger
    if seconds(window) > seconds(kept):
        message = f"the window is longer than contacts are kept (`retention.ledger` is {kept})"
        found.mistake(file, path, "bad_window", message, "shorten it, or raise `ledger` in data.yaml")
