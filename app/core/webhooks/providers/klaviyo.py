"""Klaviyo system webhooks: https://developers.klaviyo.com/en/docs/working_with_system_webhooks

Up to 1,000 events a delivery, each a topic and the document that Get Event answers with. The signature covers the raw
body and then the timestamp header, without anything between. Only for Advanced KDP customers and app partners; the
webhook action of flows is not signed, and belongs to the generic provider (docs/webhooks.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from email.utils import parsedate_to_datetime
from typing import Any

from app.core.webhooks.bodies import object_of, section_of, text_of
from app.core.webhooks.decision_ids import ridden
from app.core.webhooks.provider import Aside, Delivery, Provider, Said, Trust, Unreadable, Untrusted
from app.core.webhooks.signatures import check_hmac_hex, check_recent, required
from app.core.webhooks.smtp import refuses_address, smtp_code
from app.core.webhooks.suppressions import suppression_named
from app.core.webhooks.times import from_iso, from_unix_ms, from_unix_s
from policy.codes import OutcomeType

SIGNATURE = "klaviyo-signature"  # hex
TIMESTAMP = "klaviyo-timestamp"
WEBHOOK_ID = "klaviyo-webhook-id"
#: How long deliveries are tried again is not said. Deliveries were seen whose header calls a local time GMT, five hours
#: ahead of the time in the body, hence as much room in the other direction.
TOLERANCE_S = 86_400
PREFIX = "event:klaviyo."
#: Topics depend on the account's metrics; these are its own of e-mail.
OUTCOMES = {
    "received_email": OutcomeType.DELIVERED,
    "email_delivered": OutcomeType.DELIVERED,
    "opened_email": OutcomeType.OPENED,
    "clicked_email": OutcomeType.CLICKED,
    "dropped_email": OutcomeType.DROPPED,
    "marked_email_as_spam": OutcomeType.COMPLAINED,
    "unsubscribed_from_email_marketing": OutcomeType.UNSUBSCRIBED,
    "manually_suppressed_from_email_marketing": OutcomeType.UNSUBSCRIBED,
    "subscribed_to_email_marketing": OutcomeType.RESUBSCRIBED,
    "manually_unsuppressed_from_email_marketing": OutcomeType.RESUBSCRIBED,
}
BOUNCED = "bounced_email"
#: Parts of the names of Klaviyo's metrics that are not about an e-mail's fate.
OTHERS = ("_sms", "_push", "_review", "_rating", "updated_email_preferences")
SUBSCRIBING = frozenset({OutcomeType.UNSUBSCRIBED, OutcomeType.RESUBSCRIBED})
#: Properties of an event that say a machine did it: Apple's privacy proxy, and scanners of links.
MACHINES = ("Apple Privacy Open", "machine_open", "Machine Open", "Bot Click", "bot_click")
ADDRESSES = ("Recipient Email Address", "email_address", "Email", "$email")


def verify(delivery: Delivery, trust: Trust) -> None:
    """By its signature, body first."""
    given, timestamp = required(delivery.headers, SIGNATURE), required(delivery.headers, TIMESTAMP)
    check_hmac_hex(given, delivery.body + timestamp.encode(), trust.secrets)
    check_recent(_signed_s(timestamp), delivery.now_s, TOLERANCE_S, TOLERANCE_S)


def _signed_s(timestamp: str) -> float:
    """Klaviyo does not say how it writes the time: an HTTP date, ISO 8601 and Unix seconds are all taken."""
    for written in (from_unix_s, from_unix_ms, from_iso):
        try:
            return written(timestamp) / 1000
        except ValueError:
            continue
    try:
        return parsedate_to_datetime(timestamp).timestamp()
    except (ValueError, OverflowError):
        raise Untrusted(f"the `{TIMESTAMP}` header holds no time") from None


def items(delivery: Delivery) -> Sequence[Any]:
    """The events. A body of another webhook than the header names is not read: Klaviyo asks for that."""
    found = object_of(delivery.body)
    events, meta = found.get("data"), found.get("meta")
    if not isinstance(events, list):
        raise Unreadable('expected {"data": […], "meta": {…}}')
    named, said = delivery.headers.get(WEBHOOK_ID), meta.get("klaviyo_webhook_id") if isinstance(meta, dict) else None
    if named and said and named != said:
        raise Unreadable(f"the `{WEBHOOK_ID}` header names another webhook than the body")
    return events


def read(item: Any) -> Sequence[Said]:
    """What an event says."""
    topic = item["topic"]
    name = topic.removeprefix(PREFIX)
    if name == topic or any(part in name for part in OTHERS):
        return (Said(Aside.IGNORED, topic),)
    if name not in OUTCOMES and name != BOUNCED:
        return (Said(Aside.UNKNOWN, topic),)
    payload = section_of(item, "payload")
    event = section_of(payload, "data") or payload
    attributes = section_of(event, "attributes")
    return (_said(item, topic, name, event, attributes, _profile(payload)),)


def _said(item: Any, topic: str, name: str, event: Any, attributes: Any, profile: Any) -> Said:
    properties = section_of(attributes, "event_properties")
    reason = text_of(properties, "Bounce Reason") or text_of(properties, "Reason") or text_of(properties, "reason")
    kind = OUTCOMES.get(name) or _bounce(text_of(properties, "Bounce Type"), reason)
    url = text_of(properties, "URL")
    at = attributes.get("datetime")
    return Said(
        kind,
        topic,
        at_ms=from_iso(at) if at else from_unix_s(attributes["timestamp"]),
        recipient=next(filter(None, (text_of(properties, each) for each in ADDRESSES)), None)
        or text_of(section_of(profile, "attributes"), "email"),
        event_id=text_of(item, "external_id") or text_of(event, "id"),
        message_id=_message_id(properties, event),
        decision_id=ridden(properties, url),
        machine=any(properties.get(each) in (True, "true", "True") for each in MACHINES),
        user_agent=text_of(properties, "User Agent"),
        url=url,
        reason=reason,
        smtp_code=smtp_code(reason),
        scope="all" if kind in SUBSCRIBING else None,
        suppressed=suppression_named(reason) if kind is OutcomeType.DROPPED else None,
    )


def _bounce(kind: str | None, reason: str | None) -> OutcomeType:
    """Hard or soft stands in a property; where it does not, in the server's code."""
    if kind is not None:
        return OutcomeType.BOUNCED_HARD if kind.strip().lower().startswith("hard") else OutcomeType.BOUNCED_SOFT
    return OutcomeType.BOUNCED_HARD if refuses_address(reason) else OutcomeType.BOUNCED_SOFT


def _profile(payload: Any) -> dict[str, Any]:
    """The profile, where it is included; an empty one else."""
    included = payload.get("included")
    if not isinstance(included, list):
        return {}
    return next((each for each in included if isinstance(each, dict) and each.get("type") == "profile"), {})


def _message_id(properties: Any, event: Any) -> str | None:
    """`$message` is the same for all who got it: only with the profile it is one mail."""
    message = text_of(properties, "$message")
    relationships = section_of(event, "relationships")
    profile = text_of(section_of(section_of(relationships, "profile"), "data"), "id")
    return f"{message}/{profile}" if message and profile else None


PROVIDER = Provider(
    name="klaviyo",
    docs="https://developers.klaviyo.com/en/docs/working_with_system_webhooks",
    carries="links: `?did=<decision id>`",
    verify=verify,
    items=items,
    read=read,
)
