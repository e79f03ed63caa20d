"""MailerSend webhooks: https://developers.mailersend.com/api/v1/account/webhooks.html

One event a delivery. Its `data` has two shapes: nested (`data.email.recipient.email`, `data.morph`), which older
webhooks send, and flat (`data.email` is the address, `data.meta`, `[]` where it is empty). The signature covers the raw
body (which escapes `/` as `\\/`) and no time, so that only the event's id tells a repeat. It must be answered within
3 s; a 4xx is final.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

from app.core.webhooks.bodies import object_of, section_of, text_of
from app.core.webhooks.decision_ids import ridden
from app.core.webhooks.provider import Aside, Delivery, Provider, Said, Trust, Unreadable, Untrusted
from app.core.webhooks.signatures import check_hmac_hex, required
from app.core.webhooks.smtp import smtp_code
from app.core.webhooks.suppressions import suppression_named
from app.core.webhooks.times import from_iso
from policy.codes import OutcomeType

SIGNATURE = "signature"  # lower-case hex; the whole name
PING = "webhook.test"
#: Printed in MailerSend's documentation (webhooks.html#security): the ping that comes before a webhook is saved is
#: signed with it, since the webhook has no secret yet. No secret: it proves nothing else.
PING_SECRET = "test_Am3L1GuOIc4blLUuHqAPxxwkZaJyEk8G"  # noqa: S105  # public: the vendor documents it
OUTCOMES = {
    "sent": OutcomeType.SENT,
    "delivered": OutcomeType.DELIVERED,
    "deferred": OutcomeType.DEFERRED,
    "soft_bounced": OutcomeType.BOUNCED_SOFT,
    "hard_bounced": OutcomeType.BOUNCED_HARD,
    "opened": OutcomeType.OPENED,
    "opened_unique": OutcomeType.OPENED,
    "clicked": OutcomeType.CLICKED,
    "clicked_unique": OutcomeType.CLICKED,
    "unsubscribed": OutcomeType.UNSUBSCRIBED,
    "spam_complaint": OutcomeType.COMPLAINED,
    "suppressed": OutcomeType.DROPPED,
    # MailerSend's own list holds the address for some days: no mail of ours was given up, and it comes off by itself.
    "on_hold_added": OutcomeType.DROPPED,
}
#: Of `activity.…`, `recipient.…` and everything else that is not about a mail's fate.
OTHERS = frozenset({"on_hold_removed", "survey_opened", "survey_submitted"})
FAMILIES = ("activity", "recipient")
#: The first open is told twice, as `opened` and `opened_unique`, each with an id of its own; clicks alike.
UNIQUE = "_unique"


def verify(delivery: Delivery, trust: Trust) -> None:
    """By its signature; the ping by the public one, which nothing else may be signed with."""
    given = required(delivery.headers, SIGNATURE)
    try:
        check_hmac_hex(given, delivery.body, trust.secrets)
    except Untrusted:
        if not _is_ping(delivery.body):
            raise
        check_hmac_hex(given, delivery.body, (PING_SECRET,))


def _is_ping(body: bytes) -> bool:
    # A search first: what is not signed with our secret is not parsed, except what may be a ping.
    if PING.encode() not in body or len(body) > 4_096:
        return False
    try:
        return object_of(body).get("type") == PING
    except Unreadable:
        return False


def items(delivery: Delivery) -> Sequence[Any]:
    """The event."""
    return (object_of(delivery.body),)


def read(item: Any) -> Sequence[Said]:
    """What the event says."""
    family, _, word = item["type"].partition(".")
    if family not in FAMILIES or word in OTHERS:
        return (Said(Aside.IGNORED, item["type"]),)
    kind = OUTCOMES.get(word)
    if kind is None:
        return (Said(Aside.UNKNOWN, item["type"]),)
    return (_said(kind, word, item, item["data"]),)


def _said(kind: OutcomeType, word: str, item: Any, data: Any) -> Said:
    nested = data.get("email")
    mail = nested if isinstance(nested, dict) else {}
    details = section_of(data, "morph") or section_of(data, "meta")
    email_id = text_of(data, "email_id") or text_of(mail, "id")
    message_id = text_of(data, "message_id") or text_of(section_of(mail, "message"), "id")
    reason = text_of(details, "readable_reason") or text_of(details, "reason") or text_of(data, "reason")
    url = text_of(details, "url") or text_of(data, "url")
    at_ms = from_iso(data.get("created_at") or item["created_at"])
    event_id = text_of(data, "id")
    if kind in (OutcomeType.OPENED, OutcomeType.CLICKED):
        event_id = _look_id(word, text_of(details, "id"), email_id or message_id, at_ms, url) or event_id
    return Said(
        kind,
        word,
        at_ms=at_ms,
        recipient=_recipient(data, mail),
        event_id=event_id,
        message_id=message_id,
        decision_id=ridden(data.get("tags"), mail.get("tags"), details, url),
        user_agent=text_of(details, "user_agent"),
        url=url,
        reason=reason,
        smtp_code=smtp_code(reason),
        scope="all" if kind is OutcomeType.UNSUBSCRIBED else None,
        suppressed=suppression_named(reason) if kind is OutcomeType.DROPPED else None,
    )


def _look_id(word: str, look: str | None, mail: str | None, at_ms: int, url: str | None) -> str | None:
    """By which an open or click and its `_unique` twin are one: the look's own id, else the mail and the second."""
    if look is not None:
        return look
    if mail is None:
        return None
    # A digest, since a link may hold an address, and event ids are shown.
    told = f"{mail}\x00{word.removesuffix(UNIQUE)}\x00{at_ms // 1000}\x00{url or ''}"
    return blake2b(told.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _recipient(data: Any, mail: Any) -> str | None:
    email = data.get("email")
    if isinstance(email, str):
        return email or None
    return text_of(section_of(mail, "recipient"), "email") or text_of(section_of(data, "recipient"), "email")


PROVIDER = Provider(
    name="mailersend",
    docs="https://developers.mailersend.com/api/v1/account/webhooks.html",
    carries="`tags`: `did:<decision id>`",
    verify=verify,
    items=items,
    read=read,
)
