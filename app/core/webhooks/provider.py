"""What a provider's file says of its webhooks: how a delivery is verified, taken apart, and read.

One file a provider in `providers/`, each ending in a `PROVIDER`. Verification sees the bytes as they came and comes
before anything is parsed. A delivery holds items; an item says something of one recipient or of several.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from policy.codes import OutcomeType, SuppressionReason


class Delivery(NamedTuple):
    """One request of a provider, as it came."""

    body: bytes
    headers: Mapping[str, str]  # names in lower case; several of one name are joined by ", "
    now_s: float  # Unix s
    url: str = ""  # as it was entered at the provider: the configured one, else as requested
    certificate: bytes | None = None  # PEM, of the address that `Provider.certificate` names


class Trust(NamedTuple):
    """What is configured for a provider: any of these proves it."""

    secrets: tuple[str, ...] = ()  # several, so that they can be rotated
    basic: tuple[str, ...] = ()  # `user:password`
    topics: tuple[str, ...] = ()  # whose messages are taken, where a provider has topics

    def __bool__(self) -> bool:
        return bool(self.secrets or self.basic or self.topics)


class Untrusted(Exception):
    """The delivery is not proven to be the provider's. The text says what is wrong, without what was sent."""


class Unreadable(Exception):
    """The body of a trusted delivery is none of the provider's formats. The text says what was expected."""


class Unfit(ValueError):
    """An item cannot be taken. The text says why, without what was sent: it is shown to the sender."""


class Aside(StrEnum):
    """What is said and changes nothing."""

    IGNORED = "ignored"  # known, and of no effect: pings, inbound mail, account changes
    UNKNOWN = "unknown"  # not in the provider's table: kept raw and counted


class Said(NamedTuple):
    """What a provider says happened to one recipient's mail. Still in clear: it never leaves the flow."""

    type: OutcomeType | Aside
    raw_type: str  # the provider's own word
    at_ms: int | None = None  # when it happened, Unix ms; None: not said
    recipient: str | None = None  # address, as the provider has it
    event_id: str | None = None  # by which the provider knows repeats; None: it has none
    message_id: str | None = None  # the provider's own of the mail
    decision_id: str | None = None  # what rode along
    machine: bool = False  # the provider says that no person opened or clicked
    user_agent: str | None = None
    url: str | None = None  # that was clicked
    reason: str | None = None  # in the provider's or a mail server's words
    smtp_code: str | None = None  # `550` or `5.1.1`
    scope: str | None = None  # of (un)subscribing: `all`, or the provider's name of a group or list
    suppressed: SuppressionReason | None = None  # of `dropped`: why the provider's own list holds the address
    value: float | None = None  # of a conversion, in the bundle's currency; negative: a refund
    customer: str | None = None  # the customer key, where the teller knows it
    channel: str = "email"  # on which the message went


class Ticket(NamedTuple):
    """What proves a delivery once only, where the proof does not cover what is said."""

    token: str  # whoever saw it could send anything with it
    said: bytes  # what it was first used for: a repeat says the same


class Statuses(NamedTuple):
    """What the provider must be answered, where something is wrong, so that it does the right thing next."""

    untrusted: int = 401
    challenge: bool = False  # whether a 401 asks for Basic credentials, without which they are not sent
    unreadable: int = 400
    store_down: int = 503
    busy: int = 429  # decisions come first: it shall come again in a second


@dataclass(frozen=True, slots=True)
class Provider:
    """How to take a provider's deliveries. `docs`: the vendor's page. `carries`: where our decision id rides."""

    name: str
    docs: str
    carries: str
    verify: Callable[[Delivery, Trust], None]  # raises Untrusted
    items: Callable[[Delivery], Sequence[Any]]  # raises Unreadable
    read: Callable[[Any], Sequence[Said]]  # LookupError, TypeError, ValueError, AttributeError: rejected
    statuses: Statuses = field(default_factory=Statuses)
    alarming: frozenset[str] = frozenset()  # raw types that an operator should hear of
    certificate: Callable[[Delivery], str | None] | None = None  # https address of what verifies it; raises Untrusted
    follow_up: Callable[[Delivery, Trust], str | None] | None = None  # https address to be visited once it is trusted
    ticket: Callable[[Delivery], Ticket] | None = None  # of a trusted delivery, where its proof may be used only once
