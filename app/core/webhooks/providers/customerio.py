"""Customer.io reporting webhooks: https://docs.customer.io/integrations/api/webhooks/

One event a delivery, known by the pair of `object_type` and `metric`. Signed over `v0:<time>:<raw body>`
(https://docs.customer.io/integrations/data-out/connections/webhooks/#securely-verify-requests). Answer within 4 s: a
delivery that fails holds up every later one for up to a week. So an event that cannot be read is told as rejected with
a 200, like everywhere, and a signed body that is no object is such an event.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from app.core.webhooks.bodies import json_of, section_of, text_of
from app.core.webhooks.decision_ids import ridden
from app.core.webhooks.provider import Aside, Delivery, Provider, Said, Trust
from app.core.webhooks.signatures import check_hmac_hex, check_recent, required, signed_time_s
from app.core.webhooks.smtp import refuses_address, smtp_code
from app.core.webhooks.suppressions import suppression_named
from app.core.webhooks.times import from_unix_s
from policy.codes import OutcomeType

SIGNATURE = "x-cio-signature"  # hex
TIMESTAMP = "x-cio-timestamp"  # Unix s
#: Seven days of retries, and one to spare. Whether each is signed anew is not said, and one that we refused would hold
#: up all others; a replay within that time is known by its event id.
TOLERANCE_S = 8 * 86_400
OUTCOMES = {
    ("email", "drafted"): OutcomeType.QUEUED,
    ("email", "attempted"): OutcomeType.QUEUED,  # could not be handed on, and is tried again
    ("email", "sent"): OutcomeType.SENT,
    ("email", "delivered"): OutcomeType.DELIVERED,
    ("email", "deferred"): OutcomeType.DEFERRED,
    ("email", "opened"): OutcomeType.OPENED,
    ("email", "clicked"): OutcomeType.CLICKED,
    ("email", "dropped"): OutcomeType.DROPPED,
    ("email", "failed"): OutcomeType.DROPPED,
    ("email", "undeliverable"): OutcomeType.DROPPED,
    ("email", "spammed"): OutcomeType.COMPLAINED,
    ("email", "unsubscribed"): OutcomeType.UNSUBSCRIBED,
    ("customer", "unsubscribed"): OutcomeType.UNSUBSCRIBED,
    ("customer", "subscribed"): OutcomeType.RESUBSCRIBED,
}
BOUNCED = ("email", "bounced")
#: Conversions are told by the shop's own events, and each would count twice; choices of topics are no consent for all.
OTHERS = frozenset({("email", "converted"), ("customer", "cio_subscription_preferences_changed")})
OURS = frozenset({"email", "customer"})  # of the object types: `sms`, `push`, `slack` and more are not e-mail
SUBSCRIBING = frozenset({OutcomeType.UNSUBSCRIBED, OutcomeType.RESUBSCRIBED})


def verify(delivery: Delivery, trust: Trust) -> None:
    """By its signature, which must not be older than retries last."""
    given, timestamp = required(delivery.headers, SIGNATURE), required(delivery.headers, TIMESTAMP)
    signed_s = signed_time_s(timestamp)
    check_hmac_hex(given, f"v0:{timestamp}:".encode() + delivery.body, trust.secrets)
    check_recent(signed_s, delivery.now_s, TOLERANCE_S)


def items(delivery: Delivery) -> Sequence[Any]:
    """The event."""
    return (json_of(delivery.body),)


def read(item: Any) -> Sequence[Said]:
    """What the event says."""
    pair = (item["object_type"], item["metric"])
    word = f"{pair[0]}_{pair[1]}"
    if pair[0] not in OURS or pair in OTHERS:
        return (Said(Aside.IGNORED, word),)
    data = section_of(item, "data")
    reason = text_of(data, "failure_message")
    kind = _kind(pair, reason)
    if kind is None:
        return (Said(Aside.UNKNOWN, word),)
    url = text_of(data, "href")
    return (
        Said(
            kind,
            word,
            at_ms=from_unix_s(item["timestamp"]),
            recipient=_recipient(data),
            event_id=text_of(item, "event_id"),
            message_id=text_of(data, "delivery_id"),
            decision_id=ridden(data, section_of(data, "trigger_event"), url),
            user_agent=text_of(data, "user_agent"),
            url=url,
            reason=reason,
            smtp_code=smtp_code(reason),
            scope="all" if kind in SUBSCRIBING else None,
            suppressed=suppression_named(reason) if kind is OutcomeType.DROPPED else None,
        ),
    )


def _kind(pair: tuple[str, str], reason: str | None) -> OutcomeType | None:
    if pair == BOUNCED:  # the event does not say whether it is for good; the server's code does
        return OutcomeType.BOUNCED_HARD if refuses_address(reason) else OutcomeType.BOUNCED_SOFT
    return OUTCOMES.get(pair)


def _recipient(data: Any) -> str | None:
    return (
        text_of(data, "recipient")
        or text_of(data, "email_address")
        or text_of(section_of(data, "identifiers"), "email")
    )


PROVIDER = Provider(
    name="customerio",
    docs="https://docs.customer.io/integrations/api/webhooks/",
    carries="links: `?did=<decision id>`",
    verify=verify,
    items=items,
    read=read,
)
