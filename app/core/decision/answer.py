"""Step `respond`: a decision as the caller sees it (DESIGN section 5).

The same decision gives the same bytes: nothing here reads a clock, and keys stand in one order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import orjson

from app.core.decision.arbitrate import Decision
from app.core.decision.exclusion import Excluded, say
from app.core.decision.ids import unpack_id
from app.core.decision.request import DecideRequest
from policy.bundle import Bundle, Message, Placement
from policy.codes import Exclusion, Reason, Rung

_OPTIONS = orjson.OPT_UTC_Z | orjson.OPT_OMIT_MICROSECONDS


def render(decision: Decision, decision_id: str, timezone: str | None, bundle: Bundle, explain: bool) -> bytes:
    """The JSON of one entry of `decisions`."""
    return orjson.dumps(describe(decision, decision_id, timezone, bundle, explain), option=_OPTIONS)


def envelope(
    request: DecideRequest,
    customer: str,
    answers: Sequence[bytes],
    release: str,
    digest: str,
    elapsed_ms: float,
) -> bytes:
    """The whole body around rendered decisions."""
    return orjson.dumps(
        {
            "request_id": request.request_id,
            "customer": customer,
            "decisions": [orjson.Fragment(answer) for answer in answers],
            "release": release,
            "bundle": digest,
            "budget_ms": request.budget_ms,
            "elapsed_ms": round(elapsed_ms, 3),
        }
    )


def describe(
    decision: Decision, decision_id: str, timezone: str | None, bundle: Bundle, explain: bool
) -> dict[str, Any]:
    """One entry of `decisions`, as plain data."""
    funnel = decision.funnel
    held_out = decision.reason is Reason.HOLDOUT  # what would have been is in the record, not in the answer
    answer: dict[str, Any] = {
        "decision_id": decision_id,
        "placement": decision.placement.id,
        "action": str(decision.action),  # three times as fast as `.value`
        "rung": str(decision.rung),
        "reason": reason_text(decision),
        "message": None if held_out else _message(decision),
        "send_window": None if held_out else window_of(decision, timezone),
        "score": decision.score,
        "propensity": decision.propensity,
        "arm": str(decision.arm),
        "degraded": list(decision.degraded),
        "funnel": {
            "candidates": funnel.candidates,
            "eligible": funnel.eligible,
            "scored": funnel.scored,
            "admissible": funnel.admissible,
        },
        "retryable": decision.retryable,
    }
    if decision.exposures:
        experiments = experiment_arms(decision)
        if experiments:
            answer["experiments"] = experiments
    if decision.detail and decision.reason is not Reason.SUPPRESSED:
        answer["detail"] = decision.detail
    if explain:
        answer["excluded"] = exclusions(decision, bundle)
    return answer


def reason_text(decision: Decision) -> str:
    """The reason; a suppression's own reason follows after a colon."""
    if decision.reason is Reason.SUPPRESSED:
        return f"{decision.reason}:{decision.detail}"
    return str(decision.reason)


def instant(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC)


def experiment_arms(decision: Decision) -> dict[str, str]:
    """Experiment → the arm, of those that mattered here: what differs by arm may also be the caller's to do."""
    ids = _experiments(decision.placement)
    return {ids[trial]: arm for trial, arm in decision.exposures if trial in ids}


@lru_cache(maxsize=1024)
def _experiments(placement: Placement) -> Mapping[str, str]:
    """Key → id of the placement's experiments; holdouts are told by `arm`."""
    return {experiment.key: experiment.id for experiment in placement.experiments}


def _message(decision: Decision) -> Mapping[str, Any] | None:
    message = decision.message
    return None if message is None else described(message, decision.variant)


@lru_cache(maxsize=4096)
def described(message: Message, position: int) -> Mapping[str, Any]:
    """What is sent is authored: described once, not for every answer. Not to be changed."""
    variant = message.variants[position]
    return {
        "id": message.id,
        "version": message.version,
        "variant": variant.id,
        "template": message.template,
        "subject": variant.subject,
        "params": dict(message.params),
    }


def window_of(decision: Decision, timezone: str | None) -> dict[str, Any] | None:
    if decision.window is None:
        return None
    return {
        "not_before": instant(decision.window.not_before_ms),
        "not_after": instant(decision.window.not_after_ms),
        "timezone": timezone,
        "basis": decision.window.basis,
    }


def exclusions(decision: Decision, bundle: Bundle) -> list[dict[str, Any]]:
    """Every candidate that was not chosen, in the bundle's order, with its code, a detail in words, and the decisions
    behind contacts that were counted against it."""
    excluded = decision.excluded or {}
    scores = dict(zip(decision.scored, decision.scores, strict=True))
    admissible = set(decision.admissible)
    lines = []
    for position, candidate in enumerate(decision.placement.candidates):
        if position in excluded:
            code, detail = excluded[position].code, say(excluded[position], bundle)
        elif position in admissible and position != decision.position:
            code, detail = Exclusion.OUTRANKED, _outranked(decision, position, scores)
        else:
            continue
        line = {"message": candidate.message.id, "code": code.value, "detail": detail}
        against = _counted(excluded[position]) if position in excluded else []
        lines.append({**line, "contacts": against} if against else line)
    return lines


def _counted(excluded: Excluded) -> list[str]:
    """Ids of the decisions whose contacts stood against a candidate."""
    match excluded.detail:
        case ("limit", _, contacts):
            return [unpack_id(packed) for packed in contacts]
        case ("exclusion", _, _, packed):
            return [unpack_id(packed)]
    return []


def _outranked(decision: Decision, position: int, scores: dict[int, float]) -> str:
    if decision.message is None:
        return ""
    if decision.reason is Reason.EXPLORED:
        return f"{decision.message.id} was tried instead"
    if decision.rung is not Rung.MODEL or decision.position is None:
        return f"by {decision.message.id}, which {decision.reason.value} put first"
    return f"by {decision.message.id}, by {scores[decision.position] - scores[position]:.6g}"
