"""What a bundle says of outcomes, compiled: which events are conversions and whose they are, how many soft bounces
stop a channel, which rates are too high, and what a decision earns. Immutable.

Every bundle has these rules. What it says nothing of stands at the defaults of `policy.schema.outcomes`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, TypeAlias

from policy.durations import seconds
from policy.schema import offers, outcomes
from policy.watch import DEFAULT_DOMAINS

if TYPE_CHECKING:
    from policy.schema import Documents

Attribution: TypeAlias = Literal["decision_id", "last_click", "last_open"]
RewardOf: TypeAlias = Literal["click", "conversion", "revenue"]

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


@dataclass(frozen=True, slots=True)
class Conversion:
    """An event that says that a message did what it was for, and how the decision behind it is found."""

    id: str
    event: str
    value: str | None  # property with its worth, in the bundle's currency
    attribute: tuple[Attribution, ...]  # ways to the decision, in this order; empty: it counts for none
    window_ms: int  # how long after a look it may happen
    refund: str | None  # event that takes it back
    order: str | None  # property by which a refund, and a repeat, name the same order
    refund_value: str | None = None  # property of the refund with what is given back; None: all


@dataclass(frozen=True, slots=True)
class SoftBounces:
    """How many temporary failures, within how long, suppress the channel."""

    suppress_at: int = 3
    within_ms: int = 30 * DAY_MS


@dataclass(frozen=True, slots=True)
class Rate:
    """Shares above which a rate alerts, and stops the message. None: it never does."""

    alert: float | None = None
    brake: float | None = None


@dataclass(frozen=True, slots=True)
class Watch:
    """What the deliverability watch looks at."""

    window_ms: int
    at_least: int  # mails before a rate means anything
    rates: Mapping[str, Rate]  # by `complained`, `bounced`, `unsubscribed`
    domains: Mapping[str, str]  # domain → class


@dataclass(frozen=True, slots=True)
class OutcomeRules:
    """All that a bundle says of outcomes, but for the rewards, which are their placements'."""

    conversions: tuple[Conversion, ...] = ()
    soft_bounces: SoftBounces = SoftBounces()
    match_within_ms: int = 72 * HOUR_MS  # an outcome without a decision: how old the customer's only contact may be
    watch: Watch | None = None  # None: switched off
    #: Event → the rules that it is a conversion, or a refund, of.
    by_event: Mapping[str, tuple[Conversion, ...]] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class Reward:
    """What a decision of a placement earns, and until when; the weights are subtracted."""

    of: RewardOf
    window_ms: int
    unsubscribe: float
    complaint: float


def outcome_rules(documents: Documents) -> OutcomeRules:
    """The rules of a bundle that lint has accepted."""
    authored = documents.outcomes
    conversions = tuple(_conversion(each) for each in authored.conversions)
    return OutcomeRules(
        conversions=conversions,
        soft_bounces=SoftBounces(authored.soft_bounces.suppress_at, _ms(authored.soft_bounces.within)),
        match_within_ms=_ms(authored.match_within),
        watch=_watch(authored.watch),
        by_event=_by_event(conversions),
    )


def reward_of(authored: offers.Reward | None) -> Reward | None:
    """A placement's reward; None where it names none."""
    if authored is None:
        return None
    return Reward(authored.of, _ms(authored.window), authored.unsubscribe, authored.complaint)


def _conversion(authored: outcomes.Conversion) -> Conversion:
    return Conversion(
        id=authored.id,
        event=authored.on,
        value=authored.value,
        attribute=tuple(authored.attribute),
        window_ms=_ms(authored.window),
        refund=authored.refund,
        order=authored.order,
        refund_value=authored.refund_value,
    )


def _by_event(conversions: tuple[Conversion, ...]) -> Mapping[str, tuple[Conversion, ...]]:
    named = dict.fromkeys(event for each in conversions for event in (each.event, each.refund) if event)
    return MappingProxyType(
        {event: tuple(each for each in conversions if event in (each.event, each.refund)) for event in named}
    )


def _watch(authored: outcomes.Watch) -> Watch | None:
    if not authored.enabled:
        return None
    rates = {name: getattr(authored, name) for name in ("complained", "bounced", "unsubscribed")}
    own = {domain: name for name, domains in authored.domains.items() for domain in domains}
    return Watch(
        window_ms=_ms(authored.window),
        at_least=authored.at_least,
        rates=MappingProxyType({name: Rate(rate.alert, rate.brake) for name, rate in rates.items()}),
        domains=MappingProxyType({**DEFAULT_DOMAINS, **own}),
    )


def _ms(duration: str) -> int:
    return seconds(duration) * 1000
