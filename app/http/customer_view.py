"""A customer as people may see it: every attribute of any sensitivity is masked, whatever its value; and one that the
bundle's PII matrix never lets leave is masked, whatever its sensitivity. What is over its time is not shown at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from app.core.keeping import NOT_HANDLED
from app.store.customer_reads import Known
from app.store.described import Profile
from app.store.history import Change, Consented, Merged, Moved, Suppressed, Unsuppressed, What
from policy.bundle import Bundle, Fact
from policy.facts import ConsentEntry, PastOutcome, Suppression

MASK = "***"


def masked_view(known: Known, bundle: Bundle) -> dict[str, Any]:
    """The answer of `GET /v1/customers/{customer}`."""
    profile = known.profile
    view = {
        "customer": known.customer,
        "region": profile.region,
        "timezone": profile.timezone,
        "language": profile.language,
        "attributes": {
            name: _attribute(bundle, bundle.fact_by_name.get(name), value, profile)
            for name, value in sorted(profile.attributes.items())
            if not _is_over(bundle, name, known)
        },
        "consent": [consent_view(entry) for entry in sorted(profile.consent, key=lambda each: each[:6])],
        "suppressions": [suppression_view(stop, source) for stop, source in sorted(profile.suppressions)],
        "preferences": dict(sorted(profile.preferences.items())),
        "outcomes": [outcome_view(each) for each in sorted(profile.outcomes, key=lambda each: -each.at_ms)],
        "exposures": dict(sorted(profile.exposures.items())),
        "contacts": known.contacts,
        "versions": {"general": profile.general_version, "ledger": profile.ledger_version},
        "updated_at": iso(profile.updated_ms) if profile.updated_ms else None,
    }
    return view | ({"merge_pending": True} if profile.merge_pending else {})


def history_view(customer: str, changes: Sequence[Change]) -> dict[str, Any]:
    """The answer of `GET /v1/customers/{customer}/history`."""
    return {
        "customer": customer,
        "history": [
            {
                **({} if change.customer == customer else {"customer": change.customer}),
                **_what(change.what, change.recorded_ms),
                "recorded_at": iso(change.recorded_ms),
                "who": change.who,
                "why": change.why or _source(change.what),
            }
            for change in changes
        ],
    }


def _attribute(bundle: Bundle, fact: Fact | None, value: object, profile: Profile) -> dict[str, Any]:
    """Masked unless the bundle in force says that the attribute is not personal; what it does not declare is."""
    if fact is None or fact.kind != "attribute":
        return {"value": MASK, "declared": False}
    hidden = fact.sensitivity != "none" or bundle.handling.get(fact.name, NOT_HANDLED).never_shown
    as_of = profile.as_of_ms.get(fact.owner)
    return {
        "value": MASK if hidden else value,
        "type": fact.type,
        "owner": fact.owner,
        "as_of": None if as_of is None else iso(as_of),
    }


def _is_over(bundle: Bundle, name: str, known: Known) -> bool:
    """Whether an attribute is to be deleted by now, as decisions see it."""
    delete_s = bundle.handling.get(name, NOT_HANDLED).delete_s
    fact = bundle.fact_by_name.get(name)
    if delete_s is None or fact is None:
        return False
    set_at_ms = known.profile.set_at_ms.get(name, known.profile.as_of_ms.get(fact.owner, 0))
    return known.now_ms - set_at_ms >= delete_s * 1000


def consent_view(entry: ConsentEntry) -> dict[str, Any]:
    view = {
        "purpose": entry.purpose,
        "channel": entry.channel,
        "state": entry.state,
        "basis": entry.basis,
        "source": entry.source,
        "at": iso(entry.at_ms),
    }
    return view if entry.expires_ms is None else view | {"expires_at": iso(entry.expires_ms)}


def suppression_view(stop: Suppression, source: str) -> dict[str, Any]:
    return {"scope": stop.scope, "reason": stop.reason, "source": source, "at": iso(stop.at_ms)}


def outcome_view(outcome: PastOutcome) -> dict[str, Any]:
    kind = outcome.kind
    message = {} if kind is None else {"placement": kind.placement, "message": kind.message}
    return {"type": outcome.type, "at": iso(outcome.at_ms), **message}


def _what(what: What, recorded_ms: int) -> dict[str, Any]:
    match what:
        case Consented(entry, superseded):
            return {"what": "consent", **consent_view(entry), **({"superseded": True} if superseded else {})}
        case Suppressed(stop, source):
            return {"what": "suppression", **suppression_view(stop, source)}
        case Unsuppressed(scope, reason):
            return {"what": "suppression_lifted", "scope": scope, "reason": reason, "at": iso(recorded_ms)}
        case Moved(region):
            return {"what": "region", "region": region, "at": iso(recorded_ms)}
        case Merged(customer):
            return {"what": "merge", "merged": customer, "at": iso(recorded_ms)}


def _source(what: What) -> str | None:
    """The reason where none was given: where it was said."""
    match what:
        case Consented(entry, _):
            return entry.source
        case Suppressed(_, source):
            return source
        case _:
            return None


def iso(unix_ms: int) -> str:
    """ISO 8601 in UTC, with milliseconds: `2026-01-01T00:00:00.000Z`."""
    return datetime.fromtimestamp(unix_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
