"""Mailgun's webhooks, of accounts, domains and subaccounts.

https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/securing-webhooks
https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/webhook-payloads

The proof stands in the body and does not cover it: hexadecimal HMAC-SHA256 of timestamp and token with the HTTP webhook
signing key (not the API key). Whoever has seen one could send anything with it, so that a token is taken once: with
other words it is a repeat, and the first ones hold. 406 ends Mailgun's repeats, other failures are repeated for eight
hours. Forms from before 2018 are not read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from types import MappingProxyType
from typing import Any

import orjson

from app.core.webhooks.bodies import object_of, text_of
from app.core.webhooks.decision_ids import ridden
from app.core.webhooks.provider import Aside, Delivery, Provider, Said, Statuses, Ticket, Trust, Unreadable, Untrusted
from app.core.webhooks.signatures import WRONG_SIGNATURE, check_recent, hmac_of, is_one_of, signed_time_s
from app.core.webhooks.suppressions import suppression_named
from app.core.webhooks.times import from_unix_s
from policy.codes import OutcomeType

#: Mailgun warns against a tight one, since events may wait; repeats come for eight hours.
TOLERANCE_S = 25 * 3600

TYPES: Mapping[str, OutcomeType] = MappingProxyType(
    {
        "accepted": OutcomeType.QUEUED,
        "delivered": OutcomeType.DELIVERED,
        "rejected": OutcomeType.DROPPED,
        "opened": OutcomeType.OPENED,
        "clicked": OutcomeType.CLICKED,
        "complained": OutcomeType.COMPLAINED,
        "unsubscribed": OutcomeType.UNSUBSCRIBED,
    }
)


def verify(delivery: Delivery, trust: Trust) -> None:
    """Raises Untrusted, and Unreadable where there is nothing that could hold a proof."""
    proof = object_of(delivery.body).get("signature")
    if not isinstance(proof, dict):
        raise Untrusted("there is no `signature` in the body")
    timestamp, token, signature, of_parent = (
        proof.get(name, "") for name in ("timestamp", "token", "signature", "parent-signature")
    )
    if isinstance(timestamp, int) and not isinstance(timestamp, bool):
        timestamp = str(timestamp)
    if not all(isinstance(each, str) for each in (timestamp, token, signature, of_parent)) or not token:
        raise Untrusted("the `signature` of the body is not whole")
    signed_s = signed_time_s(timestamp)
    expected = [hmac_of(secret, (timestamp + token).encode()).hex() for secret in trust.secrets]
    # Of a subaccount's event the second signature is made with the key of the account above it.
    proven = [is_one_of(each.lower(), expected) for each in (signature, of_parent) if each]
    if not any(proven):
        raise Untrusted(WRONG_SIGNATURE)
    check_recent(signed_s, delivery.now_s, TOLERANCE_S)


def ticket(delivery: Delivery) -> Ticket:
    """The token, and what was said with it."""
    body = object_of(delivery.body)
    said = orjson.dumps(body.get("event-data"), option=orjson.OPT_SORT_KEYS)
    return Ticket(body["signature"]["token"], sha256(said).digest())


def items(delivery: Delivery) -> Sequence[Any]:
    """Raises Unreadable."""
    event = object_of(delivery.body).get("event-data")
    if not isinstance(event, dict):
        raise Unreadable("there is no `event-data`: forms from before 2018 are not read")
    return (event,)


def read(item: Any) -> Sequence[Said]:
    """One event."""
    raw_type = item["event"]
    status = item.get("delivery-status") or {}
    client = item.get("client-info") or {}
    headers = (item.get("message") or {}).get("headers") or {}
    kind = _failed(item) if raw_type == "failed" else TYPES.get(raw_type, Aside.UNKNOWN)
    at_ms = from_unix_s(item["timestamp"]) if "timestamp" in item else None
    event_id = text_of(item, "id")
    # The id is unique within a day only.
    told_apart = None if event_id is None else f"{event_id}@{at_ms}"
    reason = text_of(status, "message") or text_of(status, "description") or text_of(item.get("reject") or {}, "reason")
    code = text_of(status, "enhanced-code") or text_of(status, "code")
    return (
        Said(
            type=kind,
            raw_type=f"{raw_type}/{item['severity']}" if raw_type == "failed" and "severity" in item else raw_type,
            at_ms=at_ms,
            recipient=text_of(item, "recipient") or text_of(headers, "to"),  # `rejected` has no `recipient`
            event_id=told_apart,
            message_id=text_of(headers, "message-id"),
            decision_id=ridden(item.get("user-variables"), item.get("tags"), item.get("url")),
            machine=client.get("bot") not in (None, "", False),
            user_agent=text_of(client, "user-agent"),
            url=text_of(item, "url"),
            reason=reason or text_of(item, "reason"),
            smtp_code=None if code in (None, "0") else code,
            scope="all" if kind is OutcomeType.UNSUBSCRIBED else None,
            suppressed=suppression_named(_listed(item)) if kind is OutcomeType.DROPPED else None,
        ),
    )


def _failed(item: Mapping[str, Any]) -> OutcomeType | Aside:
    """Permanent failures with a `suppress-…` reason were not tried: the address is on a list of Mailgun's."""
    if item.get("severity") == "temporary":
        return OutcomeType.DEFERRED
    if item.get("severity") != "permanent":
        return Aside.UNKNOWN
    return OutcomeType.DROPPED if _listed(item) is not None else OutcomeType.BOUNCED_HARD


def _listed(item: Mapping[str, Any]) -> str | None:
    """The list that the address is on, in our words for it."""
    reason = str(item.get("reason"))
    if not reason.startswith("suppress-"):
        return None
    return {"suppress-bounce": "hard bounce"}.get(reason, reason)


PROVIDER = Provider(
    name="mailgun",
    docs="https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/webhook-payloads",
    carries="`v:decision_id` (SMTP: `X-Mailgun-Variables`), or the tag `did:dec_…`",
    verify=verify,
    items=items,
    read=read,
    statuses=Statuses(unreadable=406),
    ticket=ticket,
)
