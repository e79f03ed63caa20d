"""How a profile becomes the facts of a decision; on the hot path."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

import orjson

from app.store.fields import FieldRegistry, names_of
from app.store.profile import (
    AS_OF_MARK,
    BEST_HOURS,
    GENERAL_VERSION,
    LANGUAGE,
    LEDGER_VERSION,
    MERGE,
    OUTCOME,
    REGION,
    SUPPRESSION,
    TIMEZONE,
    UPDATED,
    ConsentState,
    UnknownField,
    best_hours_of,
    consent_head,
    consent_names,
    is_consent,
    kind_of_name,
    merge_of,
    outcome_names,
    owner_of,
    suppression_of,
    trial_of,
    whole_ms,
)
from policy.bundle import Bundle, Fact
from policy.facts import NOTHING, ConsentEntry, Contact, ContactKind, Facts, PastOutcome

#: Distinct orders of fields kept per decoder, about 5 KB each; imports make a handful.
LAYOUTS_MAX = 1_000
JSON_TYPES: dict[str, type] = {"int": int, "float": float, "bool": bool, "string": str, "enum": str}


class _Layout:
    """What the fields of a profile mean, in the order in which they lie: positions into the reply's values.

    Customers who were imported alike lie alike, so that the meaning of a whole reply is looked up at once instead of
    field by field (24 attributes: 5 µs instead of 11). Outcomes are no part of it: hardly two customers share all of
    theirs.
    """

    __slots__ = (
        "aging",
        "as_of",
        "attributes",
        "best_hours",
        "consents",
        "enums",
        "exists",
        "exposures",
        "general_version",
        "language",
        "ledger_version",
        "merge",
        "more",
        "names",
        "region",
        "suppressions",
        "timezone",
        "types",
        "values_of",
    )

    def __init__(
        self,
        fields: list[bytes],
        attributes: Mapping[bytes, Fact],
        delete_ms: Mapping[str, int],
        registry: FieldRegistry,
    ) -> None:
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
        self.suppressions = [(field, at) for field, at in rest if field[0] == SUPPRESSION]
        self.aging = [
            (fact.name, set_at(field, fact, place, registry), delete_ms[fact.name])
            for field, fact in attributes.items()
            if field in place and fact.name in delete_ms
        ]
        self.best_hours = place.get(BEST_HOURS, -1)
        self.merge = place.get(MERGE, -1)
        self.exposures = [(trial, at) for field, at in rest if (trial := trial_of(field, registry)) is not None]
        self.more = bool(self.exposures) or self.best_hours >= 0 or self.merge >= 0


class ProfileDecoder:
    """Turns a profile's HGETALL reply (RESP2: field, value, field, value, …) into facts, for one bundle.

    Holds tables from stored ids to names, forgotten when the registry has learnt something.
    """

    __slots__ = (
        "_attributes",
        "_bundle",
        "_defaults",
        "_delete_ms",
        "_generation",
        "_heads",
        "_kind_named",
        "_layouts",
        "_outcomes",
        "_registry",
    )

    def __init__(
        self, bundle: Bundle, registry: FieldRegistry, kind_named: Callable[[str], ContactKind] | None = None
    ) -> None:
        """`kind_named` gives the ledger's object for a kind's name in the registry, since kinds are compared by
        identity; without it the decoder makes its own."""
        self._bundle = bundle
        self._registry = registry
        self._kind_named = kind_named or kind_of_name
        self._generation = -1
        self._attributes: dict[bytes, Fact] = {}
        self._defaults = {fact.name: fact.default for fact in bundle.facts if fact.default is not None}
        self._delete_ms = {name: row.delete_s * 1000 for name, row in bundle.handling.items() if row.delete_s}
        self._layouts: dict[bytes, _Layout] = {}
        self._heads: dict[bytes, tuple[ConsentState, str, str]] = {}  # few: state, basis and source repeat
        self._outcomes: dict[bytes, tuple[str, ContactKind | None]] = {}  # by field: types × kinds of contact

    def decode(self, reply: list[bytes], now_ms: int, contacts: tuple[Contact, ...]) -> Facts:
        """Facts at `now_ms` (the store's TIME of the same read). Raises `UnknownField`, see there, and ValueError for
        what is no profile at all.

        Attributes of other bundles are ignored, and a value that does not fit its type is missing: scores fail open. So
        is one that the bundle wants deleted by now. A missing attribute takes the bundle's default where there is one.
        """
        if self._generation != self._registry.generation:
            self._forget()
        if len(reply) % 2:
            raise ValueError("a reply of an odd length is no hash")
        fields = reply[::2]
        raw: list[bytes | None] = [*reply[1::2], None]
        layout = self._layouts.get(b"\n".join(fields))
        outcomes: tuple[PastOutcome, ...] = ()
        if layout is None:
            layout, raw, outcomes = self._without_outcomes(fields, raw)
        region, timezone, language = raw[layout.region], raw[layout.timezone], raw[layout.language]
        facts = (
            now_ms,
            layout.exists,
            None if region is None else region.decode(),
            None if timezone is None else timezone.decode(),
            None if language is None else language.decode(),
            self._consents(layout, raw),
            tuple([suppression_of(field, raw[at]) for field, at in layout.suppressions]) if layout.suppressions else (),
            self._values(layout, raw, now_ms) if layout.aging else self._stored_values(layout, raw),
            {owner: int(raw[at] or 0) for owner, at in layout.as_of},
            contacts,
            int(raw[layout.general_version] or 0),
            int(raw[layout.ledger_version] or 0),
        )
        return Facts(*facts, outcomes, *_more(layout, raw)) if layout.more or outcomes else Facts(*facts)

    def _without_outcomes(
        self, fields: list[bytes], raw: list[bytes | None]
    ) -> tuple[_Layout, list[bytes | None], tuple[PastOutcome, ...]]:
        """The layout of what else the profile holds, the values at its places, and the outcomes."""
        past = [position for position, field in enumerate(fields) if field[0] == OUTCOME]
        if past:
            outcomes = tuple([self._outcome(fields[position], raw[position]) for position in past])
            for position in reversed(past):
                del fields[position], raw[position]
        else:
            outcomes = ()
        return self._layouts.get(b"\n".join(fields)) or self._learn(fields), raw, outcomes

    def _outcome(self, field: bytes, raw: bytes | None) -> PastOutcome:
        meaning = self._outcomes.get(field)
        if meaning is None:
            meaning = self._outcomes[field] = outcome_names(field, self._registry, self._kind_named)
        return PastOutcome(*meaning, whole_ms(raw or b""))

    def _values(self, layout: _Layout, raw: list[bytes | None], now_ms: int) -> dict[str, Any]:
        values = self._stored_values(layout, raw)
        for name, set_at, delete_ms in layout.aging:
            # Closed: a value of an age that nobody knows counts as too old.
            if now_ms - int(raw[set_at] or 0) >= delete_ms:
                values.pop(name, None)
                if name in self._defaults:
                    values[name] = self._defaults[name]
        return values

    def _stored_values(self, layout: _Layout, raw: list[bytes | None]) -> dict[str, Any]:
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

    def _consents(self, layout: _Layout, raw: list[bytes | None]) -> tuple[ConsentEntry, ...]:
        heads, found = self._heads, []
        for purpose, channel, place in layout.consents:
            head, _, at_ms = (raw[place] or b"").rpartition(b",")
            meaning = heads.get(head)
            if meaning is not None and at_ms.isdigit():  # nearly always: it was met before, and does not end
                found.append(ConsentEntry(purpose, channel, meaning[0], meaning[1], meaning[2], int(at_ms), None))
            else:
                found.append(self._consent(purpose, channel, head, at_ms))
        return tuple(found)

    def _consent(self, purpose: str, channel: str, head: bytes, at_ms: bytes) -> ConsentEntry:
        meaning = self._heads.get(head)
        expires_ms = None
        if meaning is None:
            if head.count(b",") == 2:
                expires_ms = whole_ms(at_ms)
                head, _, at_ms = head.rpartition(b",")
            meaning = self._heads.get(head) or self._learn_head(head)
        if not at_ms.isdigit():
            raise UnknownField("a consent entry without a time")
        return ConsentEntry(purpose, channel, meaning[0], meaning[1], meaning[2], int(at_ms), expires_ms)

    def _learn_head(self, head: bytes) -> tuple[ConsentState, str, str]:
        meaning = self._heads[head] = consent_head(head, self._registry)
        return meaning

    def _learn(self, fields: list[bytes]) -> _Layout:
        layout = _Layout(fields, self._attributes, self._delete_ms, self._registry)
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
        self._outcomes = {}
        self._generation = self._registry.generation


def decode_profile(
    reply: list[bytes], registry: FieldRegistry, bundle: Bundle, now_ms: int, contacts: tuple[Contact, ...]
) -> Facts:
    """Facts from a profile, without keeping a decoder: for tools and tests. The hot path keeps a `ProfileDecoder`."""
    return ProfileDecoder(bundle, registry).decode(reply, now_ms, contacts)


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


def _more(layout: _Layout, raw: list[bytes | None]) -> tuple[str | None, Mapping[str, str], bool, str | None]:
    """Best hours, exposures, whether a merge is pending, and the customer that this one became."""
    hours = raw[layout.best_hours]
    exposures = {trial: (raw[at] or b"").decode() for trial, at in layout.exposures} if layout.exposures else NOTHING
    return best_hours_of(hours), exposures, *merge_of(raw[layout.merge])


def _picker(positions: list[int]) -> Callable[[Sequence[Any]], Sequence[Any]]:
    """The values at `positions`, as one call; itemgetter answers a bare value for a single position."""
    if len(positions) > 1:
        return itemgetter(*positions)
    return lambda raw: [raw[position] for position in positions]


def set_at(field: bytes, fact: Fact, place: Mapping[bytes, int], registry: FieldRegistry) -> int:
    """Where it stands when an attribute was set: its own time, else (it was set before the bundle wanted it deleted)
    its owner's, else nowhere: -1."""
    own = place.get(AS_OF_MARK.encode() + field)
    return place.get(AS_OF_MARK.encode() + registry.id_of(f"o:{fact.owner}"), -1) if own is None else own
