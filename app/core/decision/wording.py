"""Which variant of the chosen message: by weight, by what was learnt of them, or by an experiment."""

from __future__ import annotations

from functools import lru_cache

from app.core.decision.arms import Assigned, forced_variant, variant_probabilities
from app.core.decision.choose import Choice
from app.core.decision.situation import Situation
from policy.arbitration import choose_variant, unit_draw, variant_shares
from policy.bundle import Message, Placement
from policy.codes import Arm
from policy.exploration import draw, probabilities_of_being_best


def wording(
    placement: Placement, situation: Situation, choice: Choice, trials: Assigned, message: Message
) -> tuple[int, float]:
    """The variant of a message that has several, and its probability once the message was chosen. The baseline knows
    neither experiments nor what was learnt."""
    stream = placement.index
    probabilities = _weight_shares(message)
    if choice.explores and placement.explore is not None and placement.explore.method == "thompson":
        probabilities = _learnt(placement, situation, message)
        variant = draw(probabilities, unit_draw(situation.seed, stream)).place
    else:
        variant = choose_variant(message.variants, situation.seed, stream)
    if not trials.taking or trials.arm is Arm.BASELINE:
        return variant, probabilities[variant]
    forced = forced_variant(trials.taking, message)
    variant = variant if forced is None else forced
    return variant, variant_probabilities(trials.taking, message, probabilities)[variant]


@lru_cache(maxsize=4096)
def _weight_shares(message: Message) -> tuple[float, ...]:
    return variant_shares(message.variants)


def _learnt(placement: Placement, situation: Situation, message: Message) -> tuple[float, ...]:
    """The probability that each variant is the best, after what all customers did so far. Of what nobody counted yet,
    only the prior is known: scores fail open."""
    explore, earned = placement.explore, situation.control.earned
    alpha, beta = (explore.prior_alpha, explore.prior_beta) if explore is not None else (1.0, 1.0)
    posteriors = []
    for variant in message.variants:
        responses, sends = earned.get((message.id, message.version, variant.id), (0, 0))
        # An outcome can be counted before its send is.
        posteriors.append((alpha + responses, beta + max(sends - responses, 0)))
    return probabilities_of_being_best(tuple(posteriors))
