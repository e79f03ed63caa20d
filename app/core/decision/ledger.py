"""Decisions as contacts: what a `send` reserves, and what placements later in the same request must count already."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from app.core.decision.arbitrate import Decision
from app.core.decision.arms import assigned_anew
from app.core.decision.commit import NewContact
from app.core.decision.ids import id_at, pack_id
from app.core.outcomes import variant_counter
from policy.bundle import Message, Placement
from policy.codes import Action
from policy.facts import Contact, ContactKind, Facts

KindOf: TypeAlias = Callable[[Placement, Message], ContactKind]


def new_contact(decision: Decision, base: str, place: int, kind_of: KindOf) -> NewContact | None:
    """The contact that a decision makes; None when it sends nothing."""
    if decision.action is not Action.SEND or decision.message is None or decision.window is None:
        return None
    decision_id = id_at(base, place)
    kind = kind_of(decision.placement, decision.message)
    contact = Contact(pack_id(decision_id), kind, decision.window.not_before_ms, decision.window.not_after_ms)
    return NewContact(contact, decision_id, compared_variant(decision))


def compared_variant(decision: Decision) -> str:
    """How the counter of what is sent is named, where outcomes decide between variants; empty elsewhere."""
    explore, message, variant = decision.placement.explore, decision.message, decision.chosen_variant
    if explore is None or explore.method != "thompson" or message is None or variant is None:
        return ""
    return variant_counter(message.id, message.version, variant.id)


def with_new(contacts: Sequence[Contact], new: Sequence[NewContact]) -> Sequence[Contact]:
    """The ledger as the next placement must see it."""
    return (*contacts, *(each.contact for each in new)) if new else contacts


def new_exposures(decisions: Sequence[Decision], facts: Facts) -> tuple[tuple[str, str], ...]:
    """Trials that the customer meets here for the first time, each with the arm. Where each decision is assigned anew
    there is no first time: its record says all."""
    met = {
        exposure.trial: exposure.arm
        for decision in decisions
        for exposure in decision.exposures
        if exposure.trial not in assigned_anew(decision.placement)
    }
    return tuple((trial, arm) for trial, arm in met.items() if trial not in facts.exposures) if met else ()


def forget_before_ms(contacts: Sequence[Contact], now_ms: int, retention_s: int) -> int | None:
    """Entries older than this leave the ledger with the next commit; None while there are none."""
    limit_ms = now_ms - retention_s * 1000
    return limit_ms if contacts and contacts[0].not_before_ms < limit_ms else None
