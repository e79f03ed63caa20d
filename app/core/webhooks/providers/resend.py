"""Resend's webhooks, which Svix sends.

https://resend.com/docs/dashboard/webhooks/verify-webhooks-requests
https://resend.com/docs/dashboard/webhooks/event-types

`svix-id` stays the same over repeats and over replays from the console, which sends successes again as well. With
several recipients in `to` an event does not say of which it speaks: send to one at a time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from app.core.webhooks.bodies import object_of, text_of
from app.core.webhooks.decision_ids import ridden
from app.core.webhooks.provider import Aside, Delivery, Provider, Said, Trust
from app.core.webhooks.smtp import smtp_code
from app.core.webhooks.standard import check_standard, message_id
from app.core.webhooks.suppressions import suppression_named
from app.core.webhooks.times import from_iso
from policy.codes import OutcomeType, SuppressionReason

TYPES: Mapping[str, OutcomeType] = MappingProxyType(
    {
        "email.scheduled": OutcomeType.QUEUED,
        "email.sent": OutcomeType.SENT,
        "email.delivered": OutcomeType.DELIVERED,
        "email.delivery_delayed": OutcomeType.DEFERRED,
        "email.failed": OutcomeType.DROPPED,
        "email.suppressed": OutcomeType.DROPPED,
        "email.opened": OutcomeType.OPENED,
        "email.clicked": OutcomeType.CLICKED,
        "email.complained": OutcomeType.COMPLAINED,
    }
)
#: Of these nothing is said of a mail that we sent.
OF_NO_MAIL = ("contact.", "domain.", "email.received")


def verify(delivery: Delivery, trust: Trust) -> None:
    """Raises Untrusted."""
    check_standard(delivery, trust.secrets)


def items(delivery: Delivery) -> Sequence[Any]:
    """The event, with the id of its delivery. Raises Unreadable."""
    return ((message_id(delivery), object_of(delivery.body)),)


def read(item: Any) -> Sequence[Said]:
    """One event."""
    event_id, event = item
    raw_type = event["type"]
    at_ms = from_iso(event["created_at"]) if event.get("created_at") else None
    data = event.get("data") or {}
    if raw_type == "contact.updated":
        return (_contact(event_id, data, at_ms),)
    if raw_type not in TYPES and raw_type != "email.bounced":
        aside = Aside.IGNORED if raw_type.startswith(OF_NO_MAIL) else Aside.UNKNOWN
        return (Said(aside, raw_type, at_ms, event_id=event_id),)
    bounce = data.get("bounce") or {}
    acted = data.get("click") or data.get("open") or {}
    reason = (
        text_of(bounce, "message")
        or text_of(data.get("failed") or {}, "reason")
        or text_of(data.get("suppressed") or {}, "message")
    )
    kind = _bounce(bounce) if raw_type == "email.bounced" else TYPES[raw_type]
    headers = data.get("headers")
    return tuple(
        Said(
            type=kind,
            raw_type=raw_type,
            at_ms=_moment(acted) or at_ms,
            recipient=recipient,
            event_id=event_id,
            message_id=text_of(data, "email_id"),
            decision_id=ridden(data.get("tags"), headers, acted.get("link")),
            user_agent=text_of(acted, "userAgent"),
            url=text_of(acted, "link"),
            reason=reason,
            smtp_code=smtp_code(_diagnosis(bounce)) or smtp_code(reason),
            suppressed=_listed(raw_type, reason) if kind is OutcomeType.DROPPED else None,
        )
        for recipient in _recipients(data)
    )


def _recipients(data: Mapping[str, Any]) -> Sequence[str | None]:
    """Whom it is about; of several nobody knows, and an event that stops somebody must not stop all: then nobody."""
    to = data.get("to")
    if isinstance(to, str):
        return (to,)
    return (to[0],) if isinstance(to, list) and len(to) == 1 and isinstance(to[0], str) else (None,)


def _bounce(bounce: Mapping[str, Any]) -> OutcomeType:
    """Older events have only a `message`. One that says so was not tried; what is documented as a permanent bounce of a
    listed address stays a bounce, as Resend calls it: both stop the address."""
    if "suppressed sending" in str(bounce.get("message", "")).lower():
        return OutcomeType.DROPPED
    return OutcomeType.BOUNCED_HARD if bounce.get("type") == "Permanent" else OutcomeType.BOUNCED_SOFT


def _listed(raw_type: str, reason: str | None) -> SuppressionReason | None:
    """Resend lists addresses that bounced for good, and those that complained."""
    if raw_type == "email.failed":
        return None
    return suppression_named(reason) or SuppressionReason.HARD_BOUNCE


def _diagnosis(bounce: Mapping[str, Any]) -> str | None:
    codes = bounce.get("diagnosticCode")
    return " ".join(map(str, codes)) if isinstance(codes, list) else codes


def _moment(acted: Mapping[str, Any]) -> int | None:
    return from_iso(acted["timestamp"]) if acted.get("timestamp") else None


def _contact(event_id: str, data: Mapping[str, Any], at_ms: int | None) -> Said:
    """A contact's choice. A change of anything else says `unsubscribed: false` as well, and so lifts nothing."""
    recipient = text_of(data, "email")
    if data.get("unsubscribed") is True:
        return Said(OutcomeType.UNSUBSCRIBED, "contact.updated", at_ms, recipient, event_id, scope="all")
    return Said(Aside.IGNORED, "contact.updated", at_ms, recipient, event_id)


PROVIDER = Provider(
    name="resend",
    docs="https://resend.com/docs/dashboard/webhooks/event-types",
    carries='`tags`: `[{"name": "decision_id", "value": "dec_…"}]`',
    verify=verify,
    items=items,
    read=read,
)
