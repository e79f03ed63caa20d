"""Deciding a record again: same facts, same seed, same bundle, same answer, to the byte (guarantee G8).

With the recorded scores this holds on any machine. `rescore` runs the model again instead, and promises the same bytes
only on the CPU and runtime that made the record.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from app.core.decision.answer import render
from app.core.decision.arbitrate import Decision, arbitrate
from app.core.decision.commit import NewContact
from app.core.decision.eligible import Pool, eligible
from app.core.decision.gate import gate
from app.core.decision.ids import id_at
from app.core.decision.ledger import new_contact, with_new
from app.core.decision.limits import limits
from app.core.decision.record import Record, answer_digest
from app.core.decision.score import NOT_SCORED, Scoring, model_to_run
from app.core.decision.situation import situation
from policy.bundle import Message, ModelRef, Placement
from policy.codes import Degraded
from policy.facts import ContactKind

Rescore = Callable[[Placement, ModelRef, Pool], Scoring]
#: Degradations that only the running of a model can cause.
_OF_MODELS = frozenset(
    {Degraded.MODEL_MISSING, Degraded.MODEL_FAILED, Degraded.MODEL_TIMEOUT, Degraded.FEATURES_MISSING}
)


class Replayed(NamedTuple):
    """One decision of a record, decided again."""

    decision: Decision
    answer: bytes
    same: bool  # to the byte


def replay(record: Record, rescore: Rescore | None = None) -> list[Replayed]:
    """Decide every placement of the record again."""
    seen = situation(record.bundle, record.facts, record.asked.context, record.seed)
    taken: dict[int, str] = {}
    contacts: list[NewContact] = []
    replayed = []
    for place, recorded in enumerate(record.decisions):
        placement = recorded.placement
        gated = gate(placement, seen)
        pool = eligible(placement, seen, gated, taken)
        ref = model_to_run(placement, pool, gated)
        scoring = NOT_SCORED
        if ref is not None:
            scoring = recorded_scoring(recorded, pool) if rescore is None else rescore(placement, ref, pool)
        admissible = limits(placement, seen, pool, with_new(record.facts.contacts, contacts))
        decision = arbitrate(placement, seen, gated, pool, scoring, admissible)
        new = new_contact(decision, record.base, place, kind_of)
        if new is not None and decision.message is not None:
            contacts.append(new)
            taken[decision.message.index] = placement.id
        answer = render(decision, id_at(record.base, place), seen.timezone, record.bundle, explain=False)
        replayed.append(Replayed(decision, answer, answer_digest(answer) == record.answer_digests[place]))
    return replayed


def recorded_scoring(recorded: Decision, pool: Pool) -> Scoring:
    """What the model said then, or why it said nothing. Scores of another pool are nobody's: then the record was
    altered, and the replay, which ranks by rules, will say that it is not the same."""
    if list(recorded.scored) != list(pool.positions) and recorded.responses:
        return NOT_SCORED
    of_models = next((what for what in recorded.degraded if what in _OF_MODELS), None)
    return Scoring(recorded.responses, of_models)


def kind_of(placement: Placement, message: Message) -> ContactKind:
    """The kind of contact, without a store: a replay compares it with nothing that was read from one."""
    return ContactKind(
        placement.id, placement.channel, placement.klass, message.id, message.category or "", message.campaign or ""
    )
