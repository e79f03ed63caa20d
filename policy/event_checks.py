"""Checks of events: names that mean one event, properties that exist, versions that change compatibly or not at all.

A version of an event is a contract with whoever sends it: what fitted it yesterday fits it today. What would break that
needs a new version, beside which the old one stays under `earlier` for as long as it is sent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from policy.event_rules import STRING_BYTES_DEFAULT
from policy.findings import Findings
from policy.message_events import BUILT_IN_NAMES
from policy.rule_types import did_you_mean
from policy.schema import Documents, facts


def check(found: Findings, against: Documents | None = None) -> None:
    """`against`: the bundle that is served; versions that both have must take what they took."""
    _names(found)
    for event in found.documents.events.events:
        _once(found, event)
    if against is not None:
        _unbroken(found, against)


def _names(found: Findings) -> None:
    """No name stands for two events."""
    events = found.documents.events.events
    owner: dict[str, str] = {event.id: event.id for event in events}
    for event in events:
        if event.id in BUILT_IN_NAMES or BUILT_IN_NAMES.intersection(event.aliases):
            message = f"`{event.id}` takes the name of an event that outcomes tell by themselves"
            remedy = "remove it: features may be folded from it without declaring it, or choose another name"
            found.mistake("events.yaml", ("events", event.id), "reserved_name", message, remedy)
        for index, alias in enumerate(event.aliases):
            other = owner.setdefault(alias, event.id)
            if other != event.id:
                path = ("events", event.id, "aliases", index)
                message = f"`{alias}` is a name of `{other}` already"
                found.mistake("events.yaml", path, "duplicate_alias", message, "remove it from one of the two")


def _once(found: Findings, event: facts.Event) -> None:
    known = [each.id for each in event.properties]
    if event.once_per is None or event.once_per in known:
        return
    remedy = did_you_mean(event.once_per, known, f"declare `{event.once_per}` under `properties`")
    path = ("events", event.id, "once_per")
    found.mistake("events.yaml", path, "unknown_property", f"`{event.id}` has no `{event.once_per}`", remedy)


def _unbroken(found: Findings, against: Documents) -> None:
    served = {(event.id, version.version): version for event in against.events.events for version in _versions(event)}
    for event in found.documents.events.events:
        for version in _versions(event):
            before = served.get((event.id, version.version))
            for what in () if before is None else broken(before, version):
                remedy = f"make it version {event.version + 1}, and keep what is served under `earlier`"
                message = f"version {version.version} of `{event.id}` no longer takes what it took: {what}"
                found.mistake("events.yaml", ("events", event.id), "incompatible_change", message, remedy)


def _versions(event: facts.Event) -> Iterator[facts.Event | facts.EarlierEvent]:
    yield event
    yield from event.earlier


def broken(before: facts.Event | facts.EarlierEvent, after: facts.Event | facts.EarlierEvent) -> Iterator[str]:
    """Why something that fitted a version before may not fit it after, in words."""
    old, new = _by_id(before.properties), _by_id(after.properties)
    for name, was in old.items():
        if name not in new:
            yield f"`{name}` is gone"
        else:
            yield from _narrower(was, new[name])
    for name, now in new.items():
        if name not in old and now.required:
            yield f"`{name}` is new and required"
    if before.undeclared == "drop" and after.undeclared == "refuse":
        yield "undeclared properties are refused"


def _narrower(was: facts.Property, now: facts.Property) -> Iterator[str]:
    if was.type != now.type and not (was.type == "int" and now.type == "float"):
        yield f"`{now.id}` was {was.type} and is {now.type}"
        return
    if now.required and not was.required:
        yield f"`{now.id}` is required"
    if not _within(was.range, now.range):
        yield f"the range of `{now.id}` is narrower"
    if now.values is not None and set(was.values or ()) - set(now.values):
        yield f"`{now.id}` has lost values"
    if (was.max_length or STRING_BYTES_DEFAULT) > (now.max_length or STRING_BYTES_DEFAULT):
        yield f"`{now.id}` may be less long"


def _within(inner: Sequence[float] | None, outer: Sequence[float] | None) -> bool:
    """Whether everything in the one range is in the other."""
    if outer is None:
        return True
    return inner is not None and outer[0] <= inner[0] and inner[1] <= outer[1]


def _by_id(properties: Sequence[facts.Property]) -> Mapping[str, facts.Property]:
    return {each.id: each for each in properties}
