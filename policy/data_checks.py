"""Checks of personal data: approvals that exist and have not ended, features that inherit what their events are, and
the PII matrix, of which nothing may be decorative: what it cannot mean, or nobody would enforce, is a mistake."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from policy.durations import seconds
from policy.findings import Findings
from policy.rule_types import did_you_mean
from policy.schema import Documents, facts, rules
from policy.schema.types import instant_ms
from policy.source import Path

#: Kinds of identity that a customer may be known by. All of them are kept as keyed hashes, never in the clear.
IDENTITIES = ("email", "phone", "user_id", "anonymous_id", "external")
#: Those that are direct identifiers: to keep one in the clear is no choice that a bundle has.
DIRECT = ("email", "phone")
_REDUCTIONS = ("truncate", "generalise")


def check(found: Findings, now_ms: int | None) -> None:
    """`now_ms` (Unix ms) judges approvals that end; None: none has ended."""
    _approvals(found, now_ms)
    for feature in found.documents.features.features:
        _inherits(found, feature)
    for name, handling in found.documents.data.data.items():
        _Row(found, name, handling).check()


def approvals(documents: Documents) -> Iterator[tuple[str, Path, str]]:
    """(file, path, reference) wherever an approval is referred to."""
    for file, collection, items in (
        ("attributes.yaml", "attributes", documents.attributes.attributes),
        ("features.yaml", "features", documents.features.features),
        ("messages.yaml", "messages", documents.messages.messages),
        ("models.yaml", "models", documents.models.models),
    ):
        for item in items:
            if item.approval:
                yield file, (collection, item.id, "approval"), item.approval


def unreadable(documents: Documents) -> dict[str, str]:
    """Attribute → why no rule and no model ever sees its value, by the PII matrix."""
    attributes = {each.id for each in documents.attributes.attributes}
    why = {}
    for name, handling in documents.data.data.items():
        ways: tuple[str | None, ...] = (handling.collect, handling.store, handling.transform)
        if name in attributes and ("drop" in ways or "hash" in ways):
            why[name] = "is dropped" if "drop" in ways else "is kept as a hash"
    return why


def _approvals(found: Findings, now_ms: int | None) -> None:
    """Where a bundle declares its approvals, every reference must be to one that is in force. Where it declares none,
    references are to a register outside, which nobody here can read."""
    declared = {each.id: each for each in found.documents.data.approvals}
    known = found.ids("approvals", found.documents.data.approvals)
    if not known:
        return
    for file, path, reference in approvals(found.documents):
        if found.refer(file, path, "approval", reference, known) and reference in declared:
            _still_in_force(found, file, path, declared[reference], now_ms)


def _still_in_force(found: Findings, file: str, path: Path, approval: rules.Approval, now_ms: int | None) -> None:
    if now_ms is None or approval.until is None or now_ms < instant_ms(approval.until):
        return
    today = datetime.fromtimestamp(now_ms / 1000, UTC)
    message = (
        f"approval `{approval.id}` ended on {approval.until} (by the clock of this check, {today:%Y-%m-%d %H:%M}Z)"
    )
    remedy = "stop using what it allowed, or have it renewed and move its `until` in data.yaml"
    found.mistake(file, path, "ended_approval", message, remedy)


def _inherits(found: Findings, feature: facts.Feature) -> None:
    """A feature is at least as sensitive as what it is folded from, and serves no purpose that its events may not.

    Only what was written counts: an event that says nothing of its sensitivity makes no feature personal.
    """
    here = ("features", feature.id)
    own = feature.class_of_sensitivity
    for source, sensitivity in _sources(found.documents, feature):
        if not _covers(own, sensitivity):
            message = f"feature `{feature.id}` is declared {own}, and {source} is {sensitivity}"
            remedy = f'write `sensitivity: "{sensitivity}"`, or fold it from something else'
            found.mistake("features.yaml", here, "less_sensitive", message, remedy)
    for event in _events(found.documents, feature):
        more = sorted(set(feature.purposes) - set(event.purposes)) if "purposes" in event.model_fields_set else []
        if more:
            message = f"event `{event.id}` serves {', '.join(event.purposes)}, not {', '.join(more)}"
            remedy = "remove the purpose from the feature, or add it to the event"
            found.mistake("features.yaml", (*here, "purposes"), "outside_purposes", message, remedy)


def _covers(own: str, source: str) -> bool:
    return source in ("none", own) or (source == "personal" and own != "none")


def _events(documents: Documents, feature: facts.Feature) -> list[facts.Event]:
    return [event for event in documents.events.events if event.id in feature.events]


def _sources(documents: Documents, feature: facts.Feature) -> Iterator[tuple[str, str]]:
    """(what, sensitivity) of each event and property that a feature is folded from, where it was written."""
    name = feature.property_name
    for event in _events(documents, feature):
        if "sensitivity" in event.model_fields_set:
            yield f"event `{event.id}`", event.sensitivity
        for each in event.properties:
            if each.id == name and each.sensitivity:
                yield f"`{event.id}.{name}`", each.sensitivity


class _Row:
    """One row of the PII matrix, and where what it names lives."""

    def __init__(self, found: Findings, name: str, handling: rules.Handling) -> None:
        documents = found.documents
        self._found, self._name, self._handling = found, name, handling
        self._attribute = next((each for each in documents.attributes.attributes if each.id == name), None)
        self._identity = name in IDENTITIES
        self._property = any(each.id == name for event in documents.events.events for each in event.properties)

    def check(self) -> None:
        handling = self._handling
        if handling.collect == "drop":
            self._nothing_left()
        elif self._unknown():
            return
        ways: set[str | None] = {handling.collect, handling.store, handling.transform}
        if handling.store == "drop" and (handling.delete or handling.activate in ("late", "always")):
            self._mistake("store", "what is not stored is neither deleted nor activated", "remove `delete`, `activate`")
        if "hash" in ways and handling.transform in _REDUCTIONS:
            self._mistake("transform", "a hash has no parts to truncate or generalise", "write `transform: none`")
        if self._identity:
            self._check_identity()
        if self._attribute is not None:
            self._check_attribute(self._attribute, ways)
        self._kept_shorter()

    def _mistake(self, field: str, message: str, remedy: str, code: str = "bad_handling") -> None:
        text = f"`{self._name}`: {message}"
        self._found.mistake("data.yaml", ("data", self._name, field), code, text, remedy)

    def _nothing_left(self) -> None:
        handling = self._handling
        rest = {"store": handling.store, "transform": handling.transform, "activate": handling.activate}
        said = [name for name, value in rest.items() if value not in (None, "none", "drop", "never")]
        if handling.delete:
            said.append("delete")
        for field in said:
            self._mistake(field, "what is dropped on arrival is not handled any further", f"remove `{field}`")

    def _unknown(self) -> bool:
        """Whether nothing has this name; then nobody would enforce the row."""
        found = self._found
        aside = found.reading.set_aside
        unsure = {"attributes.yaml", "events.yaml"} & found.reading.incomplete or aside.get("events")
        if self._attribute or self._identity or self._property or self._name in aside.get("attributes", ()) or unsure:
            return False
        documents = found.documents
        known = [*IDENTITIES, *(each.id for each in documents.attributes.attributes)]
        known += [each.id for event in documents.events.events for each in event.properties]
        message = f"`{self._name}` is no attribute, kind of identity or event property"
        remedy = did_you_mean(self._name, known, "declare it, or write `collect: drop` for what is never taken")
        found.mistake("data.yaml", ("data", self._name), "unknown_data", message, remedy)
        return True

    def _check_identity(self) -> None:
        handling = self._handling
        for field in ("collect", "store"):
            if getattr(handling, field) == "keep" and self._name in DIRECT:
                self._mistake(field, "a direct identifier is never kept in the clear", f"write `{field}: hash`")
        if handling.transform in _REDUCTIONS:
            self._mistake("transform", "identities are known as keyed hashes alone", "write `transform: none`")

    def _check_attribute(self, attribute: facts.Attribute, ways: set[str | None]) -> None:
        handling = self._handling
        if handling.transform in _REDUCTIONS:
            remedy = f"declare the coarser value as the attribute, or write `{{collect: drop}}` for `{self._name}`"
            self._mistake("transform", "an attribute is stored as it was declared", remedy)
        if "hash" in ways and attribute.type != "string":
            field = next(name for name in ("collect", "store", "transform") if getattr(handling, name) == "hash")
            remedy = "write `keep` or `drop`, or make it a string"
            self._mistake(field, f"only a string can be hashed, this is {_article(attribute.type)}", remedy)

    def _kept_shorter(self) -> None:
        """What is deleted with the thing that it lives in is not kept any longer by a wish."""
        retention, handling = self._found.documents.data.retention, self._handling
        home = "profile" if self._attribute or self._identity else "events"
        kept: str | None = getattr(retention, home)
        if handling.delete and kept and seconds(handling.delete) > seconds(kept):
            message = f"`delete` is longer than what it lives in is kept (`retention.{home}` is {kept})"
            self._mistake("delete", message, f"shorten it, or raise `{home}` of `retention`", "bad_retention")


def _article(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"
