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
    message, window, placement = decision.message, decision.window, decision.placement
    if decision.action is not Action.SEND or message is None or window is None:
        return None
    decision_id = id_at(base, place)
    contact = Contact(pack_id(decision_id), kind_of(placement, message), window.not_before_ms, window.not_after_ms)
    if placement.explore is None:  # outcomes decide between no variants
        return NewContact(contact, decision_id)
    return NewContact(contact, decision_id, compared_variant(placement, message, decision.variant))


def compared_variant(placement: Placement, message: Message, variant: int) -> str:
    """How the counter of what is sent is named, where outcomes decide between variants; empty elsewhere."""
    if placement.explore is None or placement.explore.method != "thompson":
        return ""
    return variant_counter(message.id, message.version, message.variants[variant].id)


def counts_contacts(placements: Sequence[Placement]) -> bool:
    """Whether anything in these placements depends on the ledger."""
    return any([placement.counts_contacts for placement in placements])  # noqa: C419  # no generator: half the time


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
