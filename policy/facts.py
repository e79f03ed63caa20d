"""What is known when a decision is made: read once, decoded once, passed to every step, never changed.

Times are Unix milliseconds on the store's clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from policy.codes import SuppressionReason

NOTHING: Mapping[str, Any] = MappingProxyType({})


class ConsentEntry(NamedTuple):
    """What a customer said about one purpose on one channel (`*`: every channel). Nothing said: no entry."""

    purpose: str
    channel: str
    state: Literal["granted", "denied"]
    basis: str
    source: str
    at_ms: int
    expires_ms: int | None = None  # from then on nothing was said; None: holds until something else is said


class Suppression(NamedTuple):
    """A stop that no consent lifts. `scope` is a channel, `*`, or `<channel>/<group>`: what a provider calls a group or
    a list lies within a channel and stops all of it, and is lifted by itself."""

    scope: str
    reason: SuppressionReason
    at_ms: int

    def covers(self, channel: str) -> bool:
        """Whether it stops messages on a channel."""
        return self.scope in ("*", channel) or self.scope.partition("/")[0] == channel


@dataclass(frozen=True, slots=True, eq=False)
class ContactKind:
    """What a contact was, as limits see it. Compared by identity: the store hands out one object a kind, so that
    which limits count it is looked up, not computed."""

    placement: str
    channel: str
    klass: str
    message: str
    category: str
    campaign: str


class Contact(NamedTuple):
    """One entry of the ledger: a message that will be, or was, sent at some time in [`not_before_ms`, `not_after_ms`].

    Both are equal once the time of sending is known.
    """

    decision: bytes  # the decision id, packed to 14 bytes
    kind: ContactKind
    not_before_ms: int
    not_after_ms: int
    confirmed: bool = False  # an outcome said that it was sent
    engaged: bool = False  # the customer opened or clicked it, or did what it asked for


class PastOutcome(NamedTuple):
    """When an outcome happened last to this customer: for pauses after it. Kept per outcome and kind of contact."""

    type: str  # `converted`, `complained`, …: `policy.codes.OutcomeType`
    kind: ContactKind | None  # of the contact that it followed; None: of none that is known
    at_ms: int


class Facts(NamedTuple):
    """Everything a decision may look at, of one customer at one instant.

    A named tuple, like all that is made anew for every decision: a frozen dataclass takes three times as long to make.
    """

    now_ms: int
    exists: bool  # whether the store knows the customer at all
    region: str | None  # ISO 3166-1 alpha-2, or with subdivision
    timezone: str | None  # IANA
    language: str | None  # BCP 47
    consent: tuple[ConsentEntry, ...] = ()
    suppressions: tuple[Suppression, ...] = ()
    values: Mapping[str, Any] = NOTHING  # fact name → value; a missing fact has no entry
    as_of_ms: Mapping[str, int] = NOTHING  # `Fact.source` → when it last wrote, or until when its events are complete
    contacts: tuple[Contact, ...] = ()  # in order of not_before_ms
    general_version: int = 0  # moves on consent, suppression, preferences, region, zone, merging
    ledger_version: int = 0  # moves on whatever changes the ledger or what limits are counted from
    outcomes: tuple[PastOutcome, ...] = ()
    best_hours: str | None = None  # a preference: the customer's own hours, such as `18:00-21:00`
    exposures: Mapping[str, str] = NOTHING  # experiment → the arm in which the customer was seen first
    merge_pending: bool = False  # another customer's data is on its way into this one
    merged_into: str | None = None  # the customer that this one became
    features_unread: bool = False  # what is stored of them could not be read: they are missing
    not_filled: frozenset[str] = frozenset()  # features that lack events that passed: they are missing
