"""Answers where a decision could not be made as it should: the lowest rung, with what was missing.

Fails closed: marketing is suppressed, and may be asked again. A transactional message may still go out as `generic`,
unless it is switched off, or something binds it that is counted from past contacts or over all customers: then nobody
knows whether there is room. Nothing is known of the customer here, so nothing personal can be in such an answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.core.decision.arbitrate import Decision, Funnel, arbitrate
from app.core.decision.eligible import eligible
from app.core.decision.gate import gate
from app.core.decision.limits import limits
from app.core.decision.score import NOT_SCORED
from app.core.decision.situation import Situation, situation
from policy.bundle import Bundle, Candidate, Placement
from policy.codes import Action, Degraded, Reason, Rung
from policy.control import NO_CONTROL, Control
from policy.facts import Facts


def undecided(placement: Placement, reason: Reason, *degraded: Degraded) -> Decision:
    """Suppress, and say that asking again may help."""
    return Decision(
        placement=placement,
        action=Action.SUPPRESS,
        rung=Rung.SUPPRESS,
        reason=reason,
        degraded=degraded,
        funnel=Funnel(candidates=len(placement.candidates)),
        retryable=True,
        excluded={},
    )


def unknown_situation(
    bundle: Bundle,
    context: Mapping[str, Any],
    now_ms: int,
    seed: int,
    customer: str = "",
    gpc: bool = False,
    control: Control = NO_CONTROL,
) -> Situation:
    """A customer of whom nothing could be read. What is switched off is known all the same."""
    nothing = Facts(now_ms=now_ms, exists=False, region=None, timezone=None, language=None)
    return situation(bundle, nothing, context, seed, customer, gpc, control)


def without_facts(placement: Placement, unknown: Situation, taken: Mapping[int, str]) -> Decision:
    """The decision where facts could not be read; `unknown` is the customer's `unknown_situation`."""
    if placement.klass == "transactional" and not _bound(placement.candidates[placement.default]):
        # Whatever the region makes of silence: nothing is known here, not even whether the customer objected.
        gated = gate(placement, unknown)._replace(personal=False, sensitive=False, personalisation=None)
        pool = eligible(placement, unknown, gated, taken)
        decision = arbitrate(placement, unknown, gated, pool, NOT_SCORED, limits(placement, unknown, pool, ()))
        if decision.action is Action.SEND:
            return decision._replace(degraded=(*decision.degraded, Degraded.FACTS_UNAVAILABLE))
    return undecided(placement, Reason.FACTS_UNAVAILABLE, Degraded.FACTS_UNAVAILABLE)


def _bound(candidate: Candidate) -> bool:
    return bool(candidate.limits or candidate.cooldowns or candidate.exclusions or candidate.budgets)
