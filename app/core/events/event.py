"""An event, in our words: what it is on its way from whoever told it to the stream, and out of the stream to the fold.

`Arrived` is what some client said, in one shape whatever its format was; nothing of it is checked. `Collected` is what
was made of it: declared, of the declared types, without a direct identifier, and about a customer. `Letter` is one that
could not be taken. `Event` is what a fold sees of what was collected.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple, TypeAlias

from app.core.identity import Kind

#: What a property's value may be once it was collected.
Scalar: TypeAlias = str | int | float | bool


class Misfits(StrEnum):
    """Why an event is not taken as it came. Append-only: letters in the store hold these."""

    MALFORMED = "malformed"  # not an object of the format's shape
    BAD_TEXT = "bad_text"  # text that is no Unicode
    TOO_LARGE = "too_large"
    NO_IDENTITY = "no_identity"
    DIRECT_IDENTIFIER = "direct_identifier"
    UNKNOWN_EVENT = "unknown_event"
    UNKNOWN_VERSION = "unknown_version"
    BAD_TIME = "bad_time"
    TOO_OLD = "too_old"
    AHEAD = "ahead"
    MISSING_PROPERTY = "missing_property"
    UNDECLARED_PROPERTY = "undeclared_property"
    WRONG_TYPE = "wrong_type"
    OUT_OF_RANGE = "out_of_range"
    TOO_LONG = "too_long"
    UNFOLDABLE = "unfoldable"  # it was taken, and no feature can be folded from it
    UNREADABLE = "unreadable"  # an entry of the stream that no release wrote


class Misfit(NamedTuple):
    """Why an event is not taken. The detail repeats no value of the event's."""

    code: Misfits
    detail: str


class Arrived(NamedTuple):
    """An event as a client told it. `who` holds its identities in the order of their weight, as (kind, value), where
    the kind `customer` is a key; `previous` who that was before, of an alias. None is absent throughout."""

    kind: str  # track, identify, alias, page, screen, group, or heartbeat (`core.events.heartbeat`)
    name: str
    who: tuple[tuple[str, Any], ...]
    properties: Mapping[str, Any]
    at: Any = None
    sent_at: Any = None  # on the same clock as `at`, which may be wrong
    message_id: Any = None
    source: str = ""
    previous: tuple[tuple[str, Any], ...] = ()
    version: Any = None
    zoned: bool = True  # a time without zone is refused; else it is UTC
    landed: str = ""  # our decision id in the address of the page on which it happened, where the client says that


class Edge(NamedTuple):
    """One identity of a customer: its kind, and its keyed hash (16 bytes)."""

    kind: Kind
    hash: bytes


class Collected(NamedTuple):
    """An event as it lies in the stream. `type` is the id under which the bundle declares it, or empty, where it only
    links identities. `edges` are all identities that were told together, and empty where there is but one."""

    customer: str
    type: str
    version: int
    occurred_at_ms: int
    received_at_ms: int
    message_id: bytes  # 8 bytes: keyed hash of the sender's id
    once: bytes  # 8 bytes: keyed hash of what may happen only once; empty where it may happen again
    properties: Mapping[str, Scalar]
    edges: tuple[Edge, ...] = ()
    previous: tuple[Edge, ...] = ()  # of an alias: who that was before, under each kind that it may be of
    source: str = ""
    known: bool = False  # the customer was told by a key or a user id: what was told with it is that customer's
    previous_customer: str = ""  # of an alias: the customer of the user id that may have been meant

    @property
    def event(self) -> Event:
        """What a fold sees of it."""
        return Event(self.type, self.occurred_at_ms, self.properties, self.message_id)


class Letter(NamedTuple):
    """An event that could not be taken, masked, as it lies in the dead-letter stream."""

    misfit: Misfit
    customer: str  # empty where nobody could be found
    type: str  # empty where the bundle knew no such event
    version: int  # that its sender named; 0: it named none
    occurred_at_ms: int | None
    received_at_ms: int
    message_id: bytes
    properties: Mapping[str, Scalar]  # what of it may be kept: declared ones, masked
    edges: tuple[Edge, ...] = ()
    previous: tuple[Edge, ...] = ()
    source: str = ""
    whole: bool = False  # nothing that its declaration asks for is left out
    known: bool = False  # as of what is collected
    previous_customer: str = ""

    @property
    def redrivable(self) -> bool:
        """Whether it can be judged again."""
        return self.whole and bool(self.customer and self.type) and self.occurred_at_ms is not None


class Event(NamedTuple):
    """One event of one customer, as features are folded from it."""

    type: str  # the id under which the bundle declares it
    occurred_at_ms: int
    properties: Mapping[str, Scalar]
    message_id: bytes  # stands for the sender's own id of the message, or for this receipt where it had none
