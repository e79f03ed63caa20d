"""Outcomes as events: what became of messages, for features, and for conversions that wait for a look. Pure."""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b

from app.core.events.event import Collected
from app.core.outcomes import Outcome
from policy.bundle import Bundle
from policy.codes import OutcomeType
from policy.facts import ContactKind
from policy.message_events import MESSAGE_EVENTS

#: The looks after which conversions that wait are tried again, by the way of attribution that asks for them.
LOOKS = {"last_click": OutcomeType.CLICKED, "last_open": OutcomeType.OPENED}
SOURCE = "outcomes"


@lru_cache(maxsize=64)
def wanted(bundle: Bundle) -> frozenset[OutcomeType]:
    """Outcomes that become events under a bundle: those that a feature is folded from, and looks that conversions wait
    for. Nothing reads the others, and so they are not written."""
    folded = {event for rule in bundle.features for event in (*rule.events, *rule.against)}
    looked_for = {LOOKS[way] for rule in bundle.outcomes.conversions for way in rule.attribute if way in LOOKS}
    return frozenset(looked_for | {outcome for outcome, event in MESSAGE_EVENTS.items() if event in folded})


def outcome_event(
    outcome: Outcome, kind: ContactKind | None, customer: str, at_ms: int, received_at_ms: int | None = None,
    decision: bytes = b"",
) -> Collected | None:  # fmt: skip
    """The event of an outcome of a customer's contact; None where it makes none: of machines, of refunds (one is no
    second conversion), and of types that nothing asks about.

    `at_ms` is when it happened, `received_at_ms` when it was told (Unix ms; absent: at once). `decision` (14 bytes)
    keeps apart what two messages have in common.
    """
    name = MESSAGE_EVENTS.get(outcome.type)
    if name is None or kind is None or outcome.machine or (outcome.value or 0) < 0:
        return None
    properties: dict[str, str | int | float | bool] = {
        "placement": kind.placement,
        "message": kind.message,
        "category": kind.category,
        "campaign": kind.campaign,
        "channel": kind.channel,
    }
    if outcome.type is OutcomeType.CONVERTED and outcome.value is not None:
        properties["value"] = float(outcome.value)
    told = outcome.fingerprint() or f"{outcome.type}\x00{at_ms}".encode()
    return Collected(
        customer,
        name,
        1,
        at_ms,
        max(at_ms, received_at_ms or at_ms),
        blake2b(told + decision + customer.encode(), digest_size=8, person=b"outcome").digest(),
        b"",
        {each: value for each, value in properties.items() if value != ""},
        source=SOURCE,
    )
