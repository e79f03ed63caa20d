"""The history of a customer, read back: what changed about consent, suppressions and region, when, by whom and why.

Written by `history.lua`, in the same run as the change itself; its entries are described there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

from app.store.fields import FieldRegistry
from app.store.profile import UnknownField, consent_entry, registered, suppression_of
from policy.facts import ConsentEntry, Suppression


class Consented(NamedTuple):
    """A consent. `superseded`: a later or a stricter one was known, and holds."""

    entry: ConsentEntry
    superseded: bool


class Suppressed(NamedTuple):
    """A suppression that was set."""

    suppression: Suppression
    source: str


class Unsuppressed(NamedTuple):
    """A suppression that was lifted."""

    scope: str
    reason: str


class Moved(NamedTuple):
    """Another region, and so another law; None: no region is known any more."""

    region: str | None


class Merged(NamedTuple):
    """Another customer became this one."""

    customer: str


What: TypeAlias = Consented | Suppressed | Unsuppressed | Moved | Merged


class Change(NamedTuple):
    """One change. `recorded_ms` is when the store took it down, which for a consent may be long after it was said."""

    customer: str
    recorded_ms: int
    who: str
    why: str | None  # None: the caller gave no reason of its own
    what: What


def changes_of(customer: str, entry: bytes, registry: FieldRegistry) -> Iterator[Change]:
    """The changes of one entry. Raises UnknownField when an id is not in the registry."""
    recorded_ms, who_id, changes, *why = entry.split(b" ", 3)
    who = registered(registry, who_id, "w:")
    for change in changes.split(b";"):
        yield Change(customer, int(recorded_ms), who, why[0].decode() if why else None, _what(change, registry))


def _what(change: bytes, registry: FieldRegistry) -> What:
    mark, said = change[:1], change[1:]
    if mark in (b"c", b"x"):
        field, _, value = said.partition(b"=")
        return Consented(consent_entry(field, value, registry), superseded=mark == b"x")
    if mark == b"-":
        field, _, value = change.partition(b"=")
        source = registered(registry, value.partition(b",")[2], "s:")
        return Suppressed(suppression_of(field, value), source)
    if mark == b"~":
        scope, _, reason = said.decode().partition(":")
        return Unsuppressed(scope, reason)
    if mark == b"r":
        return Moved(said.decode() or None)
    if mark == b"m":
        return Merged(said.decode())
    raise UnknownField("a change of a kind that a newer version writes")
