"""The profile hash of a customer, and how it becomes facts. The one file that knows the hash's fields.

    !g  general version: moves on consent, suppression, preferences, region, zone       (integer)
    !l  ledger version      !t  last contact, ms      (both are written by the commit, never here)
    !u  last customer write, ms: a profile without it holds only traces of contacts     (integer)
    !s  how many suppressions the profile holds; with any there is no TTL               (integer)
    !r  region, ISO 3166    !z  time zone, IANA       !n  language, BCP 47              (text)
    @<owner id>                  as-of time of that owner's attributes, ms
    <attribute id>               value: a JSON scalar; floats always with point or exponent, so that types survive
    <purpose id>.<channel id>    consent: <g|d><basis id>,<source id>,<at ms>
    -<scope>:<reason>            suppression: <at ms>,<source id>
    %<preference>                preference: a JSON scalar

No field and no value exceeds 64 bytes, above which the store gives up its compact encoding (listpack).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Literal, TypeAlias

import orjson

from app.store.fields import FieldRegistry, names_of
from policy.bundle import Bundle, Fact
from policy.codes import SuppressionReason
from policy.facts import ConsentEntry, Contact, Facts, Suppression

GENERAL_VERSION = b"!g"
LEDGER_VERSION = b"!l"
LAST_CONTACT = b"!t"
UPDATED = b"!u"
SUPPRESSION_COUNT = b"!s"
REGION = b"!r"
TIMEZONE = b"!z"
LANGUAGE = b"!n"
#: Distinct orders of fields kept per decoder, about 5 KB each; imports make a handful.
LAYOUTS_MAX = 1_000
ConsentState: TypeAlias = Literal["granted", "denied"]
STATES: dict[bytes, ConsentState] = {b"g": "granted", b"d": "denied"}
JSON_TYPES: dict[str, type] = {"int": int, "float": float, "bool": bool, "string": str, "enum": str}
REASONS = {reason.value.encode(): reason for reason in SuppressionReason}

AS_OF_MARK = "@"
PREFERENCE_MARK = "%"
_AS_OF, _SUPPRESSION, _PREFERENCE, _DOT = b"@-%."
_MARKS = frozenset(b"!@-%")


class UnknownField(Exception):
    """A consent or suppression that this process cannot read (yet): ensure the bundle's names and refresh the field
    registry, and answer `facts_unavailable` meanwhile. To guess, or to skip the entry, could turn a denial into a
    permission: consent and suppression fail closed."""


class _Layout:
    """What the fields of a profile mean, in the order in which they lie: positions into the reply's values.

    Customers who were imported alike lie alike, so that the meaning of a whole reply is looked up at once instead of
    field by field (24 attributes: 5 µs instead of 11).
    """

    __slots__ = (
        "as_of",
        "attributes",
        "consents",
        "enums",
        "exists",
        "general_version",
        "language",
        "ledger_version",
        "names",
        "region",
        "suppressions",
        "timezone",
        "types",
        "values_of",
    )

    def __init__(self, fields: list[bytes], attributes: Mapping[bytes, Fact], registry: FieldRegistry) -> None:
        place = {field: position for position, field in enumerate(fields)}
        facts = [(position, attributes[field]) for field, position in place.items() if field in attributes]
        self.attributes = [fact for _, fact in facts]
        self.names = [fact.name for _, fact in facts]
        self.types = [JSON_TYPES[fact.type] for _, fact in facts]
        self.enums = [(i, frozenset(fact.values)) for i, (_, fact) in enumerate(facts) if fact.type == "enum"]
        self.values_of = _picker([position for position, _ in facts])
        self.exists = UPDATED in place
        # The decoder appends None to the values, which position -1 finds: a field that is not there.
        self.region = place.get(REGION, -1)
        self.timezone = place.get(TIMEZONE, -1)
        self.language = place.get(LANGUAGE, -1)
        self.general_version = place.get(GENERAL_VERSION, -1)
        self.ledger_version = place.get(LEDGER_VERSION, -1)
        rest = [(field, position) for field, position in place.items() if field not in attributes]
        self.as_of = [(owner, at) for field, at in rest if (owner := owner_of(field, registry)) is not None]
        self.consents = [(*consent_names(field, registry), at) for field, at in rest if is_consent(field)]
        self.suppressions = [(field, at) for field, at in rest if field[0] == _SUPPRESSION]


class ProfileDecoder:
    """Turns a profile's HGETALL reply (RESP2: field, value, field, value, …) into facts, for one bundle.

    Holds tables from stored ids to names, forgotten when the registry has learnt something.
    """

    __slots__ = ("_attributes", "_bundle", "_defaults", "_generation", "_heads", "_layouts", "_registry")

    def __init__(self, bundle: Bundle, registry: FieldRegistry) -> None:
        self._bundle = bundle
        self._registry = registry
        self._generation = -1
        self._attributes: dict[bytes, Fact] = {}
        self._defaults = {fact.name: fact.default for fact in bundle.facts if fact.default is not None}
        self._layouts: dict[bytes, _Layout] = {}
        self._heads: dict[bytes, tuple[ConsentState, str, str]] = {}  # few: state, basis and source repeat

    def decode(self, reply: list[bytes], now_ms: int, contacts: tuple[Contact, ...]) -> Facts:
        """Facts at `now_ms` (the store's TIME of the same read). Raises `UnknownField`, see there, and ValueError for
        what is no profile at all.

        Attributes of other bundles are ignored, and a value that does not fit its type is missing: scores fail open. A
        missing attribute takes the bundle's default where there is one.
        """
        if self._generation != self._registry.generation:
            self._forget()
        if len(reply) % 2:
            raise ValueError("a reply of an odd length is no hash")
        fields = reply[::2]
        layout = self._layouts.get(b"\n".join(fields)) or self._learn(fields)
        raw: list[bytes | None] = [*reply[1::2], None]
        region, timezone, language = raw[layout.region], raw[layout.timezone], raw[layout.language]
        return Facts(
            now_ms,
            layout.exists,
            None if region is None else region.decode(),
            None if timezone is None else timezone.decode(),
            None if language is None else language.decode(),
            tuple([self._consent(purpose, channel, raw[at]) for purpose, channel, at in layout.consents]),
            tuple([suppression_of(field, raw[at]) for field, at in layout.suppressions]) if layout.suppressions else (),
            self._values(layout, raw),
            {owner: int(raw[at] or 0) for owner, at in layout.as_of},
            contacts,
            int(raw[layout.general_version] or 0),
            int(raw[layout.ledger_version] or 0),
        )

    def _values(self, layout: _Layout, raw: list[bytes | None]) -> dict[str, Any]:
        """All attributes in one JSON parse, and one by one where that fails or finds another type than the bundle's."""
        picked = layout.values_of(raw)
        try:
            parsed = orjson.loads(b"[" + b",".join(picked) + b"]")
        except orjson.JSONDecodeError:
            parsed = None
        if parsed is None or list(map(type, parsed)) != layout.types:
            return self._defaults | _values_one_by_one(layout.attributes, picked)
        values = dict(zip(layout.names, parsed))  # noqa: B905 — as long as each other, as their types were just equal
        if self._defaults:
            values = self._defaults | values
        for position, allowed in layout.enums:
            if parsed[position] not in allowed:
                return self._defaults | _values_one_by_one(layout.attributes, picked)
        return values

    def _consent(self, purpose: str, channel: str, raw: bytes | None) -> ConsentEntry:
        head, _, at_ms = (raw or b"").rpartition(b",")
        meaning = self._heads.get(head)
        if meaning is None:
            meaning = self._heads[head] = consent_head(head, self._registry)
        if not at_ms.isdigit():
            raise UnknownField("a consent entry without a time")
        return ConsentEntry(purpose, channel, meaning[0], meaning[1], meaning[2], int(at_ms))

    def _learn(self, fields: list[bytes]) -> _Layout:
        layout = _Layout(fields, self._attributes, self._registry)
        if len(self._layouts) >= LAYOUTS_MAX:
            self._layouts.clear()
        self._layouts[b"\n".join(fields)] = layout
        return layout

    def _forget(self) -> None:
        """A registry that does not know the bundle's names yet would make all attributes look missing: refuse."""
        if not self._registry.knows(names_of(self._bundle)):
            raise UnknownField("the field registry does not hold the bundle's names yet")
        facts = [fact for fact in self._bundle.facts if fact.kind == "attribute"]
        self._attributes = {self._registry.id_of(f"a:{fact.name}"): fact for fact in facts}
        self._layouts = {}
        self._heads = {}
        self._generation = self._registry.generation


def decode_profile(
    reply: list[bytes], registry: FieldRegistry, bundle: Bundle, now_ms: int, contacts: tuple[Contact, ...]
) -> Facts:
    """Facts from a profile, without keeping a decoder: for tools and tests. The hot path keeps a `ProfileDecoder`."""
    return ProfileDecoder(bundle, registry).decode(reply, now_ms, contacts)


@dataclass(frozen=True, slots=True)
class Profile:
    """All that a profile holds, by name, whatever bundle it was written under: for people, not for decisions."""

    region: str | None
    timezone: str | None
    language: str | None
    attributes: Mapping[str, Any]  # JSON scalars
    as_of_ms: Mapping[str, int]  # owner → when it last wrote
    consent: tuple[ConsentEntry, ...]
    suppressions: tuple[tuple[Suppression, str], ...]  # with their sources
    preferences: Mapping[str, Any]
    updated_ms: int
    general_version: int
    ledger_version: int


def describe_profile(stored: Mapping[bytes, bytes], registry: FieldRegistry) -> Profile:
    """A profile by name. Raises `UnknownField` when any id is not in the registry: refresh it and try again."""

    def named(field_id: bytes, kind: str) -> str:
        return _name(registry, field_id, kind)

    plain = [(field, raw) for field, raw in stored.items() if field[0] not in _MARKS]
    stops = [(field, raw) for field, raw in stored.items() if field[0] == _SUPPRESSION]
    return Profile(
        region=_text(stored, REGION),
        timezone=_text(stored, TIMEZONE),
        language=_text(stored, LANGUAGE),
        attributes={named(f, "a:"): orjson.loads(raw) for f, raw in plain if not is_consent(f)},
        as_of_ms={named(f[1:], "o:"): int(raw) for f, raw in stored.items() if f[0] == _AS_OF},
        consent=tuple(consent_entry(field, raw, registry) for field, raw in plain if is_consent(field)),
        suppressions=tuple((suppression_of(f, raw), named(raw.partition(b",")[2], "s:")) for f, raw in stops),
        preferences={f[1:].decode(): orjson.loads(raw) for f, raw in stored.items() if f[0] == _PREFERENCE},
        updated_ms=int(stored.get(UPDATED, 0)),
        general_version=int(stored.get(GENERAL_VERSION, 0)),
        ledger_version=int(stored.get(LEDGER_VERSION, 0)),
    )


def consent_entry(field: bytes, raw: bytes, registry: FieldRegistry) -> ConsentEntry:
    """One consent; raises UnknownField when any part of it cannot be read."""
    purpose, channel = consent_names(field, registry)
    head, _, at_ms = raw.rpartition(b",")
    state, basis, source = consent_head(head, registry)
    if not at_ms.isdigit():
        raise UnknownField("a consent entry without a time")
    return ConsentEntry(purpose, channel, state, basis, source, int(at_ms))


def consent_names(field: bytes, registry: FieldRegistry) -> tuple[str, str]:
    """Purpose and channel of a consent field; raises UnknownField."""
    purpose_id, _, channel_id = field.partition(b".")
    return _name(registry, purpose_id, "p:"), _name(registry, channel_id, "c:")


def consent_head(head: bytes, registry: FieldRegistry) -> tuple[ConsentState, str, str]:
    """State, basis and source from `<g|d><basis id>,<source id>`; raises UnknownField."""
    state = STATES.get(head[:1])
    if state is None:
        raise UnknownField("a consent entry without a state")
    basis_id, _, source_id = head[1:].partition(b",")
    return state, _name(registry, basis_id, "b:"), _name(registry, source_id, "s:")


def suppression_field(scope: str, reason: SuppressionReason) -> bytes:
    """Where a suppression of `scope` (a channel, or `*`) for `reason` lies."""
    return f"-{scope}:{reason.value}".encode()


def suppression_of(field: bytes, raw: bytes | None) -> Suppression:
    """A suppression from its field `-<scope>:<reason>`. An unreadable time does not lift it; an unknown reason, written
    by a newer version, raises UnknownField."""
    scope, _, reason_text = field[1:].partition(b":")
    reason = REASONS.get(reason_text)
    if reason is None:
        raise UnknownField("a suppression of an unknown reason")
    at_ms = (raw or b"").partition(b",")[0]
    return Suppression(scope.decode(), reason, int(at_ms) if at_ms.isdigit() else 0)


def is_consent(field: bytes) -> bool:
    return _DOT in field and field[0] not in _MARKS


def owner_of(field: bytes, registry: FieldRegistry) -> str | None:
    """The owner whose as-of time a field holds; None for other fields, and for owners of bundles not seen here."""
    if field[0] != _AS_OF:
        return None
    name = registry.name_of(field[1:])
    return None if name is None else name[2:]


def attribute_value(fact: Fact, raw: bytes) -> Any:
    """One stored value; None when it does not fit the bundle's type (it was written under another bundle)."""
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
    if fact.type == "float" and type(value) is int:
        return float(value)
    if type(value) is not JSON_TYPES[fact.type] or (fact.type == "enum" and value not in fact.values):
        return None
    return value


def _values_one_by_one(facts: list[Fact], raw: Sequence[bytes]) -> dict[str, Any]:
    values = ((fact.name, attribute_value(fact, value)) for fact, value in zip(facts, raw, strict=True))
    return {name: value for name, value in values if value is not None}


def _picker(positions: list[int]) -> Callable[[Sequence[Any]], Sequence[Any]]:
    """The values at `positions`, as one call; itemgetter answers a bare value for a single position."""
    if len(positions) > 1:
        return itemgetter(*positions)
    return lambda raw: [raw[position] for position in positions]


def _name(registry: FieldRegistry, field_id: bytes, kind: str) -> str:
    name = registry.name_of(field_id)
    if name is None or not name.startswith(kind):
        raise UnknownField("an id that is not in the field registry")
    return name[2:]


def _text(stored: Mapping[bytes, bytes], field: bytes) -> str | None:
    raw = stored.get(field)
    return None if raw is None else raw.decode()
