"""A recorded decision for a person: names instead of indexes, and the reason for every candidate."""

from __future__ import annotations

from typing import Any

from app.core.decision.answer import describe, described, instant, window_of
from app.core.decision.arbitrate import Decision
from app.core.decision.gate import gate
from app.core.decision.ids import id_at, unpack_id
from app.core.decision.record import Record
from app.core.decision.scores import fixed_terms
from app.core.decision.situation import Situation
from policy.arbitration import powered
from policy.bundle import Bundle
from policy.codes import Reason
from policy.consent import Permission
from policy.control import NO_CONTROL

MASKED = "***"


def view(record: Record, place: int, aborted: bool) -> dict[str, Any]:
    """The decision at `place` of the record, whole: what was known, what was decided, why, and why not the others.

    Values of facts that are not of sensitivity `none` are masked; that they were read is shown.
    """
    decision = record.decisions[place]
    seen = record.situation
    answer = describe(decision, id_at(record.base, place), seen.timezone, record.bundle, explain=True)
    return {
        **answer,
        "would_have_been": _withheld(decision, seen),
        "variant_propensity": decision.variant_propensity,
        "exposures": _exposures(decision, record),
        "customer": record.asked.customer,
        "decided_at": instant(record.facts.now_ms),
        "aborted": aborted,
        "request": {
            "placements": [placement.id for placement in record.asked.placements],
            "context": record.asked.context,
            "budget_ms": record.asked.budget_ms,
            "gpc": record.asked.gpc,
        },
        "gate": _gate(decision, seen),
        "candidates": _candidates(decision),
        "facts": _facts(record, seen),
        "control": _control(record),
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


def _withheld(decision: Decision, seen: Situation) -> dict[str, Any] | None:
    """What a customer of the treatment would have got; None where nothing was held out."""
    if decision.reason is not Reason.HOLDOUT or decision.message is None:
        return None
    return {
        "message": described(decision.message, decision.variant),
        "send_window": window_of(decision, seen.timezone),
    }


def _exposures(decision: Decision, record: Record) -> list[dict[str, Any]]:
    """The trials that the customer met here, and whether for the first time, as far as the decision knew."""
    return [
        {"trial": trial, "arm": arm, "first": trial not in record.facts.exposures} for trial, arm in decision.exposures
    ]


def _candidates(decision: Decision) -> list[dict[str, Any]]:
    """Every scored candidate. Its `terms` are as they entered the score, which is their product: with the placement's
    exponents, and 1 where it switches one off."""
    fixed, none = fixed_terms(decision.placement), (1.0,) * len(decision.scored)
    lines = []
    for position, response, counted, weight, fatigue, score in zip(
        decision.scored,
        decision.responses,
        powered(decision.responses, decision.placement.terms.propensity),
        decision.weights or none,
        decision.fatigue or none,
        decision.scores,
        strict=True,
    ):
        terms = {"response": counted, "value": fixed[position].value, "lever": fixed[position].lever}
        lines.append(
            {
                "message": decision.placement.candidates[position].message.id,
                "response": response,
                "score": score,
                "admissible": position in decision.admissible,
                "terms": terms | {"context_weight": weight, "fatigue": fatigue, "score": score},
            }
        )
    return lines


def _control(record: Record) -> dict[str, Any] | None:
    """What operators had switched off, which budgets were spent, and what the chosen message's variants had earned;
    None where there was nothing of it. Who threw a switch, and why, is in the history of switches."""
    control = record.control
    if control == NO_CONTROL:
        return None
    return {
        "stale": control.stale,
        "switches": [
            {
                "kind": switch.kind.value,
                "name": switch.name,
                "until": None if switch.until_ms is None else instant(switch.until_ms),
            }
            for switch in control.switches
        ],
        "exhausted_budgets": [record.bundle.budgets[index].id for index in sorted(control.exhausted)],
        "earned": [
            {"message": message, "version": version, "variant": variant, "responses": responses, "sends": sends}
            for (message, version, variant), (responses, sends) in control.earned.items()
        ],
    }


def _facts(record: Record, seen: Situation) -> dict[str, Any]:
    facts = record.facts
    return {
        "known": facts.exists,
        "region": seen.region_code,
        "timezone": seen.timezone,
        "language": seen.language,
        "consent": [entry._asdict() for entry in facts.consent],
        "suppressions": [entry._asdict() for entry in facts.suppressions],
        "values": {name: _masked(record.bundle, name, value) for name, value in facts.values.items()},
        "as_of": {source: instant(at_ms) for source, at_ms in facts.as_of_ms.items()},
        "features_unread": facts.features_unread,
        "not_filled": sorted(facts.not_filled),
        "contacts": [
            {
                "decision_id": unpack_id(contact.decision),
                "placement": contact.kind.placement,
                "message": contact.kind.message,
                "not_before": instant(contact.not_before_ms),
                "not_after": instant(contact.not_after_ms),
                "confirmed": contact.confirmed,
                "engaged": contact.engaged,
            }
            for contact in facts.contacts
        ],
        "outcomes": [
            {
                "type": outcome.type,
                "message": None if outcome.kind is None else outcome.kind.message,
                "at": instant(outcome.at_ms),
            }
            for outcome in facts.outcomes
        ],
        "best_hours": facts.best_hours,
        "exposures": dict(facts.exposures),
        "merge_pending": facts.merge_pending,
        "general_version": facts.general_version,
        "ledger_version": facts.ledger_version,
    }


def _masked(bundle: Bundle, name: str, value: Any) -> Any:
    """Masked by sensitivity, and where the PII matrix says that a value is never shown."""
    handling = bundle.handling.get(name)
    hidden = bundle.fact_by_name[name].sensitivity != "none" or (handling is not None and handling.never_shown)
    return MASKED if hidden else value
