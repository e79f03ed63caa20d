"""A customer as people may see it: every attribute of any sensitivity is masked, whatever its value."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from app.store.profile import Profile
from policy.bundle import Bundle, Fact

MASK = "***"


def masked_view(customer: str, profile: Profile, contacts: int, bundle: Bundle) -> dict[str, Any]:
    """The answer of `GET /v1/customers/{customer}`."""
    return {
        "customer": customer,
        "region": profile.region,
        "timezone": profile.timezone,
        "language": profile.language,
        "attributes": {
            name: _attribute(bundle.fact_by_name.get(name), value, profile.as_of_ms)
            for name, value in sorted(profile.attributes.items())
        },
        "consent": [
            {
                "purpose": entry.purpose,
                "channel": entry.channel,
                "state": entry.state,
                "basis": entry.basis,
                "source": entry.source,
                "at": iso(entry.at_ms),
            }
            for entry in sorted(profile.consent)
        ],
        "suppressions": [
            {"scope": stop.scope, "reason": stop.reason, "source": source, "at": iso(stop.at_ms)}
            for stop, source in sorted(profile.suppressions)
        ],
        "preferences": dict(sorted(profile.preferences.items())),
        "contacts": contacts,
        "versions": {"general": profile.general_version, "ledger": profile.ledger_version},
        "updated_at": iso(profile.updated_ms),
    }


def _attribute(fact: Fact | None, value: object, as_of_ms: Mapping[str, int]) -> dict[str, Any]:
    """Masked unless the bundle in force says that the attribute is not personal; what it does not declare is."""
    if fact is None or fact.kind != "attribute":
        return {"value": MASK, "declared": False}
    as_of = as_of_ms.get(fact.owner)
    return {
        "value": value if fact.sensitivity == "none" else MASK,
        "type": fact.type,
        "owner": fact.owner,
        "as_of": None if as_of is None else iso(as_of),
    }


def iso(unix_ms: int) -> str:
    """ISO 8601 in UTC, with milliseconds: `2026-01-01T00:00:00.000Z`."""
    return datetime.fromtimestamp(unix_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
