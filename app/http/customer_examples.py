"""Examples of customers for the API's documentation."""

from __future__ import annotations

from typing import Any

CUSTOMER: dict[str, Any] = {
    "attributes": {"recency": 3, "history": 142.4, "mens": 1},
    "region": "US",
    "timezone": "America/New_York",
    "language": "en",
    "consent": [
        {
            "purpose": "marketing",
            "channel": "email",
            "state": "granted",
            "source": "signup_form",
            "basis": "consent",
            "at": "2026-01-01T00:00:00Z",
            "expires_at": "2028-01-01T00:00:00Z",
        }
    ],
    "identities": {"user_id": "4711"},
    "preferences": {"frequency": "weekly", "best_hours": "18:00-21:00"},
    "why": "import of the shop's customers",
}
BULK = (
    '{"customer": "cus_8f3a", "attributes": {"recency": 3}, "region": "US"}\n'
    '{"customer": "cus_17c2", "attributes": {"recency": 11}, "region": "DE"}\n'
)
CONSENT = {"state": "denied", "source": "preference_centre", "basis": "consent"}
SUPPRESSION = {"reason": "manual", "source": "support_desk", "why": "ticket 4711"}
WRITTEN = {"customer": "cus_8f3a", "version": 4, "updated_at": "2026-11-24T08:00:00.000Z"}
TALLY = {
    "accepted": 1,
    "rejected": [{"line": 2, "code": "unknown_attribute", "detail": "the bundle does not declare `recensy`"}],
    "rejected_total": 1,
}
VIEW = {
    "customer": "cus_8f3a",
    "region": "US",
    "timezone": "America/New_York",
    "language": "en",
    "attributes": {
        "newbie": {"value": 1, "type": "int", "owner": "crm", "as_of": "2026-11-24T08:00:00.000Z"},
        "recency": {"value": "***", "type": "int", "owner": "crm", "as_of": "2026-11-24T08:00:00.000Z"},
    },
    "consent": [
        {
            "purpose": "marketing",
            "channel": "email",
            "state": "granted",
            "basis": "consent",
            "source": "signup_form",
            "at": "2026-01-01T00:00:00.000Z",
            "expires_at": "2028-01-01T00:00:00.000Z",
        }
    ],
    "suppressions": [],
    "preferences": {"best_hours": "18:00-21:00", "frequency": "weekly"},
    "outcomes": [
        {"type": "clicked", "at": "2026-11-20T18:04:11.000Z", "placement": "weekly_offer", "message": "mens_email"}
    ],
    "exposures": {"global_holdout/h1": "treatment"},
    "contacts": 2,
    "versions": {"general": 4, "ledger": 2},
    "updated_at": "2026-11-24T08:00:00.000Z",
    "features": {
        "cart_abandoned": {
            "value": "***",
            "type": "bool",
            "owner": "growth",
            "version": 1,
            "definition": "5f0c1b7e92ad4c38",
            "events": ["order_completed", "product_added"],
            "as_of": "2026-11-24T07:59:58.412Z",
            "stale": False,
        }
    },
}


HISTORY = {
    "customer": "cus_8f3a",
    "history": [
        {
            "what": "suppression",
            "scope": "email",
            "reason": "manual",
            "source": "support_desk",
            "at": "2026-11-24T08:00:00.000Z",
            "recorded_at": "2026-11-24T08:00:00.000Z",
            "who": "key_4f0c81d2a97e",
            "why": "ticket 4711",
        },
        {
            "what": "consent",
            "purpose": "marketing",
            "channel": "email",
            "state": "granted",
            "basis": "consent",
            "source": "signup_form",
            "at": "2026-01-01T00:00:00.000Z",
            "recorded_at": "2026-02-01T06:30:00.000Z",
            "who": "key_91b3e07c55aa",
            "why": "signup_form",
        },
    ],
}


def answer(description: str, example: dict[str, Any], status: int = 200) -> dict[int | str, dict[str, Any]]:
    """The `responses` entry of a route's own answer."""
    content = {"application/json": {"schema": {"type": "object"}, "example": example}}
    return {status: {"description": description, "content": content}}
