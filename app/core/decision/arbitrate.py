"""Step `arbitrate`: from the admissible set to one message, down the ladder if it must be.

`model` → `rules` → `category` → `generic`: each rung says by its reason how the message was chosen. A message that is
not admissible is never chosen on any rung.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from app.core.decision.eligible import Pool
from app.core.decision.exclusion import Excluded
from app.core.decision.gate import Gate
from app.core.decision.limits import Admissible, SendWindow
from app.core.decision.score import Scoring
from app.core.decision.situation import Situation
from policy.arbitration import Terms, best, choose_variant, worths
from policy.bundle import Message, Placement, Variant
from policy.codes import Action, Degraded, Reason, Rung


class Funnel(NamedTuple):
    """How many candidates were left after which step."""

    candidates: int = 0
    eligible: int = 0
    scored: int = 0
    admissible: int = 0


class Decision(NamedTuple):
    """One placement, decided. Everything that the answer, the record and the explanation say."""

    placement: Placement
    action: Action
    rung: Rung
    reason: Reason
    detail: str = ""  # of the reason: which suppression; or on what ground silence was taken for a permission
    position: int | None = None  # of the chosen message in `placement.candidates`
    variant: int = 0
    window: SendWindow | None = None
    score: float | None = None  # expected value of the chosen message, where a model ranked
    propensity: float | None = None  # probability with which this message was chosen among the admissible ones
    degraded: tuple[Degraded, ...] = ()
    funnel: Funnel = Funnel()
    retryable: bool = False
    excluded: dict[int, Excluded] | None = None  # by position; those outranked are left to `scores`
    scored: Sequence[int] = ()  # positions that were scored
    responses: Sequence[float] = ()  # for each of them the model's probability of a response
    scores: Sequence[float] = ()  # and its expected value
    admissible: Sequence[int] = ()

    @property
    def message(self) -> Message | None:
        return None if self.position is None else self.placement.candidates[self.position].message

    @property
    def chosen_variant(self) -> Variant | None:
        return None if self.message is None else self.message.variants[self.variant]


class Choice(NamedTuple):
    """A rung's answer: which position, and how it was found."""

    position: int | None
    rung: Rung
    reason: Reason
    score: float | None = None


def arbitrate(
    placement: Placement, situation: Situation, gate: Gate, pool: Pool, scoring: Scoring, admissible: Admissible
) -> Decision:
    """Choose one admissible message, or none, and say why."""
    if gate.stop is not None:
        funnel = Funnel(candidates=len(placement.candidates))
        return Decision(
            placement, Action.SUPPRESS, Rung.SUPPRESS, gate.stop, gate.stop_detail, funnel=funnel, excluded={}
        )
    degraded = list(pool.degraded)
    if scoring.degraded is not None:
        degraded.append(scoring.degraded)
    responses, positions = scoring.responses, pool.positions
    scores = worths(responses, _terms(placement, pool)) if responses else []
    choice = _choose(placement, gate, pool, scoring, scores, admissible, degraded)
    chosen = choice.position
    return Decision(
        placement,
        Action.SUPPRESS if chosen is None else Action.SEND,
        choice.rung,
        choice.reason,
        "" if chosen is None else _ground(gate),
        chosen,
        0 if chosen is None else _variant(placement, situation, chosen),
        None if chosen is None else admissible.window_of(chosen),
        choice.score,
        None if chosen is None else 1.0,
        tuple(degraded),
        Funnel(len(placement.candidates), len(positions), len(scores), len(admissible.positions)),
        False,
        {**pool.excluded, **admissible.excluded},
        tuple(positions) if scores else (),
        responses,
        scores,
        admissible.positions,
    )


def _terms(placement: Placement, pool: Pool) -> Sequence[Terms]:
    """The terms of the pool's messages, in its order."""
    fixed = _fixed_terms(placement)
    if pool.weights:
        weights = pool.weights
        return [
            Terms(fixed[position].value, fixed[position].lever, weights.get(position, fixed[position].context_weight))
            for position in pool.positions
        ]
    return fixed if len(pool.positions) == len(fixed) else [fixed[position] for position in pool.positions]


@lru_cache(maxsize=1024)
def _fixed_terms(placement: Placement) -> tuple[Terms, ...]:
    """By position; a weight that is a rule is asked for in each request and stands here as 1."""
    messages = [candidate.message for candidate in placement.candidates]
    return tuple(
        Terms(m.value, m.lever, m.context_weight if isinstance(m.context_weight, float) else 1.0) for m in messages
    )


def _ground(gate: Gate) -> str:
    """Where silence was taken for a permission, the answer says on what ground."""
    contact, personalisation = gate.contact, gate.personalisation
    grounds = []
    if contact is not None and contact.permitted and contact.state == "unknown":
        grounds.append(f"contact: {contact.basis}")
    if personalisation is not None and personalisation.permitted and personalisation.state == "unknown":
        grounds.append(f"personalisation: {personalisation.basis}")
    return "; ".join(grounds)


def _choose(
    placement: Placement,
    gate: Gate,
    pool: Pool,
    scoring: Scoring,
    scores: Sequence[float],
    admissible: Admissible,
    degraded: list[Degraded],
) -> Choice:
    if not gate.personal:
        return _by_default(placement, admissible)
    if not scores:
        model_wanted = placement.model is not None and scoring.degraded is None and not pool.ranked_by_rules
        rung = Rung.MODEL if model_wanted else Rung.RULES  # an empty pool is no reason to go down the ladder
        return _by_rules(placement, admissible, rung)
    positions, responses = pool.positions, scoring.responses
    if len(admissible.positions) < len(positions):
        competing = [index for index, position in enumerate(positions) if position in admissible.positions]
        if not competing:
            return Choice(None, Rung.MODEL, Reason.NO_ADMISSIBLE_MESSAGE)
        positions = [positions[index] for index in competing]
        responses = [responses[index] for index in competing]
        scores = [scores[index] for index in competing]
    winner = best(scores)
    if placement.min_confidence > 0.0 and max(responses) < placement.min_confidence:
        degraded.append(Degraded.LOW_CONFIDENCE)
        return _by_category(placement, positions[winner], admissible)
    return Choice(positions[winner], Rung.MODEL, Reason.MODEL_RANKED, scores[winner])


def _by_rules(placement: Placement, admissible: Admissible, reached: Rung) -> Choice:
    """The best approved rule; the authored order, or the bundle's where none is authored."""
    for position in placement.rules_order or range(len(placement.candidates)):
        if position in admissible.positions:
            return Choice(position, Rung.RULES, Reason.RULE_RANKED)
    choice = _by_default(placement, admissible)
    return choice if choice.position is not None else Choice(None, reached, Reason.NO_ADMISSIBLE_MESSAGE)


def _by_category(placement: Placement, winner: int, admissible: Admissible) -> Choice:
    """The placement's message for the category of the candidate that would have won."""
    category = placement.candidates[winner].message.category
    position = placement.category_messages.get(category) if category is not None else None
    if position is not None and position in admissible.positions:
        return Choice(position, Rung.CATEGORY, Reason.CATEGORY_DEFAULT)
    return _by_default(placement, admissible)


def _by_default(placement: Placement, admissible: Admissible) -> Choice:
    if placement.default in admissible.positions:
        return Choice(placement.default, Rung.GENERIC, Reason.PLACEMENT_DEFAULT)
    return Choice(None, Rung.GENERIC, Reason.NO_ADMISSIBLE_MESSAGE)


def _variant(placement: Placement, situation: Situation, position: int) -> int:
    return choose_variant(placement.candidates[position].message.variants, situation.seed, placement.index)
