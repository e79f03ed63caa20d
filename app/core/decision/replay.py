"""Deciding a record again: same facts, same seed, same bundle, same answer, to the byte (guarantee G8).

With the recorded scores this holds on any machine. `rescore` runs the model again instead, and promises the same bytes
only on the CPU and runtime that made the record.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import NamedTuple, TypeAlias

from app.core.decision.answer import render
from app.core.decision.arbitrate import Decision, arbitrate
from app.core.decision.commit import NewContact
from app.core.decision.eligible import Pool, eligible
from app.core.decision.failed import without_facts
from app.core.decision.gate import gate
from app.core.decision.ids import id_at
from app.core.decision.ledger import new_contact, with_new
from app.core.decision.limits import limits
from app.core.decision.record import Record, answer_digest
from app.core.decision.score import NOT_SCORED, Scoring, model_to_run
from app.core.decision.situation import Situation
from policy.bundle import Message, ModelRef, Placement
from policy.codes import Action, Degraded
from policy.facts import ContactKind

Rescore = Callable[[Placement, ModelRef, Pool], Scoring]
#: Degradations that only the running of a model can cause.
_OF_MODELS = frozenset(
    {Degraded.MODEL_MISSING, Degraded.MODEL_FAILED, Degraded.MODEL_TIMEOUT, Degraded.FEATURES_MISSING}
)


class Wanted(NamedTuple):
    """A pool to be scored: what a decision under way is waiting for."""

    place: int  # of the placement in the request
    placement: Placement
    ref: ModelRef
    pool: Pool


#: A request being decided: it yields what shall be scored, is sent the scores, and returns its decisions.
Deciding: TypeAlias = Generator[Wanted, Scoring, list[Decision]]


class Replayed(NamedTuple):
    """One decision of a record, decided again."""

    decision: Decision
    answer: bytes
    same: bool  # to the byte


def replay(record: Record, rescore: Rescore | None = None) -> list[Replayed]:
    """Decide every placement of the record again."""
    again = deciding_again(record)
    scoring: Scoring | None = None
    while True:
        try:
            wanted = next(again) if scoring is None else again.send(scoring)
        except StopIteration as end:
            return compared(record, end.value)
        if rescore is None:
            scoring = recorded_scoring(record.decisions[wanted.place], wanted.pool)
        else:
            scoring = rescore(wanted.placement, wanted.ref, wanted.pool)


def deciding_again(record: Record) -> Deciding:
    """The record's request, under way once more."""
    return deciding(record.situation, record.asked.placements, record.base, was_unreadable(record.decisions))


def deciding(seen: Situation, placements: Sequence[Placement], base: str, unreadable: bool = False) -> Deciding:
    """Decide the placements in order; each sees what the earlier ones chose. `unreadable`: nothing could be read of
    the customer, which is not the same as that nothing is known."""
    taken: dict[int, str] = {}
    contacts: list[NewContact] = []
    decisions: list[Decision] = []
    for place, placement in enumerate(placements):
        if unreadable:
            decision = without_facts(placement, seen, taken)
        else:
            gated = gate(placement, seen)
            pool = eligible(placement, seen, gated, taken)
            ref = model_to_run(placement, pool, gated)
            scoring = NOT_SCORED if ref is None else (yield Wanted(place, placement, ref, pool))
            admissible = limits(placement, seen, pool, with_new(seen.facts.contacts, contacts))
            decision = arbitrate(placement, seen, gated, pool, scoring, admissible)
        decisions.append(decision)
        new = new_contact(decision, base, place, kind_of)
        if new is not None and decision.message is not None:
            contacts.append(new)
            taken[decision.message.index] = placement.id
    return decisions


def compared(record: Record, decisions: Sequence[Decision]) -> list[Replayed]:
    """The decisions as answers, each beside what the record says was answered."""
    timezone = record.situation.timezone
    answers = [
        render(decision, id_at(record.base, place), timezone, record.bundle, explain=False)
        for place, decision in enumerate(decisions)
    ]
    return [
        Replayed(decision, answer, answer_digest(answer) == digest)
        for decision, answer, digest in zip(decisions, answers, record.answer_digests, strict=True)
    ]


def was_unreadable(decisions: Sequence[Decision]) -> bool:
    """Whether the request was answered without the store: such a request is logged only where something was sent, and
    no other `send` says that facts were not available."""
    return any(each.action is Action.SEND and Degraded.FACTS_UNAVAILABLE in each.degraded for each in decisions)


def recorded_scoring(recorded: Decision, pool: Pool) -> Scoring:
    """What the model said then, or why it said nothing. Scores of another pool are nobody's: then the record was
    altered, and the replay, which ranks by rules, will say that it is not the same."""
    if list(recorded.scored) != list(pool.positions) and recorded.responses:
        return NOT_SCORED
    said_since = recorded.degraded[len(pool.degraded) :]  # a switch may have said the same before any model was asked
    of_models = next((what for what in said_since if what in _OF_MODELS), None)
    return Scoring(recorded.responses, of_models)


def kind_of(placement: Placement, message: Message) -> ContactKind:
    """The kind of contact, without a store: a replay compares it with nothing that was read from one."""
    return ContactKind(
        placement.id, placement.channel, placement.klass, message.id, message.category or "", message.campaign or ""
    )
