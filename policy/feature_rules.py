"""What a bundle says of its features, compiled: what each is folded from, and how.

A feature's `definition` is a hash of its meaning: the fold, the events and property, the window, the number of decimals
… Not of its owner, contract, purposes or words. Two features with one definition have one value, always; a feature
whose definition moved is another one, needs another `version`, and is back-filled before a release may use it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import orjson

from policy.durations import seconds
from policy.message_events import all_events
from policy.schema import Documents
from policy.schema.facts import Feature, FoldName, Property

if TYPE_CHECKING:  # `policy.bundle` holds these rules
    from policy.bundle import FactType

#: Folds that have a value where nothing happened; of the others the fact's default stands then.
ALWAYS = frozenset({"count", "sum", "distinct", "decayed", "sessions", "funnel"})
#: Decimal places that are kept of a number that is no `int`: cents of cents, so that a mean of prices is exact too.
DECIMALS_DEFAULT = 4
UNITS_MS = {"minutes": 60_000, "hours": 3_600_000, "days": 86_400_000}


@dataclass(frozen=True, slots=True)
class FeatureRule:
    """One feature. What its fold does not need is left at the default."""

    name: str
    fold: FoldName
    owner: str
    version: int
    events: tuple[str, ...]  # what it is folded from, sorted; of a funnel: what opens it; of a rate: what is counted
    against: tuple[str, ...] = ()  # sorted; of a funnel: what closes it; of a rate: what the count is divided by
    property: str | None = None
    decimals: int = 0  # numbers of the property are whole multiples of 10^-decimals
    window_ms: int | None = None  # None: everything ever
    half_life_ms: int = 0
    unit_ms: int = 1  # of a recency
    wait_ms: int = 0  # of a funnel
    gap_minutes: int = 0  # of sessions
    top: int = 1  # keys of an affinity that are shown
    span: int = 0  # hours in a best stretch
    at_least: int = 0  # events below which there is none
    max_lag_ms: int | None = None  # freshness contract
    definition: str = ""  # 16 hex digits: what it means


#: What makes a definition; the rest of a rule may change without a new version.
MEANING = (
    "fold",
    "events",
    "against",
    "property",
    "decimals",
    "window_ms",
    "half_life_ms",
    "unit_ms",
    "wait_ms",
    "gap_minutes",
    "span",
    "at_least",
)


def feature_rules(documents: Documents) -> tuple[FeatureRule, ...]:
    """The features of a bundle that lint has accepted, in the authored order."""
    return tuple(_rule(each, documents) for each in documents.features.features)


def value_type(authored: Feature, documents: Documents) -> FactType:
    """The type of a last value: that of its property, or text where no event declares it."""
    kinds = {each.type for each in properties_of(authored, documents)}
    kind = kinds.pop() if len(kinds) == 1 else "string"
    return "string" if kind == "enum" else kind


def properties_of(authored: Feature, documents: Documents) -> Iterator[Property]:
    """The property that a feature is folded from, in each of its events that declares it."""
    for event in all_events(documents):
        if event.id in authored.events:
            yield from (each for each in event.properties if each.id == authored.property_name)


def definition_of(rule: FeatureRule) -> str:
    """What stands at its default is left out: so a parameter of a later release moves no definition of this one."""
    defaults = {each.name: each.default for each in fields(rule)}
    meaning = {name: getattr(rule, name) for name in MEANING if getattr(rule, name) != defaults[name]}
    return hashlib.sha256(orjson.dumps(meaning, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]


def _rule(authored: Feature, documents: Documents) -> FeatureRule:
    made = FeatureRule(
        name=authored.id,
        fold=authored.fold,
        owner=authored.owner or documents.bundle.owner,
        version=authored.version,
        property=authored.property_name,
        decimals=_decimals(authored, documents),
        window_ms=seconds(authored.window) * 1000 if authored.window else None,
        max_lag_ms=seconds(authored.max_lag) * 1000 if authored.max_lag else None,
        **_events(authored),  # type: ignore[arg-type]  # names and numbers of fields, a few a fold
        **_parameters(authored),  # type: ignore[arg-type]  # the same
    )
    return replace(made, definition=definition_of(made))


def _events(authored: Feature) -> dict[str, tuple[str, ...]]:
    if authored.funnel:
        return {"events": (authored.funnel.after,), "against": (authored.funnel.without,)}
    if authored.rate:
        return {"events": _sorted(authored.rate.of), "against": _sorted(authored.rate.per)}
    return {"events": _sorted(authored.on or ())}


def events_needed(authored: Feature) -> tuple[str, ...]:
    """Every event that a feature depends on, those that close a funnel too; sorted."""
    return _sorted([name for names in _events(authored).values() for name in names])


def _sorted(names: Any) -> tuple[str, ...]:
    return tuple(sorted(set(names)))


def _parameters(authored: Feature) -> dict[str, int]:  # noqa: PLR0911  # one a fold
    """What the fold itself says."""
    if authored.affinity:
        return {"half_life_ms": seconds(authored.affinity.half_life) * 1000, "top": authored.affinity.top}
    if authored.decayed:
        return {"half_life_ms": seconds(authored.decayed.half_life) * 1000}
    if authored.recency:
        return {"unit_ms": UNITS_MS[authored.recency]}
    if authored.funnel:
        return {"wait_ms": authored.funnel.minutes * UNITS_MS["minutes"]}
    if authored.sessions:
        return {"gap_minutes": seconds(authored.sessions.gap) // 60}
    if authored.hours:
        return {"span": authored.hours.span, "at_least": authored.hours.at_least}
    return {}


def _decimals(authored: Feature, documents: Documents) -> int:
    """As authored; else as the property's type asks, in the finest of the events that declare it."""
    if authored.fold not in ("sum", "mean", "min", "max", "decayed") or authored.property_name is None:
        return 0
    if authored.decimals is not None:
        return authored.decimals
    kinds = {each.type for each in properties_of(authored, documents)}
    return 0 if kinds == {"int"} else DECIMALS_DEFAULT
