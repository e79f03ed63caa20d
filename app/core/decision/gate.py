"""Step `gate`: may this customer be contacted here, and what may be read of them? Before anything personal is read.

In this order, and the first that stops is the reason:

1. nobody knows what is switched off (control facts are stale): marketing stops, `facts_unavailable`;
2. everything, the region, the placement or its purpose is switched off: all classes stop, `switched_off`;
3. the profile is about to take in another one, whose refusals are not here yet: marketing stops, `merge_pending`;
4. a suppression: marketing stops on any, transactional mail on those of `STOPS_TRANSACTIONAL`;
5. consent to contact: marketing stops on everything but a permission. Transactional mail goes on and reads nothing
   personal, unless the bundle says that it stops too;
6. consent to personalise, which a region that restricts what the placement reads overrules.

Fails closed. Unknown is neither granted nor denied.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from app.core.decision.situation import Situation
from policy.bundle import Placement, Region
from policy.codes import STOPS_TRANSACTIONAL, Reason, SuppressionReason, SwitchKind
from policy.consent import (
    GPC,
    PERSONALISATION,
    Permission,
    contact_permission,
    law_of,
    personalisation_permission,
)
from policy.control import EVERYTHING, Switch
from policy.facts import Suppression

_FINALITY = {reason: rank for rank, reason in enumerate(SuppressionReason)}
NOTHING_RESTRICTED: frozenset[str] = frozenset()


class Gate(NamedTuple):
    """What the gate lets through.

    A stop for `facts_unavailable` or `merge_pending` passes by itself: the answer is retryable.
    """

    stop: Reason | None  # why nothing may be sent; None: contact is permitted
    stop_detail: str  # which suppression, which switch, or on what ground consent is missing
    personal: bool  # whether personal facts may be read
    contact: Permission | None  # None: not looked at, because something else came first
    personalisation: Permission | None
    sensitive: bool = False  # whether sensitive facts may be read too: only on an explicit grant
    restricted: frozenset[str] = NOTHING_RESTRICTED  # classes that may not be used where the customer is


#: Where nothing of the customer was read.
UNREAD = Gate(None, "", False, None, None)


def gate(placement: Placement, situation: Situation) -> Gate:
    """Decide whether the customer may be contacted in this placement, and what may be read of them."""
    facts, control = situation.facts, situation.control
    marketing = placement.klass == "marketing"
    if control.stale and marketing:
        return _stopped(Reason.FACTS_UNAVAILABLE)
    if control.switches:
        switch = switched_off(placement, situation)
        if switch is not None:
            return _stopped(Reason.SWITCHED_OFF, f"{switch.kind.value} {switch.name}")
    if facts.merge_pending and marketing:
        return _stopped(Reason.MERGE_PENDING)
    if facts.suppressions:
        suppression = suppression_in_force(facts.suppressions, placement)
        if suppression is not None:
            return _stopped(Reason.SUPPRESSED, suppression.reason.value)
    return _by_consent(placement, situation, law_of(situation.bundle, situation.region))


def _stopped(reason: Reason, detail: str = "") -> Gate:
    return Gate(reason, detail, False, None, None)


def _by_consent(placement: Placement, situation: Situation, law: Region) -> Gate:
    facts = situation.facts
    contact = contact_permission(facts.consent, placement.purpose, placement.channel, law, facts.now_ms, situation.gpc)
    personalisation = _personalisation(placement, situation, law)
    if not contact.permitted:
        if placement.klass == "marketing" or situation.bundle.unknown_transactional == "suppress":
            reason = Reason.CONSENT_DENIED if contact.state == "denied" else Reason.CONSENT_UNKNOWN
            return Gate(reason, _ground(contact), False, contact, personalisation)
        return Gate(None, "", False, contact, personalisation, False, law.restricted)
    personal = personalisation.permitted and not (law.restricted and law.restricted & placement.sensitive)
    explicit = personal and personalisation.state == "granted"
    return Gate(None, "", personal, contact, personalisation, explicit, law.restricted)


def _personalisation(placement: Placement, situation: Situation, law: Region) -> Permission:
    facts = situation.facts
    found = personalisation_permission(facts.consent, placement.channel, law, facts.now_ms, situation.gpc)
    if situation.control.switches and situation.control.off(SwitchKind.PURPOSE, PERSONALISATION, facts.now_ms):
        return found._replace(permitted=False, basis=Reason.SWITCHED_OFF.value)
    return found


def _ground(refused: Permission) -> str:
    """What the answer says beside its reason: a signal of the browser, or a basis that does not suffice here."""
    return refused.basis if refused.state == "unknown" or refused.basis == GPC else ""


def switched_off(placement: Placement, situation: Situation) -> Switch | None:
    """The switch that turns the whole placement off for this customer, the widest first."""
    off, now_ms = situation.control.off, situation.now_ms
    return (
        off(SwitchKind.ALL, EVERYTHING, now_ms)
        or _region_off(placement, situation)
        or off(SwitchKind.PLACEMENT, placement.id, now_ms)
        or off(SwitchKind.PURPOSE, placement.purpose, now_ms)
    )


def _region_off(placement: Placement, situation: Situation) -> Switch | None:
    """A country's switch holds in its subdivisions too, and that of `default` wherever no other row does. Customers
    who may be anywhere may be there: marketing stops for them on the switch of any region."""
    code, region, now_ms = situation.region_code, situation.region, situation.now_ms
    if code is None or region is None:
        anywhere = (each for each in situation.control.switches if each.kind is SwitchKind.REGION)
        return next((each for each in anywhere if placement.marketing and each.in_force(now_ms)), None)
    names = dict.fromkeys((code, code[:2], region.id))
    found = (situation.control.off(SwitchKind.REGION, name, now_ms) for name in names)
    return next((switch for switch in found if switch is not None), None)


def suppression_in_force(suppressions: Iterable[Suppression], placement: Placement) -> Suppression | None:
    """The most final suppression that covers the placement's channel and class."""
    covering = [
        suppression
        for suppression in suppressions
        if suppression.covers(placement.channel)
        and (placement.klass == "marketing" or suppression.reason in STOPS_TRANSACTIONAL)
    ]
    return min(covering, key=lambda suppression: _FINALITY[suppression.reason], default=None)
