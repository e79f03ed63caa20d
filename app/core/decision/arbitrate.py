"""Step `arbitrate`: from the admissible set to one message, down the ladder if it must be.

`model` → `rules` → `category` → `generic`: each rung says by its reason how the message was chosen. A message that is
not admissible is never chosen on any rung.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.core.decision.eligible import Pool
from app.core.decision.exclusion import Excluded
from app.core.decision.gate import Gate
from app.core.decision.limits import Admissible, SendWindow
from app.core.decision.score import Scoring
from app.core.decision.situation import Situation
from policy.arbitration import best, choose_variant, worth
from policy.bundle import Message, Placement, Variant
from policy.codes import Action, Degraded, Reason, Rung


@dataclass(frozen=True, slots=True)
class Funnel:
    """How many candidates were left after which step."""

    candidates: int = 0
    eligible: int = 0
    scored: int = 0
    admissible: int = 0


@dataclass(frozen=True, slots=True)
class Decision:
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
    scored: tuple[int, ...] = ()  # positions that were scored
    responses: tuple[float, ...] = ()  # for each of them the model's probability of a response
    scores: tuple[float, ...] = ()  # and its expected value
    admissible: tuple[int, ...] = ()

    @property
    def message(self) -> Message | None:
        return None if self.position is None else self.placement.candidates[self.position].message

    @property
    def chosen_variant(self) -> Variant | None:
        return None if self.message is None else self.message.variants[self.variant]


@dataclass(frozen=True, slots=True)
class Choice:
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
    scores = tuple(
        worth(response, placement.candidates[position].message, _weight(placement, pool, position))
        for position, response in zip(pool.positions, scoring.responses, strict=False)
    )
    choice = _choose(placement, gate, pool, scoring, scores, admissible, degraded)
    sent = choice.position is not None
    return Decision(
        placement=placement,
        action=Action.SEND if sent else Action.SUPPRESS,
        rung=choice.rung,
        reason=choice.reason,
        detail=_ground(gate) if sent else "",
        position=choice.position,
        variant=_variant(placement, situation, choice.position),
        window=None if choice.position is None else admissible.windows[choice.position],
        score=choice.score,
        propensity=1.0 if sent else None,
        degraded=tuple(degraded),
        funnel=Funnel(len(placement.candidates), len(pool.positions), len(scores), len(admissible.positions)),
        excluded={**pool.excluded, **admissible.excluded},
        scored=tuple(pool.positions) if scores else (),
        responses=tuple(scoring.responses),
        scores=scores,
        admissible=tuple(admissible.positions),
    )


def _weight(placement: Placement, pool: Pool, position: int) -> float:
    weight = placement.candidates[position].message.context_weight
    return weight if isinstance(weight, float) else pool.weights[position]


def _ground(gate: Gate) -> str:
    """Where silence was taken for a permission, the answer says on what ground."""
    grounds = [
        f"{what}: {permission.basis}"
        for what, permission in (("contact", gate.contact), ("personalisation", gate.personalisation))
        if permission is not None and permission.permitted and permission.state == "unknown"
    ]
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
        return _by_rules(placement, admissible)
    left = set(admissible.positions)
    competing = [index for index, position in enumerate(pool.positions) if position in left]
    if not competing:
        return Choice(None, Rung.MODEL, Reason.NO_ADMISSIBLE_MESSAGE)
    positions = [pool.positions[index] for index in competing]
    winner = competing[best(positions, [scores[index] for index in competing])]
    if max(scoring.responses[index] for index in competing) < placement.min_confidence:
        degraded.append(Degraded.LOW_CONFIDENCE)
        return _by_category(placement, pool.positions[winner], admissible)
    return Choice(pool.positions[winner], Rung.MODEL, Reason.MODEL_RANKED, scores[winner])


def _by_rules(placement: Placement, admissible: Admissible) -> Choice:
    """The best approved rule; the authored order, or the bundle's where none is authored."""
    for position in placement.rules_order or range(len(placement.candidates)):
        if position in admissible.windows:
            return Choice(position, Rung.RULES, Reason.RULE_RANKED)
    choice = _by_default(placement, admissible)
    return choice if choice.position is not None else Choice(None, Rung.RULES, Reason.NO_ADMISSIBLE_MESSAGE)


def _by_category(placement: Placement, winner: int, admissible: Admissible) -> Choice:
    """The placement's message for the category of the candidate that would have won."""
    category = placement.candidates[winner].message.category
    position = placement.category_messages.get(category) if category is not None else None
    if position is not None and position in admissible.windows:
        return Choice(position, Rung.CATEGORY, Reason.CATEGORY_DEFAULT)
    return _by_default(placement, admissible)


def _by_default(placement: Placement, admissible: Admissible) -> Choice:
    if placement.default in admissible.windows:
        return Choice(placement.default, Rung.GENERIC, Reason.PLACEMENT_DEFAULT)
    return Choice(None, Rung.GENERIC, Reason.NO_ADMISSIBLE_MESSAGE)


def _variant(placement: Placement, situation: Situation, position: int | None) -> int:
    if position is None:
        return 0
    return choose_variant(placement.candidates[position].message.variants, situation.seed, placement.index)
