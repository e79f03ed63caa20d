"""Which decision gets a conversion. Pure.

1. Ways are tried in the order of the rule. `decision_id`: the one that the event names, itself or in a link.
   `last_click`, `last_open`: the one with the customer's last click, or open, in the window before it.
2. Only a contact of the customer's own gets it: an id that was passed on with a link teaches nothing.
3. Looks of machines are none (`app.core.standing`).
4. What no way leads to waits, and is tried again when a look is told: webhooks come minutes after the order.
5. Once attributed, it stays: a click that is told later moves nothing, since what was earned has been counted.
6. A refund goes where its order went, in whatever order the two are told.

So any order of one click, an order and its refund ends the same. Of several messages that were clicked, the one that
was known first may get it (rule 5): no reward is ever taken back from one message and given to another.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

import ormsgpack

from app.core.decision.ids import DecisionId, parse_id, reserved_at_ms, unpack_id
from app.core.events.event import Collected
from app.core.outcomes import Outcome
from app.core.standing import Known, by_person, looks_of_people
from app.core.webhooks.decision_ids import KEY, PROPERTIES, ridden
from policy.codes import OutcomeType
from policy.outcome_rules import Conversion, OutcomeRules

#: Properties whose links may name the decision, as `did=<id>`, where none of `PROPERTIES` does.
LINKS = ("url", "page_url")
PREFIX = b"v"
LAYOUT = 1
#: The way of what is given back.
REFUND = "refund"
#: The ways that follow a look → the types of looks.
LOOKS: Mapping[str, frozenset[str]] = {"last_click": frozenset({"clicked"}), "last_open": frozenset({"opened"})}
#: How long conversions are kept: as long as the longest window (`policy.schema.outcomes`); refunds come late too.
KEPT_MS = 90 * 86_400_000


class Claim(NamedTuple):
    """A conversion, or a refund, of one customer's, as it is kept until, and after, it is attributed."""

    rule: str  # id of the bundle's conversion
    at_ms: int
    value: float | None  # what the order was worth, or what is given back; None: not said; of a refund: all
    order: bytes  # 8 bytes by which an order and its refunds are the same
    event: str  # of the outcome: a repeat is known by it
    refund: bool = False
    named: str = ""  # decision id
    decision: str = ""  # that gets it; empty: it waits
    done: bool = False  # the outcome was told
    way: str = ""  # that led to the decision: one of the rule's; a refund's is `refund`

    @property
    def key(self) -> bytes:
        """The field under which a customer's hash holds it."""
        return PREFIX + blake2b(self.event.encode(), digest_size=8).digest()

    def encode(self) -> bytes:
        return ormsgpack.packb([LAYOUT, *self])

    @classmethod
    def decode(cls, raw: bytes) -> Claim:
        """Raises ValueError on what no release wrote."""
        parts: Any = ormsgpack.unpackb(raw)
        if not isinstance(parts, list) or not parts or parts[0] != LAYOUT:
            raise ValueError("a conversion of another layout")
        return cls(*parts[1:])


class Contact(NamedTuple):
    """What was sent to the customer, and what is known of it."""

    decision: bytes  # 14 bytes
    known: Known


def claims_in(entry: Collected, rules: OutcomeRules) -> list[Claim]:
    """What an event claims: for each rule that it is a conversion, or a refund, of. A refund that names no order takes
    nothing back: nobody knows what."""
    found = [rule for rule in rules.by_event.get(entry.type, ()) if rule.attribute]
    return [_claim(entry, rule) for rule in found if entry.type == rule.event or _order(entry, rule) is not None]


def _claim(entry: Collected, rule: Conversion) -> Claim:
    order = _order(entry, rule) or entry.message_id.hex()
    refund = entry.type != rule.event
    # An order is one, however often it is told; of one order there may be several refunds.
    event = f"conv:{rule.id}:refund:{entry.message_id.hex()}" if refund else f"conv:{rule.id}:{_short(order)}"
    worth = rule.refund_value if refund else rule.value
    return Claim(
        rule.id,
        entry.occurred_at_ms,
        _number(entry.properties.get(worth)) if worth else None,
        blake2b(f"{rule.id}\x00{order}".encode(), digest_size=8).digest(),
        event,
        refund,
        ridden(*({KEY: entry.properties.get(name)} for name in PROPERTIES),
               *(entry.properties.get(name) for name in LINKS)) or "",
    )  # fmt: skip


def _short(order: str) -> str:
    """Order numbers are the shop's, and may say more than an id should: a hash stands for them."""
    return blake2b(order.encode(), digest_size=8).hexdigest()


def _order(entry: Collected, rule: Conversion) -> str | None:
    """The order that the event names; None where it names none, and then no refund finds it."""
    value = entry.properties.get(rule.order) if rule.order else None
    return None if value is None or value == "" else str(value)


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def waiting(claims: Iterable[Claim]) -> bool:
    """Whether one of them has not gone where it belongs."""
    return any(not claim.done for claim in claims)


def settled(claims: Sequence[Claim], contacts: Sequence[Contact], rules: OutcomeRules) -> list[Claim]:
    """Those that wait and can be attributed now, with their decisions. Orders first: their refunds follow them."""
    by_id = {rule.id: rule for rule in rules.conversions}
    moved: list[Claim] = []
    went = {claim.order: claim for claim in claims if not claim.refund and claim.decision}
    for claim in claims:
        if claim.decision or claim.refund or claim.rule not in by_id:
            continue
        decision, way = attributed(claim, by_id[claim.rule], contacts)
        if decision:
            moved.append(claim._replace(decision=decision, way=way))
            went[claim.order] = moved[-1]
    for claim in claims:
        order = went.get(claim.order)
        if claim.refund and not claim.decision and order is not None:
            moved.append(claim._replace(decision=order.decision, value=_given_back(claim, order), way=REFUND))
    return moved


def _given_back(refund: Claim, order: Claim) -> float | None:
    """What it says; all that the order was worth, where it says nothing."""
    return order.value if refund.value is None else refund.value


def attributed(claim: Claim, rule: Conversion, contacts: Sequence[Contact]) -> tuple[str, str]:
    """The decision that gets a conversion, and the way that led there. Empty: none does, as far as is known."""
    for way in rule.attribute:
        named = way == "decision_id"
        found = _named(claim, rule, contacts) if named else _last_look(claim, rule, contacts, LOOKS[way])
        if found:
            return found, way
    return "", ""


def _named(claim: Claim, rule: Conversion, contacts: Sequence[Contact]) -> str:
    """If it is the customer's, and was made within the window before."""
    for contact in contacts:
        if unpack_id(contact.decision) == claim.named:
            made_ms = reserved_at_ms(contact.decision)
            return claim.named if claim.at_ms - rule.window_ms <= made_ms <= claim.at_ms else ""
    return ""


def _last_look(claim: Claim, rule: Conversion, contacts: Sequence[Contact], types: Container[str]) -> str:
    """Of two at one instant the later decision's, whatever order they lie in."""
    found: tuple[int, bytes] | None = None
    for contact in contacts:
        at_ms = last_look_ms(contact.known, types, claim.at_ms)
        if at_ms is not None and at_ms >= claim.at_ms - rule.window_ms:
            found = max(found or (at_ms, contact.decision), (at_ms, contact.decision))
    return unpack_id(found[1]) if found else ""


def last_look_ms(what: Known, types: Container[str], until_ms: int) -> int | None:
    """The last look of a person at a contact until an instant (Unix ms), which scanners are told apart from by all that
    was told, also of what came after it."""
    times = [each.at_ms for each in looks_of_people(what.told) if each.type in types and each.at_ms <= until_ms]
    latest = max(times, default=None)
    return latest if by_person(latest, what.delivered_ms) else None


def outcome_of(claim: Claim) -> Outcome | None:
    """What is told of the decision; None where there is nothing to give back, as far as is known."""
    if not claim.refund:
        return Outcome(OutcomeType.CONVERTED, claim.at_ms, claim.value, claim.event)
    return Outcome(OutcomeType.CONVERTED, claim.at_ms, -abs(claim.value), claim.event) if claim.value else None


def decision_of(claim: Claim) -> DecisionId | None:
    return parse_id(claim.decision)


def read_claims(fields: Mapping[bytes, bytes]) -> list[Claim]:
    """All that a customer's hash holds; what cannot be read is left where it is. In the order in which it happened."""
    found = []
    for name, raw in fields.items():
        if name.startswith(PREFIX) and len(name) == len(PREFIX) + 8:
            try:
                found.append(Claim.decode(raw))
            except (ValueError, TypeError):
                continue
    return sorted(found, key=lambda claim: (claim.at_ms, claim.event))
