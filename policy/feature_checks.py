"""Checks of features against the events that they are folded from: whether those exist, whether they carry the
property, and whether its values are of a kind that the fold can use."""

from __future__ import annotations

from collections.abc import Iterator

from policy.feature_rules import properties_of
from policy.findings import Findings
from policy.message_events import BUILT_IN_NAMES, all_events
from policy.rule_types import did_you_mean
from policy.schema.facts import NUMERIC_FOLDS, Feature
from policy.source import Path

FILE = "features.yaml"


def check(found: Findings) -> None:
    if "events.yaml" in found.reading.incomplete:
        return
    known = found.ids("events", found.documents.events.events) | BUILT_IN_NAMES
    for feature in found.documents.features.features:
        unknown = [(path, name) for path, name in _named(feature) if name not in known]
        for path, name in unknown:
            # Events may be declared later than the features that wait for them.
            remedy = did_you_mean(name, known, "declare it in events.yaml")
            found.note(FILE, path, "unknown_event", f"unknown event `{name}`: {remedy}")
        aside = found.reading.set_aside.get("events", set())
        if feature.property_name and not unknown and not aside & set(feature.events):
            _property(found, feature, feature.property_name)


def _named(feature: Feature) -> Iterator[tuple[Path, str]]:
    """Where a feature names which event."""
    here = ("features", feature.id)
    yield from (((*here, "on"), name) for name in feature.on or ())
    if feature.funnel:
        yield (*here, "funnel", "after"), feature.funnel.after
        yield (*here, "funnel", "without"), feature.funnel.without
    if feature.rate:
        yield from (((*here, "rate", "of"), name) for name in feature.rate.of)
        yield from (((*here, "rate", "per"), name) for name in feature.rate.per)


def _property(found: Findings, feature: Feature, name: str) -> None:
    """All events are declared; so what none of them carries never comes."""
    declared = list(properties_of(feature, found.documents))
    path = ("features", feature.id, feature.fold)
    if not declared:
        events = [each for each in all_events(found.documents) if each.id in feature.events]
        remedy = did_you_mean(name, {each.id for event in events for each in event.properties}, "declare it there")
        message = f"`{name}` is no property of {' or '.join(f'`{event.id}`' for event in events)}"
        found.mistake(FILE, path, "unknown_property", message, remedy)
        return
    handling = found.documents.data.data.get(name)
    ways = {handling.collect, handling.store, handling.transform} if handling else set()
    numeric = feature.fold in NUMERIC_FOLDS or feature.decayed is not None
    if "drop" in ways:
        message = f"`{name}` is dropped on arrival by data.yaml, so the feature would stay empty"
        found.mistake(FILE, path, "unknown_property", message, "fold it from something else, or keep the property")
    elif numeric and ("hash" in ways or any(each.type not in ("int", "float") for each in declared)):
        message = f"`{feature.fold}` computes with numbers, and `{name}` is none"
        remedy = "make the property an int or a float, or fold `distinct`, `last` or `affinity`"
        found.mistake(FILE, path, "wrong_type", message, remedy)
