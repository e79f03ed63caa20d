"""Iterable system webhooks: https://support.iterable.com/hc/en-us/articles/208013936-System-Webhooks

One event a delivery, not signed. Of its own "Auth Type"s, "Basic" sends the token as it is, without the word Basic, and
"OAuth2" sends `OAuth2 <token>`: the whole `Authorization` header is compared with the configured one. There are no
event ids, and no event for what was delivered; "delivery is not guaranteed".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from app.core.webhooks.bodies import object_of, section_of, text_of
from app.core.webhooks.decision_ids import ridden
from app.core.webhooks.provider import Aside, Delivery, Provider, Said, Trust
from app.core.webhooks.signatures import check_basic, check_same, required
from app.core.webhooks.smtp import smtp_code
from app.core.webhooks.suppressions import suppression_named
from app.core.webhooks.times import from_iso
from policy.codes import OutcomeType

AUTHORIZATION = "authorization"
OUTCOMES = {
    "emailSend": OutcomeType.SENT,
    "emailSendSkip": OutcomeType.DROPPED,
    "emailOpen": OutcomeType.OPENED,
    "emailClick": OutcomeType.CLICKED,
    "emailComplaint": OutcomeType.COMPLAINED,
    "emailUnSubscribe": OutcomeType.UNSUBSCRIBED,
    "hostedUnsubscribeClick": OutcomeType.UNSUBSCRIBED,
    "emailSubscribe": OutcomeType.RESUBSCRIBED,
}
BOUNCE = "emailBounce"
HARD = "HardBounce"  # of `recipientState`
#: Of the names of events of other channels, and of journeys.
OTHERS = ("inApp", "push", "sms", "webPush", "embedded", "whatsApp", "journey")
SUBSCRIBING = frozenset({OutcomeType.UNSUBSCRIBED, OutcomeType.RESUBSCRIBED})
#: A reply by SMS ends SMS, and comes as `emailUnSubscribe`:
#: https://support.iterable.com/hc/en-us/articles/208508736-Unsubscribe-Sources
BY_SMS = "SMS"
#: Fields that list what is (un)subscribed; all of them empty is everything.
LISTS = (("channelIds", "channel"), ("messageTypeIds", "message_type"), ("emailListIds", "list"))


def verify(delivery: Delivery, trust: Trust) -> None:
    """By the whole header; by Basic credentials, which can be set as a header of one's own."""
    given = required(delivery.headers, AUTHORIZATION)
    if trust.basic and given[:6].lower() == "basic ":
        return check_basic(delivery.headers, trust.basic)
    return check_same(given, trust.secrets, "the `Authorization` header is not as configured: compare the whole of it")


def items(delivery: Delivery) -> Sequence[Any]:
    """The event."""
    return (object_of(delivery.body),)


def read(item: Any) -> Sequence[Said]:
    """What the event says."""
    word = item["eventName"]
    fields = section_of(item, "dataFields")
    if word == BOUNCE:
        kind = OutcomeType.BOUNCED_HARD if fields.get("recipientState") == HARD else OutcomeType.BOUNCED_SOFT
        return (_said(item, kind, word, fields),)
    if word in OUTCOMES:
        return (_said(item, OUTCOMES[word], word, fields),)
    return (Said(Aside.IGNORED if word.startswith(OTHERS) else Aside.UNKNOWN, word),)


def _said(item: Any, kind: OutcomeType, word: str, fields: Any) -> Said:
    url = text_of(fields, "linkUrl") or text_of(fields, "url")
    reason = text_of(fields, "reason") or text_of(fields, "bounceMessage") or text_of(fields, "unsubSource")
    return Said(
        kind,
        word,
        at_ms=from_iso(fields["createdAt"]),
        recipient=text_of(item, "email") or text_of(fields, "email"),
        message_id=text_of(fields, "messageId"),
        decision_id=ridden(fields, section_of(fields, "dataFields"), fields.get("transactionalData"), url),
        machine=_is_machine(fields),
        user_agent=text_of(fields, "userAgent"),
        url=url if kind is OutcomeType.CLICKED else None,
        reason=reason,
        smtp_code=smtp_code(reason),
        scope=_scope(fields) if kind in SUBSCRIBING else None,
        channel="sms" if fields.get("unsubSource") == BY_SMS else "email",
        suppressed=suppression_named(reason) if kind is OutcomeType.DROPPED else None,
    )


def _is_machine(fields: Any) -> bool:
    """Iterable's own judgement, or a proxy that fetched the images: it may do so long before anybody looks."""
    return fields.get("isBot") in (True, "true") or bool(text_of(fields, "proxySource"))


def _scope(fields: Any) -> str:
    """What was (un)subscribed."""
    listed = [
        f"{name}:{each}" for field, name in LISTS for each in (fields.get(field) or ()) if isinstance(each, int | str)
    ]
    return ",".join(listed) or "all"


PROVIDER = Provider(
    name="iterable",
    docs="https://support.iterable.com/hc/en-us/articles/208013936-System-Webhooks",
    carries="`dataFields` of the send: `decision_id`; links: `?did=<decision id>`",
    verify=verify,
    items=items,
    read=read,
)
