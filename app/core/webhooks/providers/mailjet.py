"""Mailjet.

https://dev.mailjet.com/email/guides/webhooks/ (events, errors, grouping)
https://github.com/mailjet/api-documentation/blob/master/guides/_event-api.md

Unsigned: HTTP Basic in the address. An array where events are grouped (`Version` 2 of the callback), else a bare
object. Anything but 200 is sent again, every 30 seconds for a day.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from app.core.webhooks.bodies import one_or_many, text_of
from app.core.webhooks.credentials import check_credentials
from app.core.webhooks.decision_ids import ridden
from app.core.webhooks.provider import Aside, Delivery, Provider, Said, Statuses
from app.core.webhooks.smtp import smtp_code
from app.core.webhooks.times import from_unix_s
from policy.codes import OutcomeType, SuppressionReason

EVENTS: dict[str, OutcomeType] = {
    "sent": OutcomeType.DELIVERED,  # "the destination SMTP server has accepted the message"
    "bounce": OutcomeType.BOUNCED_SOFT,  # and as it says
    "blocked": OutcomeType.DROPPED,
    "open": OutcomeType.OPENED,
    "click": OutcomeType.CLICKED,
    "spam": OutcomeType.COMPLAINED,
    "unsub": OutcomeType.UNSUBSCRIBED,
}
FAILED = frozenset({OutcomeType.BOUNCED_SOFT, OutcomeType.DROPPED})
GREYLISTED = "greylisted"
#: "You tried to send an email to an address that recently (or repeatedly) bounced": of either kind.
PREBLOCKED = "preblocked"


def items(delivery: Delivery) -> Sequence[Any]:
    return one_or_many(delivery.body)


def read(item: Any) -> Sequence[Said]:
    kind = text_of(item, "event") or ""
    if kind not in EVENTS:
        return [Said(Aside.UNKNOWN, kind)]
    error = text_of(item, "error")
    hard = item.get("hard_bounce") is True
    outcome = _failure(EVENTS[kind], error, hard)
    return [
        Said(
            outcome,
            kind,
            at_ms=from_unix_s(item["time"]),
            recipient=text_of(item, "email"),
            # Beyond 2^53, and so a text from here on.
            message_id=text_of(item, "MessageID") or text_of(item, "mj_message_id"),
            decision_id=ridden(text_of(item, "CustomID"), item.get("Payload"), text_of(item, "url")),
            user_agent=text_of(item, "agent"),
            url=text_of(item, "url"),
            reason=": ".join(each for each in (error, text_of(item, "comment")) if each) or None,
            smtp_code=smtp_code(text_of(item, "comment")),
            scope=_scope(text_of(item, "mj_list_id")) if outcome is OutcomeType.UNSUBSCRIBED else None,
            suppressed=SuppressionReason.SOFT_BOUNCES if kind == "blocked" and error == PREBLOCKED else None,
        )
    ]


def _failure(outcome: OutcomeType, error: str | None, hard: bool) -> OutcomeType:
    """What a bounce or a block is. What is greylisted is tried again, however it is called."""
    if outcome not in FAILED:
        return outcome
    if error == GREYLISTED and not hard:
        return OutcomeType.DEFERRED
    return OutcomeType.BOUNCED_HARD if outcome is OutcomeType.BOUNCED_SOFT and hard else outcome


def _scope(list_id: str | None) -> str:
    """The list that was left; 0: the mail was of none."""
    return "all" if list_id in (None, "0") else list_id


PROVIDER = Provider(
    name="mailjet",
    docs="https://dev.mailjet.com/email/guides/webhooks/",
    carries="`CustomID`: the id alone; or `EventPayload`: JSON with `decision_id`",
    verify=check_credentials,
    items=items,
    read=read,
    statuses=Statuses(untrusted=401, challenge=True, unreadable=400, store_down=503),
)
