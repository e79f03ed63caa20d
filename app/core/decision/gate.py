"""Step `gate`: suppression, then contact consent, then personalisation consent. Before anything personal is read.

Fails closed: marketing stops on everything but a permission. Transactional mail stops only on the three suppressions
of `STOPS_TRANSACTIONAL`; without contact consent it goes on, but reads nothing personal.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from app.core.decision.situation import Situation
from policy.bundle import Placement
from policy.codes import STOPS_TRANSACTIONAL, Reason, SuppressionReason
from policy.consent import EVERY_CHANNEL, Permission, contact_permission, personalisation_permission
from policy.facts import Suppression

_FINALITY = {reason: rank for rank, reason in enumerate(SuppressionReason)}


class Gate(NamedTuple):
    """What the gate lets through."""

    stop: Reason | None  # why nothing may be sent; None: contact is permitted
    stop_detail: str  # which suppression
    personal: bool  # whether personal facts may be read
    contact: Permission | None  # None: not looked at, because a suppression came first
    personalisation: Permission | None


def gate(placement: Placement, situation: Situation) -> Gate:
    """Decide whether the customer may be contacted in this placement, and whether personal facts may be read."""
    stop = suppression_in_force(situation.facts.suppressions, placement)
    if stop is not None:
        return Gate(Reason.SUPPRESSED, stop.reason.value, False, None, None)
    consent = situation.facts.consent
    contact = contact_permission(consent, placement.purpose, placement.channel, situation.region)
    personalisation = personalisation_permission(consent, placement.channel, situation.region)
    if contact.permitted:
        return Gate(None, "", personalisation.permitted, contact, personalisation)
    if placement.klass == "transactional":
        return Gate(None, "", False, contact, personalisation)
    stop_reason = Reason.CONSENT_DENIED if contact.state == "denied" else Reason.CONSENT_UNKNOWN
    return Gate(stop_reason, "", False, contact, personalisation)


def suppression_in_force(suppressions: Iterable[Suppression], placement: Placement) -> Suppression | None:
    """The most final suppression that covers the placement's channel and class."""
    covering = [
        suppression
        for suppression in suppressions
        if suppression.scope in (EVERY_CHANNEL, placement.channel)
        and (placement.klass == "marketing" or suppression.reason in STOPS_TRANSACTIONAL)
    ]
    return min(covering, key=lambda suppression: _FINALITY[suppression.reason], default=None)
