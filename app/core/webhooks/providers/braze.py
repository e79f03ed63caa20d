"""Braze Currents, custom HTTP connector:
https://www.braze.com/docs/user_guide/data/distribution/braze_currents/setting_up_currents/custom_http_connector

`{"events": […]}`, a hundred by default, each at least once. Events:
https://www.braze.com/docs/user_guide/data/distribution/braze_currents/event_glossary/message_engagement_events

No signature, but a Bearer token. 401 and 403 both stop the connector until somebody mends it, and what 48 hours do not
mend is lost: 401, as everywhere. 5xx and 429 are tried again for 24 hours; 413 is split; 400 is split into single
events, of which those that get another 400 are dropped for good.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from app.core.webhooks.bodies import object_of, section_of, text_of
from app.core.webhooks.decision_ids import ridden
from app.core.webhooks.provider import Aside, Delivery, Provider, Said, Trust, Unreadable
from app.core.webhooks.signatures import check_bearer
from app.core.webhooks.smtp import smtp_code
from app.core.webhooks.suppressions import suppression_named
from app.core.webhooks.times import from_unix_s
from policy.codes import OutcomeType

PREFIX = "users.messages.email."
OUTCOMES = {
    "Send": OutcomeType.SENT,
    "Delivery": OutcomeType.DELIVERED,
    "Deferral": OutcomeType.DEFERRED,
    "Bounce": OutcomeType.BOUNCED_HARD,
    "SoftBounce": OutcomeType.BOUNCED_SOFT,
    "Abort": OutcomeType.DROPPED,
    "Open": OutcomeType.OPENED,
    "Click": OutcomeType.CLICKED,
    "MarkAsSpam": OutcomeType.COMPLAINED,
    # A click on the unsubscribe link: states that are changed by the API or the dashboard make no such event.
    "Unsubscribe": OutcomeType.UNSUBSCRIBED,
}
REASONS = ("bounce_reason", "abort_log", "abort_type")


def verify(delivery: Delivery, trust: Trust) -> None:
    """By its token."""
    check_bearer(delivery.headers, trust.secrets)


def items(delivery: Delivery) -> Sequence[Any]:
    """The events."""
    events = object_of(delivery.body).get("events")
    if not isinstance(events, list):
        raise Unreadable('expected {"events": […]}')
    return events


def read(item: Any) -> Sequence[Said]:
    """What an event says."""
    word = item["event_type"]
    name = word.removeprefix(PREFIX)
    if name == word:  # push, in-app, behaviour, canvas …
        return (Said(Aside.IGNORED, word),)
    kind = OUTCOMES.get(name)
    if kind is None:
        return (Said(Aside.UNKNOWN, word),)
    properties = section_of(item, "properties")
    if kind is OutcomeType.BOUNCED_HARD and _is_true(properties.get("is_drop")):
        kind = OutcomeType.DROPPED  # Braze's provider had it on its list, and did not try
    return (_said(item, kind, word, properties),)


def _said(item: Any, kind: OutcomeType, word: str, properties: Any) -> Said:
    user = section_of(item, "user")
    dispatch = text_of(properties, "dispatch_id")
    person = text_of(user, "user_id") or text_of(user, "external_user_id")
    url = text_of(properties, "url")
    reason = next(filter(None, (text_of(properties, each) for each in REASONS)), None)
    return Said(
        kind,
        word,
        at_ms=from_unix_s(item["time"]),
        recipient=text_of(properties, "email_address"),
        event_id=text_of(item, "id"),
        # A dispatch is one sending to everybody: only with the user it is one mail.
        message_id=f"{dispatch}/{person}" if dispatch and person else None,
        decision_id=ridden(properties.get("message_extras"), url),  # JSON text, and on `Send` only
        machine=_is_true(properties.get("machine_open")),
        user_agent=text_of(properties, "user_agent"),
        url=url,
        reason=reason,
        smtp_code=text_of(properties, "bounce_code") or smtp_code(reason),
        scope="all" if kind is OutcomeType.UNSUBSCRIBED else None,
        suppressed=suppression_named(reason) if kind is OutcomeType.DROPPED else None,
    )


def _is_true(said: Any) -> bool:
    """`true` is a text in `machine_open`, and Braze announces that it may come to name who opened (`Apple`): any text
    but these means yes."""
    return said is True or (isinstance(said, str) and said.strip().lower() not in ("", "false", "null", "none"))


PROVIDER = Provider(
    name="braze",
    docs="https://www.braze.com/docs/user_guide/data/distribution/braze_currents/setting_up_currents/"
    "custom_http_connector",
    carries="`{% message_extras :key decision_id :value … %}`, which `Send` tells; links: `?did=<decision id>`",
    verify=verify,
    items=items,
    read=read,
)
