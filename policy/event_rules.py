"""What a bundle says of the events that it takes, compiled: each by all of its names, its properties ready for checks.

A property is described together with what the PII matrix (data.yaml) says of it: what is `drop`ped there is no property
any more, what is hashed is never kept in clear.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal, TypeAlias

from policy.durations import seconds
from policy.schema import Documents, facts
from policy.shop_events import SHOP_EVENTS

PropertyType: TypeAlias = Literal["int", "float", "bool", "string", "enum"]
#: Longest string of a property that says nothing of it, in bytes: a URL, a search text.
STRING_BYTES_DEFAULT = 1024
#: Of a bundle without events: as of an event that says nothing of it.
LINK_LATENESS_MS = 72 * 3_600_000


@dataclass(frozen=True, slots=True)
class PropertyRule:
    """One declared property of an event."""

    name: str
    type: PropertyType
    minimum: float | None = None
    maximum: float | None = None
    values: tuple[str, ...] = ()  # of an enum
    bytes_max: int = STRING_BYTES_DEFAULT  # of a string
    required: bool = False
    hashed: bool = False  # the bundle wants it kept as a keyed hash
    sensitivity: str = "personal"


@dataclass(frozen=True, slots=True)
class EventRule:
    """One declared event. `properties` are those that are kept, by name."""

    id: str
    version: int
    owner: str
    sensitivity: str
    purposes: frozenset[str]
    refuses_undeclared: bool
    lateness_ms: int  # what is older on arrival is refused
    once_per: str | None  # property that tells repeats of the same event
    properties: Mapping[str, PropertyRule]
    dropped: frozenset[str]  # declared, and dropped on arrival by the PII matrix
    earlier: Mapping[int, EventRule] = field(default_factory=lambda: MappingProxyType({}))  # by version

    def at(self, version: int | None) -> EventRule | None:
        """The version that a sender names; that in force, where it names none."""
        return self if version in (None, self.version) else self.earlier.get(version or 0)


@dataclass(frozen=True, slots=True)
class EventRules:
    """All events of a bundle, by id and by every other name under which they may arrive."""

    by_name: Mapping[str, EventRule] = field(default_factory=lambda: MappingProxyType({}))
    #: How late links between identities are taken, whatever event tells them: as late as any event is.
    link_lateness_ms: int = LINK_LATENESS_MS

    def find(self, name: str) -> EventRule | None:
        """The version in force."""
        return self.by_name.get(name)


def event_rules(documents: Documents) -> EventRules:
    """The events of a bundle that lint has accepted."""
    rules = {each.id: _rule(each, documents) for each in documents.events.events}
    by_name = {name: rules[event] for name, event in names(documents.events.events).items()}
    link_lateness_ms = max((rule.lateness_ms for rule in rules.values()), default=LINK_LATENESS_MS)
    return EventRules(MappingProxyType(by_name), link_lateness_ms)


def names(events: Iterable[facts.Event]) -> dict[str, str]:
    """Every name under which an event may arrive → its id. An id wins over an alias, and an authored alias over the
    e-commerce names."""
    declared = list(events)
    ids = {event.id for event in declared}
    shop = {name: event for name, event in SHOP_EVENTS.items() if event in ids}
    aliases = {alias: event.id for event in declared for alias in event.aliases}
    return {**shop, **aliases, **{event.id: event.id for event in declared}}


def _rule(authored: facts.Event, documents: Documents) -> EventRule:
    """The version in force, with those before it: they differ in what they carry, and in nothing else."""
    rule = _with_properties(authored, authored, documents)
    earlier = {each.version: _with_properties(authored, each, documents) for each in authored.earlier}
    return replace(rule, earlier=MappingProxyType(earlier)) if earlier else rule


def _with_properties(
    authored: facts.Event, version: facts.Event | facts.EarlierEvent, documents: Documents
) -> EventRule:
    matrix = documents.data.data
    dropped = {name for name, row in matrix.items() if "drop" in (row.collect, row.store)}
    hashed = {name for name, row in matrix.items() if "hash" in (row.collect, row.store, row.transform)}
    kept = [each for each in version.properties if each.id not in dropped]
    return EventRule(
        id=authored.id,
        version=version.version,
        owner=authored.owner or documents.bundle.owner,
        sensitivity=authored.sensitivity,
        purposes=frozenset(authored.purposes),
        refuses_undeclared=version.undeclared == "refuse",
        lateness_ms=seconds(authored.allowed_lateness) * 1000,
        once_per=authored.once_per,
        properties=MappingProxyType({each.id: _property(each, authored, each.id in hashed) for each in kept}),
        dropped=frozenset(each.id for each in version.properties if each.id in dropped),
    )


def _property(authored: facts.Property, event: facts.Event, hashed: bool) -> PropertyRule:
    low, high = authored.range or (None, None)
    return PropertyRule(
        name=authored.id,
        type=authored.type,
        minimum=low,
        maximum=high,
        values=tuple(authored.values or ()),
        bytes_max=authored.max_length or STRING_BYTES_DEFAULT,
        required=authored.required,
        hashed=hashed,
        sensitivity=authored.sensitivity or event.sensitivity,
    )
