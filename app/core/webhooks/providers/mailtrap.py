"""Mailtrap webhooks: https://docs.mailtrap.io/email-api-smtp/webhooks

Up to 500 events a delivery, as `{"events": […]}` or one a line: the sender chooses, and the content type does not tell.
Signed over the raw body (https://docs.mailtrap.io/email-api-smtp/advanced/webhooks#webhook-signature-verification);
older webhooks only have Basic credentials in their address. Anything but 200 is sent again forty times, five minutes
apart; then the webhook stands still until somebody resumes it by hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from app.core.events.json_text import parsed_lines
from app.core.webhooks.bodies import json_of, section_of, text_of
from app.core.webhooks.decision_ids import ridden
from app.core.webhooks.provider import Aside, Delivery, Provider, Said, Statuses, Trust, Unreadable
from app.core.webhooks.signatures import check_basic, check_hmac_hex, required
from app.core.webhooks.smtp import smtp_code
from app.core.webhooks.suppressions import suppression_named
from app.core.webhooks.times import from_unix_s
from policy.codes import OutcomeType

SIGNATURE = "mailtrap-signature"  # lower-case hex
#: https://docs.mailtrap.io/email-api-smtp/analytics/statuses-and-events
OUTCOMES = {
    "delivery": OutcomeType.DELIVERED,
    "open": OutcomeType.OPENED,
    "click": OutcomeType.CLICKED,
    "bounce": OutcomeType.BOUNCED_HARD,
    # Mailtrap tries ten more times after either of these. Where one of them succeeds, `delivery` says that it arrived
    # whatever was said before.
    "soft bounce": OutcomeType.BOUNCED_SOFT,
    "suspension": OutcomeType.DROPPED,
    "reject": OutcomeType.DROPPED,
    "spam": OutcomeType.COMPLAINED,
    "unsubscribe": OutcomeType.UNSUBSCRIBED,
}
#: What the account did, and mail that came in.
OTHERS = ("activity_log.", "inbound.")


def verify(delivery: Delivery, trust: Trust) -> None:
    """By its signature; by Basic credentials where the webhook is not signed."""
    if trust.basic and not (trust.secrets and SIGNATURE in delivery.headers):
        return check_basic(delivery.headers, trust.basic)
    return check_hmac_hex(required(delivery.headers, SIGNATURE), delivery.body, trust.secrets)


def items(delivery: Delivery) -> Sequence[Any]:
    """The events; a line that is no JSON stays in its place, where reading it fails."""
    if _is_lines(delivery.body):
        return parsed_lines(delivery.body).said  # type: ignore[no-any-return]  # a list, as of any lines
    found = json_of(delivery.body)
    if isinstance(found, dict) and "events" not in found:
        return [found]  # one line is JSON as well
    events = found.get("events") if isinstance(found, dict) else found
    if not isinstance(events, list):
        raise Unreadable('expected {"events": […]}, or one event a line')
    return events


def _is_lines(body: bytes) -> bool:
    """Whether the first of several lines is a document of its own: pretty-printed JSON breaks after a brace."""
    first, _, rest = body.lstrip().partition(b"\n")
    if not rest.strip():
        return False
    try:
        orjson.loads(first)
    except ValueError:
        return False
    return True


def read(item: Any) -> Sequence[Said]:
    """What an event says."""
    word = item["event"]
    kind = OUTCOMES.get(word.replace("_", " "), Aside.UNKNOWN)
    if word.startswith(OTHERS):
        kind = Aside.IGNORED
    if isinstance(kind, Aside):
        return (Said(kind, word),)
    answer, reason = text_of(item, "response"), text_of(item, "reason")
    code = text_of(item, "response_code") or smtp_code(answer)
    if kind is OutcomeType.BOUNCED_HARD and code is not None and code.startswith("4"):
        kind = OutcomeType.BOUNCED_SOFT  # the last of ten tries failed like the others: the server never said no
    return (
        Said(
            kind,
            word,
            at_ms=from_unix_s(item["timestamp"]),
            recipient=text_of(item, "email"),
            event_id=text_of(item, "event_id"),
            message_id=text_of(item, "message_id"),
            decision_id=ridden(section_of(item, "custom_variables"), text_of(item, "category"), text_of(item, "url")),
            user_agent=text_of(item, "user_agent"),
            url=text_of(item, "url"),
            reason=answer or reason,
            smtp_code=code,
            scope="all" if kind is OutcomeType.UNSUBSCRIBED else None,
            suppressed=suppression_named(reason) if kind is OutcomeType.DROPPED else None,
        ),
    )


PROVIDER = Provider(
    name="mailtrap",
    docs="https://docs.mailtrap.io/email-api-smtp/webhooks",
    carries="`custom_variables`: `decision_id`",
    verify=verify,
    items=items,
    read=read,
    statuses=Statuses(challenge=True),
)
