"""A recorded decision for a person: names instead of indexes, and the reason for every candidate."""

from __future__ import annotations

from typing import Any

from app.core.decision.answer import describe, instant
from app.core.decision.arbitrate import Decision
from app.core.decision.gate import gate
from app.core.decision.ids import id_at, unpack_id
from app.core.decision.record import Record
from app.core.decision.situation import Situation, situation
from policy.bundle import Fact
from policy.consent import Permission

MASKED = "***"


def view(record: Record, place: int, aborted: bool) -> dict[str, Any]:
    """The decision at `place` of the record, whole: what was known, what was decided, why, and why not the others.

    Values of facts that are not of sensitivity `none` are masked; that they were read is shown.
    """
    decision = record.decisions[place]
    seen = situation(record.bundle, record.facts, record.asked.context, record.seed)
    described = describe(decision, id_at(record.base, place), seen.timezone, record.bundle, explain=True)
    return {
        **described,
        "customer": record.asked.customer,
        "decided_at": instant(record.facts.now_ms),
        "aborted": aborted,
        "request": {
            "placements": [placement.id for placement in record.asked.placements],
            "context": record.asked.context,
            "budget_ms": record.asked.budget_ms,
        },
        "gate": _gate(decision, seen),
        "candidates": _candidates(decision),
        "facts": _facts(record, seen),
        "seed": f"{record.seed:016x}",
        "bundle": record.bundle.digest,
        "release": record.release,
        "elapsed_ms": record.elapsed_us / 1000,
        "trace_id": record.asked.trace_id.hex() if record.asked.trace_id else None,
    }


def _gate(decision: Decision, seen: Situation) -> dict[str, Any]:
    gated = gate(decision.placement, seen)
    return {
        "contact": _permission(gated.contact),
        "personalisation": _permission(gated.personalisation),
        "personal_facts_read": gated.personal,
    }


def _permission(permission: Permission | None) -> dict[str, Any] | None:
    if permission is None:
        return None
    return {"permitted": permission.permitted, "state": permission.state, "basis": permission.basis or None}


def _candidates(decision: Decision) -> list[dict[str, Any]]:
    """The terms of every scored candidate."""
    return [
        {
            "message": decision.placement.candidates[position].message.id,
            "response": response,
            "score": score,
            "admissible": position in decision.admissible,
        }
        for position, response, score in zip(decision.scored, decision.responses, decision.scores, strict=True)
    ]


def _facts(record: Record, seen: Situation) -> dict[str, Any]:
    facts = record.facts
    return {
        "known": facts.exists,
        "region": seen.region_code,
        "timezone": seen.timezone,
        "language": seen.language,
        "consent": [entry._asdict() for entry in facts.consent],
        "suppressions": [entry._asdict() for entry in facts.suppressions],
        "values": {name: _masked(record.bundle.fact_by_name[name], value) for name, value in facts.values.items()},
        "contacts": [
            {
                "decision_id": unpack_id(contact.decision),
                "placement": contact.kind.placement,
                "message": contact.kind.message,
                "not_before": instant(contact.not_before_ms),
                "not_after": instant(contact.not_after_ms),
            }
            for contact in facts.contacts
        ],
        "general_version": facts.general_version,
        "ledger_version": facts.ledger_version,
    }


def _masked(fact: Fact, value: Any) -> Any:
    return value if fact.sensitivity == "none" else MASKED
