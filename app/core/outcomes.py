"""What an outcome means: for the contact, for what may be sent next, for what variants earned. Pure.

Rule 1: everything that follows from an outcome's type stands in `MEANINGS`, in this file; `store/outcome.lua` only
carries it out. Rule 2: what is known of a decision is the *set* of its outcomes. They come late, twice and in any
order, so each only adds to the set, and where the contact stands is worked out anew from all of it:

    reached     `delivered`, `opened`, `clicked`, `converted`, `complained`: it was sent, whatever else is said
    sent        else, where the last `sent` is not undone by a later failure
    released    else, where it failed: `not_sent`, `dropped`, a bounce
    reserved    else: nothing was said yet

Falls closed: a contact counts unless something said that it never went out; a stop is never passed over.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from functools import lru_cache
from hashlib import blake2b
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from policy.bundle import Bundle, Message, Placement
from policy.codes import Action, OutcomeType, SuppressionReason
from policy.facts import ContactKind

if TYPE_CHECKING:
    from app.core.decision.record import Record

#: What an outcome says about the sending; the store keeps one time for each.
#:   sent     the latest `sent`
#:   reached  the earliest sign that it arrived
#:   failed   the latest sign that it did not; a failure of the same instant as a `sent` undoes it, since providers tell
#:            whole seconds and a failure only ever follows a sending
#:   unsent   the latest `not_sent`; a `sent` of the same instant stands: the two contradict each other
Standing: TypeAlias = Literal["sent", "reached", "failed", "unsent"]


class Meaning(NamedTuple):
    """What follows from a type of outcome."""

    standing: Standing | None = None
    engaged: bool = False  # the customer looked at it, or did what it asked for (not said of machines)
    response: bool = False  # and did so by a click or a conversion: what variants are compared by
    stop: SuppressionReason | None = None
    lift: SuppressionReason | None = None
    every_channel: bool = False  # the stop is for all of them, not for the message's alone


MEANINGS = MappingProxyType(
    {
        OutcomeType.QUEUED: Meaning(),
        OutcomeType.SENT: Meaning("sent"),
        OutcomeType.NOT_SENT: Meaning("unsent"),
        OutcomeType.DROPPED: Meaning("failed"),
        OutcomeType.DELIVERED: Meaning("reached"),
        OutcomeType.DEFERRED: Meaning(),  # the provider tries again
        OutcomeType.BOUNCED_HARD: Meaning("failed", stop=SuppressionReason.HARD_BOUNCE),
        OutcomeType.BOUNCED_SOFT: Meaning("failed"),
        OutcomeType.OPENED: Meaning("reached", engaged=True),
        OutcomeType.CLICKED: Meaning("reached", engaged=True, response=True),
        OutcomeType.CONVERTED: Meaning("reached", engaged=True, response=True),
        OutcomeType.COMPLAINED: Meaning("reached", stop=SuppressionReason.COMPLAINT, every_channel=True),
        # Says nothing of the sending: a customer may unsubscribe elsewhere while the message waits to be sent.
        OutcomeType.UNSUBSCRIBED: Meaning(stop=SuppressionReason.UNSUBSCRIBED),
        OutcomeType.RESUBSCRIBED: Meaning(lift=SuppressionReason.UNSUBSCRIBED),
    }
)
#: Outcomes whose last time is kept for every customer, so that a pause that is authored later finds them. Others are
#: kept only while some pause asks for them.
ALWAYS_KEPT = frozenset({OutcomeType.CONVERTED, OutcomeType.COMPLAINED, OutcomeType.UNSUBSCRIBED})
#: Types that machines (image proxies, link scanners) may have caused, and whose `machine` is read.
BY_MACHINES = frozenset({OutcomeType.OPENED, OutcomeType.CLICKED})
#: Types whose `scope` is read.
SCOPED = frozenset({OutcomeType.UNSUBSCRIBED, OutcomeType.RESUBSCRIBED})
EVERY_CHANNEL = "*"
#: A scope of (un)subscribing that stops and lifts nothing: the consent of one purpose says it already, and a channel is
#: more than that. No caller can say it, since it cannot be the name of a channel.
OF_PURPOSE = "#purpose"


class Outcome(NamedTuple):
    """What a caller says happened to a message."""

    type: OutcomeType
    at_ms: int | None = None  # Unix ms; None: now
    value: float | None = None  # of a conversion, in the bundle's currency; negative: a refund
    event_id: str | None = None  # the sender's own id of the event: a repeat of it is known by this
    machine: bool = False
    scope: str | None = None  # of (un)subscribing: a channel, or `*`; None: the message's channel
    reason: str | None = None  # in the sender's words; kept with what a suppression says of itself
    link: str | None = None  # `link_hash` of what was clicked: enough to tell links apart
    smtp_code: str | None = None  # `550` or `5.1.1`
    suppressed: SuppressionReason | None = None  # of `dropped`: why the sender's own list holds the address

    def fingerprint(self) -> bytes:
        """Eight bytes by which a repeat is known; none where the sender gave neither an id nor a time: then it happens
        now, and a repeat is another one. Senders that give one event id to different events exist, and a complaint must
        not pass for the repeat of an open: the type is always part of it."""
        if self.event_id is None and self.at_ms is None:
            return b""
        told = ("at", str(self.at_ms)) if self.event_id is None else ("id", self.event_id)
        parts = (self.type, self.scope or "", str(self.machine), *told)
        return blake2b("\x00".join(parts).encode(), digest_size=8).digest()


def link_hash(url: str) -> str:
    """Sixteen hex digits that stand for a link: addresses of pages name people now and then, so none is kept."""
    return blake2b(url.encode("utf-8", "replace"), digest_size=8).hexdigest()


class Sending(NamedTuple):
    """What an outcome is about: the message that a decision sent."""

    customer: str
    kind: ContactKind | None  # None: nothing that says so is left
    variant: str | None = None  # `<message>@<version>.<variant>` where it is compared with others, else None
    aborted: bool = False  # its answer was `suppress`: it should not have been sent
    channel: str | None = None  # where the kind is not known and the channel is


class Consequences(NamedTuple):
    """What an outcome asks of the store, all or nothing."""

    standing: Standing | None
    engaged: bool
    response: bool
    soft: bool  # it counts towards the soft bounces after which a channel is left alone
    kept: bool  # its time is kept for pauses after it
    stop: tuple[str, SuppressionReason] | None  # scope and reason
    lift: tuple[str, SuppressionReason] | None
    variant: str | None


class Effect(StrEnum):
    """What changed by an outcome, as answers say it. Closed: `outcome.lua` answers with these words."""

    CONTACT_SENT = "contact_sent"  # it counts at the instant of its sending
    CONTACT_RELEASED = "contact_released"  # it does not count any more
    CONTACT_ENGAGED = "contact_engaged"
    KEPT_FOR_PAUSES = "kept_for_pauses"  # cooldowns are counted from it
    SUPPRESSED = "suppressed"
    SUPPRESSION_LIFTED = "suppression_lifted"


def consequences(outcome: Outcome, sending: Sending, kept: Iterable[OutcomeType]) -> Consequences:
    """What follows from an outcome of a sending. `kept`: the types that the bundle's pauses begin with.

    A stop of one channel whose channel is no longer known is a stop of all: closed.
    """
    meaning = MEANINGS[outcome.type]
    # A refund is no second purchase: it wakes no pause and earns nothing.
    counts = not outcome.machine and (outcome.value is None or outcome.value >= 0)
    stop = meaning.stop if outcome.suppressed is None else outcome.suppressed
    channel = sending.channel if sending.kind is None else sending.kind.channel
    if meaning.every_channel or stop is SuppressionReason.COMPLAINT or channel is None:
        channel = EVERY_CHANNEL
    scope = outcome.scope or channel
    return Consequences(
        standing=meaning.standing,
        engaged=meaning.engaged and counts,
        response=meaning.response and counts,
        soft=outcome.type is OutcomeType.BOUNCED_SOFT,
        kept=counts and (outcome.type in ALWAYS_KEPT or outcome.type in kept),
        stop=None if stop is None or scope == OF_PURPOSE else (scope, stop),
        lift=None if meaning.lift is None or scope == OF_PURPOSE else (scope, meaning.lift),
        variant=None if sending.aborted else sending.variant,
    )


@lru_cache(maxsize=64)
def kept_for_pauses(bundle: Bundle) -> frozenset[OutcomeType]:
    """The outcomes that some cooldown of the bundle begins with."""
    named = {cooldown.after for cooldown in bundle.cooldowns}
    return frozenset(each for each in OutcomeType if each.value in named)


@lru_cache(maxsize=64)
def kept_for_ms(bundle: Bundle) -> int:
    """How long the time of an outcome is kept: as long as contacts are, or as the longest pause lasts."""
    longest_s = max((cooldown.for_s for cooldown in bundle.cooldowns), default=0)
    return max(longest_s, bundle.ledger_retention_s) * 1000


def sending_of(record: Record, place: int, aborted: bool) -> Sending | None:
    """What the decision at `place` sent; None where it sent nothing."""
    decision = record.decisions[place]
    message, variant = decision.message, decision.chosen_variant
    if decision.action is not Action.SEND or message is None or variant is None:
        return None
    compared = decision.placement.explore is not None and decision.placement.explore.method == "thompson"
    return Sending(
        record.asked.customer,
        _kind(decision.placement, message),
        variant_counter(message.id, message.version, variant.id) if compared else None,
        aborted,
    )


def variant_counter(message: str, version: int, variant: str) -> str:
    """How the counters of a variant are named; `:n` behind it counts sendings, `:r` responses."""
    return f"{message}@{version}.{variant}"


def _kind(placement: Placement, message: Message) -> ContactKind:
    return ContactKind(
        placement.id, placement.channel, placement.klass, message.id, message.category or "", message.campaign or ""
    )
