"""What a bundle knows of customers, requests and regions: the facts, context fields, purposes and consent rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from types import MappingProxyType

from policy.bundle import ContextField, Fact, FactType, QuietHours, Region
from policy.durations import seconds
from policy.feature_rules import ALWAYS, events_needed, value_type
from policy.schema import Documents
from policy.schema.facts import STRING_BYTES_MAX, Attribute, ContextAttribute, Feature
from policy.schema.rules import DAYS, Quiet
from policy.schema.rules import Region as AuthoredRegion
from policy.schema.types import minute_of_day

#: What a fold gives: a count of events, a sum, the favourite key, a number of days, whether a funnel is open, …
#: The last value is of its property's type (`policy.feature_rules.value_type`).
FOLD_TYPES: Mapping[str, FactType] = MappingProxyType(
    {
        "count": "int",
        "sum": "float",
        "affinity": "string",
        "recency": "int",
        "funnel": "bool",
        "mean": "float",
        "min": "float",
        "max": "float",
        "distinct": "int",
        "decayed": "float",
        "rate": "float",
        "sessions": "int",
        "hours": "string",
    }
)
PERSONALISATION = "personalisation"  # the gate asks for it by this name, so that every bundle has it


def facts(documents: Documents) -> tuple[Fact, ...]:
    """Attributes, then features, each in the authored order."""
    owner = documents.bundle.owner
    attributes = documents.attributes.attributes
    features = documents.features.features
    return (
        *(_attribute(index, each, owner) for index, each in enumerate(attributes)),
        *(_feature(index, each, owner, documents) for index, each in enumerate(features, len(attributes))),
    )


def _attribute(index: int, authored: Attribute, owner: str) -> Fact:
    low, high = authored.range or (None, None)
    return Fact(
        index=index,
        name=authored.id,
        type=authored.type,
        kind="attribute",
        owner=authored.owner or owner,
        version=authored.version,
        sensitivity=authored.sensitivity,
        purposes=frozenset(authored.purposes),
        minimum=low,
        maximum=high,
        values=tuple(authored.values or ()),
        max_length=(authored.max_length or STRING_BYTES_MAX) if authored.type == "string" else None,
        max_age_s=seconds(authored.max_age) if authored.max_age else None,
        default=authored.default,
        doc=authored.doc,
        approval=authored.approval,
    )


def _feature(index: int, authored: Feature, owner: str, documents: Documents) -> Fact:
    kind = FOLD_TYPES.get(authored.fold) or value_type(authored, documents)
    return Fact(
        index=index,
        name=authored.id,
        type=kind,
        kind="feature",
        owner=authored.owner or owner,
        version=authored.version,
        sensitivity=authored.class_of_sensitivity,
        purposes=frozenset(authored.purposes),
        max_length=STRING_BYTES_MAX if kind == "string" else None,
        max_age_s=seconds(authored.max_lag) if authored.max_lag else None,
        on_stale=authored.on_stale,
        default=authored.default,
        doc=authored.doc,
        approval=authored.approval,
        told_by="events:" + "+".join(events_needed(authored)),
        always=authored.fold in ALWAYS,
    )


def context(documents: Documents) -> Mapping[str, ContextField]:
    """Region, timezone and language, which are always there, and what the bundle declares."""
    always = {name: ContextField(name, name) for name in ("region", "timezone", "language")}
    return MappingProxyType({**always, **{each.id: _context_field(each) for each in documents.context.context}})


def _context_field(authored: ContextAttribute) -> ContextField:
    low, high = authored.range or (None, None)
    longest = (authored.max_length or STRING_BYTES_MAX) if authored.type == "string" else None
    return ContextField(authored.id, authored.type, tuple(authored.values or ()), low, high, longest)


def purposes(documents: Documents) -> tuple[str, ...]:
    """What customers may consent to: as authored, and personalisation."""
    return tuple(dict.fromkeys((*documents.consent.purposes, PERSONALISATION)))


def regions(documents: Documents) -> Mapping[str, Region]:
    """The consent rows; where no `default` was written, opt-in holds, which is the strictest."""
    rows = {"default": AuthoredRegion(), **documents.consent.regions}
    return MappingProxyType(dict(_rows(rows)))


def _rows(rows: Mapping[str, AuthoredRegion]) -> Iterator[tuple[str, Region]]:
    for code, row in rows.items():
        yield (
            code,
            Region(
                id=code,
                contact=row.contact,
                personalisation=row.personalisation,
                restricted=frozenset(row.restricted),
                timezones=tuple(row.timezones),
                quiet=tuple(quiet_hours(row.quiet)),
                gpc_denies=frozenset(row.gpc_denies),
                bases=frozenset(row.bases) if row.bases is not None else None,
            ),
        )


def quiet_hours(authored: Iterable[Quiet]) -> Iterator[QuietHours]:
    """Quiet hours as minutes of the local day."""
    for each in authored:
        yield QuietHours(
            from_minute=minute_of_day(each.from_) if each.from_ else 0,
            until_minute=minute_of_day(each.until) if each.until else 1440,
            days=frozenset(DAYS.index(day) for day in each.days),
            dates=frozenset(date.fromisoformat(day) for day in each.dates),
            channels=frozenset(each.channels),
            classes=frozenset(each.classes),
        )
