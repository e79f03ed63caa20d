"""What every scored candidate is worth: the terms of its score, as the placement counts them (`policy.arbitration`)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TypeAlias

from app.core.decision.eligible import Pool
from app.core.decision.limits import counted_contacts
from app.core.decision.situation import Situation
from policy.arbitration import Terms, bare_worths, in_force, powered, worths
from policy.bundle import Placement
from policy.fatigue import fatigue_factors

#: Scores of the pool's messages, in its order; then their context weights and their fatigue factors, which the bundle
#: alone does not tell; empty: all 1. A bare tuple, since it is taken apart at once.
Worths: TypeAlias = tuple[Sequence[float], Sequence[float], Sequence[float]]
UNSCORED: Worths = ((), (), ())


def worths_of(placement: Placement, situation: Situation, pool: Pool, responses: Sequence[float]) -> Worths:
    """`responses`: what the model predicts of each message of the pool."""
    values = _bare_values(placement)
    if values is not None and placement.fatigue is None and not pool.weights:
        if len(pool.positions) < len(values):
            values = tuple([values[position] for position in pool.positions])
        return bare_worths(powered(responses, placement.terms.propensity), values), (), ()
    terms = _terms(placement, pool)
    fatigue: Sequence[float] = ()
    if situation.facts.contacts and placement.fatigue is not None:
        fatigue = _fatigue(placement, situation, pool.positions)
    scores = worths(powered(responses, placement.terms.propensity), terms, fatigue)
    weights = _weights(placement, pool, terms) if pool.weights or _weighs(placement) else ()
    return scores, weights, fatigue


def _terms(placement: Placement, pool: Pool) -> Sequence[Terms]:
    """The terms in force of the pool's messages, in its order."""
    fixed, positions = fixed_terms(placement), pool.positions
    if not pool.weights or not placement.terms.context_weight:
        return fixed if len(positions) == len(fixed) else [fixed[position] for position in positions]
    terms = [fixed[position] for position in positions]
    for position, weight in pool.weights.items():
        at = positions.index(position)
        terms[at] = Terms(terms[at].value, terms[at].lever, weight)
    return terms


@lru_cache(maxsize=1024)
def _bare_values(placement: Placement) -> tuple[float, ...] | None:
    """The values, by position, where nothing else counts: no lever, no weight. Most placements are so."""
    terms = fixed_terms(placement)
    bare = all(each.lever == each.context_weight == 1.0 for each in terms)
    return tuple([each.value for each in terms]) if bare else None


@lru_cache(maxsize=1024)
def fixed_terms(placement: Placement) -> tuple[Terms, ...]:
    """By position; a weight that is a rule is asked for in each request and stands here as 1."""
    messages = [candidate.message for candidate in placement.candidates]
    return tuple(
        in_force(
            Terms(m.value, m.lever, m.context_weight if isinstance(m.context_weight, float) else 1.0), placement.terms
        )
        for m in messages
    )


def _weights(placement: Placement, pool: Pool, terms: Sequence[Terms]) -> Sequence[float]:
    """The context weights as they were counted; none where all are 1."""
    ruled = pool.weights and placement.terms.context_weight and any(each != 1.0 for each in pool.weights.values())
    if not ruled and not _weighs(placement):
        return ()
    weights = tuple([each.context_weight for each in terms])
    return weights if any(weight != 1.0 for weight in weights) else ()


@lru_cache(maxsize=1024)
def _weighs(placement: Placement) -> bool:
    """Whether a context weight is authored as another number than 1."""
    return any(terms.context_weight != 1.0 for terms in fixed_terms(placement))


def _fatigue(placement: Placement, situation: Situation, positions: Sequence[int]) -> Sequence[float]:
    """Fatigue factors; none where all are 1. Counted from the ledger as it was read: what the same request chose for
    more important placements is not in it, since a factor prefers and forbids nothing (limits count it)."""
    if placement.fatigue is None or not placement.terms.fatigue:
        return ()
    counted = counted_contacts(situation, situation.facts.contacts)
    candidates = [placement.candidates[position] for position in positions]
    factors = tuple(fatigue_factors(placement.fatigue, counted, situation.now_ms, candidates))
    return factors if any(factor != 1.0 for factor in factors) else ()
