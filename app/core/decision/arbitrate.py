"""Step `arbitrate`: from the admissible set to one message, down the ladder if it must be.

`model` → `rules` → `category` → `generic`: each rung says by its reason how the message was chosen. A message that is
not admissible is never chosen on any rung.

Trials come last. Everything is decided as usual first; then `holdout` withholds it, and `baseline` puts what the
business did before in its place. So it is known of everybody what the treatment would have been.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from app.core.decision.arms import TREATED, Assigned, Exposure, assigned, exposures
from app.core.decision.choose import Choice, by_baseline, choose
from app.core.decision.eligible import Pool
from app.core.decision.exclusion import Excluded
from app.core.decision.gate import Gate
from app.core.decision.limits import Admissible, SendWindow
from app.core.decision.score import Scoring
from app.core.decision.scores import UNSCORED, worths_of
from app.core.decision.situation import Situation
from app.core.decision.wording import wording
from policy.bundle import Message, Placement, Variant
from policy.codes import Action, Arm, Degraded, Exclusion, Reason, Rung

#: Gates that may open by themselves: then asking again may help.
_MAY_OPEN = frozenset({Reason.FACTS_UNAVAILABLE, Reason.MERGE_PENDING})


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
    arm: Arm = Arm.TREATMENT
    variant_propensity: float | None = None  # probability of this variant, once its message was chosen
    exposures: tuple[Exposure, ...] = ()  # trials that this customer takes part in and that mattered here
    weights: Sequence[float] = ()  # context weight of each scored position; empty: all 1
    fatigue: Sequence[float] = ()  # fatigue factor of each scored position; empty: all 1

    @property
    def message(self) -> Message | None:
        """The chosen message; of a `holdout`, the one that would have been sent."""
        return None if self.position is None else self.placement.candidates[self.position].message

    @property
    def chosen_variant(self) -> Variant | None:
        return None if self.message is None else self.message.variants[self.variant]


def arbitrate(
    placement: Placement, situation: Situation, gate: Gate, pool: Pool, scoring: Scoring, admissible: Admissible
) -> Decision:
    """Choose one admissible message, or none, and say why."""
    if gate.stop is not None:
        return _stopped(placement, gate)
    degraded = list(pool.degraded)
    if scoring.degraded is not None:
        degraded.append(scoring.degraded)
    responses, positions = scoring.responses, pool.positions
    scores, weights, fatigue = worths_of(placement, situation, pool, responses) if responses else UNSCORED
    usual = choose(placement, situation, gate, pool, scoring, scores, admissible, degraded)
    trials = assigned(placement, situation, pool) if placement.arms or placement.experiments else TREATED
    baseline = trials.arm is Arm.BASELINE and gate.personal  # without leave to personalise all get the generic message
    choice = by_baseline(placement, admissible) if baseline else usual
    chosen = choice.position
    if chosen is None:
        action, reason, window, variant, variant_propensity = _nothing(
            choice, pool, admissible, placement.baseline if baseline else None
        )
    else:
        window = admissible.window_of(chosen)
        action, reason, window, variant, variant_propensity = _something(placement, situation, choice, trials, window)
    return Decision(
        placement,
        action,
        choice.rung,
        reason,
        "" if chosen is None else _ground(gate),
        chosen,
        variant,
        window,
        choice.score,
        None if chosen is None else choice.propensity,
        tuple(degraded),
        Funnel(len(placement.candidates), len(positions), len(scores), len(admissible.positions)),
        False,
        {**pool.excluded, **admissible.excluded},
        tuple(positions) if scores else (),
        responses,
        scores,
        admissible.positions,
        trials.arm,
        variant_propensity,
        () if trials is TREATED or usual.position is None else _exposures(placement, trials, action, chosen),
        weights,
        fatigue,
    )


def _stopped(placement: Placement, gate: Gate) -> Decision:
    """The gate lets nothing through."""
    reason = gate.stop or Reason.FACTS_UNAVAILABLE
    return Decision(
        placement,
        Action.SUPPRESS,
        Rung.SUPPRESS,
        reason,
        gate.stop_detail,
        degraded=(Degraded.FACTS_UNAVAILABLE,) if reason is Reason.FACTS_UNAVAILABLE else (),
        funnel=Funnel(candidates=len(placement.candidates)),
        retryable=reason in _MAY_OPEN,
        excluded={},
    )


#: What becomes of a choice: action, reason, window, variant and its probability. Taken apart at once: a tuple will do.
End: TypeAlias = tuple[Action, Reason, SendWindow | None, int, float | None]


def _nothing(choice: Choice, pool: Pool, admissible: Admissible, only: int | None) -> End:
    """Where only time is in the way the caller shall ask again when it will not be; `only`: the one message that was
    to be sent."""
    waiting = [
        (window.not_before_ms, position, window)
        for position, window in admissible.waiting.items()
        if only is None or position == only
    ]
    if waiting:
        return Action.DEFER, Reason.QUIET_HOURS, min(waiting)[2], 0, None
    excluded = admissible.excluded
    competed = [excluded[position].code for position in pool.positions if position in excluded]
    at_night = bool(competed) and len(competed) == len(pool.positions) and set(competed) == {Exclusion.QUIET_HOURS}
    return Action.SUPPRESS, Reason.QUIET_HOURS if at_night else choice.reason, None, 0, None


def _something(placement: Placement, situation: Situation, choice: Choice, trials: Assigned, window: SendWindow) -> End:
    """A message: sent, or held out; then everything is decided as if it were not."""
    position = choice.position or 0
    message = placement.candidates[position].message
    variant, probability = 0, None
    if len(message.variants) > 1:
        variant, probability = wording(placement, situation, choice, trials, message)
    if trials.arm is Arm.HOLDOUT:
        return Action.SUPPRESS, Reason.HOLDOUT, window, variant, probability
    return Action.SEND, choice.reason, window, variant, probability


def _exposures(placement: Placement, trials: Assigned, action: Action, chosen: int | None) -> tuple[Exposure, ...]:
    """The treatment would send something: the customer meets the trials. Experiments are only among the treated."""
    treated = action is Action.SEND and trials.arm is Arm.TREATMENT and chosen is not None
    return exposures(trials, placement.candidates[chosen].message if treated and chosen is not None else None)


def _ground(gate: Gate) -> str:
    """Where silence was taken for a permission, the answer says on what ground."""
    contact, personalisation = gate.contact, gate.personalisation
    grounds = []
    if contact is not None and contact.permitted and contact.state == "unknown":
        grounds.append(f"contact: {contact.basis}")
    if personalisation is not None and personalisation.permitted and personalisation.state == "unknown":
        grounds.append(f"personalisation: {personalisation.basis}")
    return "; ".join(grounds)


__all__ = ["Decision", "Exposure", "Funnel", "arbitrate"]
