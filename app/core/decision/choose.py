"""Which of the admissible messages: the first half of step `arbitrate`.

Exploration tries only what a placement ranks in its usual way: by its model, or by rules where it has none. On lower
rungs and without leave to personalise nothing is tried.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from app.core.decision.eligible import Pool
from app.core.decision.gate import Gate
from app.core.decision.limits import Admissible
from app.core.decision.score import Scoring
from app.core.decision.situation import Situation
from policy.arbitration import best, unit_draw
from policy.bundle import Placement
from policy.codes import Degraded, Reason, Rung
from policy.exploration import Drawn, draw, epsilon_greedy, softmax

#: Draws of one request that must not depend on each other take different streams: variants the placement's own number,
#: messages that and this.
_MESSAGE_STREAM = 1 << 32


class Choice(NamedTuple):
    """A rung's answer: which position, and how it was found."""

    position: int | None
    rung: Rung
    reason: Reason
    score: float | None = None
    propensity: float = 1.0
    explores: bool = False  # found in the placement's usual way: there may be trying


def choose(
    placement: Placement,
    situation: Situation,
    gate: Gate,
    pool: Pool,
    scoring: Scoring,
    scores: Sequence[float],
    admissible: Admissible,
    degraded: list[Degraded],
) -> Choice:
    """The best there is, or what is tried instead of it; `degraded` learns what was missing."""
    if not gate.personal:
        return _by_default(placement, admissible)
    if not scores:
        model_wanted = placement.model is not None and scoring.degraded is None and not pool.ranked_by_rules
        rung = Rung.MODEL if model_wanted else Rung.RULES  # an empty pool is no reason to go down the ladder
        explores = placement.model is None and not pool.ranked_by_rules
        return _by_rules(placement, situation, admissible, rung, explores)
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
    if placement.explore is None:
        return Choice(positions[winner], Rung.MODEL, Reason.MODEL_RANKED, scores[winner])
    tried = _tried(placement, situation, len(positions), winner, scores)
    reason = Reason.MODEL_RANKED if tried.place == winner else Reason.EXPLORED
    return Choice(positions[tried.place], Rung.MODEL, reason, scores[tried.place], tried.probability, True)


def _by_rules(
    placement: Placement, situation: Situation, admissible: Admissible, reached: Rung, explores: bool
) -> Choice:
    """The best approved rule; the authored order, or the bundle's where none is authored. Only what is in that order
    may be tried."""
    approved = placement.rules_order or range(len(placement.candidates))
    if explores and placement.explore is not None:
        order = [position for position in approved if position in admissible.positions]
        if order:
            tried = _tried(placement, situation, len(order), 0, ())
            reason = Reason.EXPLORED if tried.place else Reason.RULE_RANKED
            return Choice(order[tried.place], Rung.RULES, reason, None, tried.probability, True)
    for position in approved:
        if position in admissible.positions:
            return Choice(position, Rung.RULES, Reason.RULE_RANKED)
    choice = _by_default(placement, admissible)
    return choice if choice.position is not None else Choice(None, reached, Reason.NO_ADMISSIBLE_MESSAGE)


def _tried(placement: Placement, situation: Situation, number: int, winner: int, scores: Sequence[float]) -> Drawn:
    """Which of so many messages, by the placement's way of exploring. Where rules rank there are no scores, and
    nothing that softmax could weigh."""
    explore = placement.explore
    if explore is not None and number > 1:
        unit = unit_draw(situation.seed, _MESSAGE_STREAM + placement.index)
        if explore.method == "epsilon":
            return epsilon_greedy(number, winner, explore.epsilon, unit)
        if explore.method == "softmax" and scores:
            return draw(softmax(scores, explore.temperature), unit)
    return Drawn(winner, 1.0)


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


def by_baseline(placement: Placement, admissible: Admissible) -> Choice:
    """What the business did before: its one message, or nothing where that may not be sent; without one, the first of
    the rules' order. Gate and limits hold as for anything else."""
    authored = placement.baseline
    order = (placement.rules_order or range(len(placement.candidates))) if authored is None else (authored,)
    for position in order:
        if position in admissible.positions:
            return Choice(position, Rung.RULES, Reason.BASELINE)
    return Choice(None, Rung.RULES, Reason.NO_ADMISSIBLE_MESSAGE)
