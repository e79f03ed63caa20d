"""Mailchimp Transactional (Mandrill).

https://mailchimp.com/developer/transactional/guides/track-respond-activity-webhooks/ (formats, signature)
https://mailchimp.com/developer/transactional/docs/webhooks/

A form whose field `mandrill_events` holds a JSON array, signed over the address it is posted to and the decoded
fields. The address must be the one that was entered at Mandrill, letter by letter, with query, credentials and the
slash at its end: behind a proxy, configure it. When an address is entered, Mandrill posts an empty batch that is signed
with the key `test-webhook`, since it tells the real key only afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from app.core.webhooks.bodies import list_of, text_of
from app.core.webhooks.decision_ids import ridden
from app.core.webhooks.forms import fields_of
from app.core.webhooks.provider import Aside, Delivery, Provider, Said, Statuses, Trust, Unreadable, Untrusted
from app.core.webhooks.signatures import check_basic, check_hmac_base64, required
from app.core.webhooks.smtp import smtp_code
from app.core.webhooks.times import from_unix_s
from policy.codes import OutcomeType, SuppressionReason

SIGNATURE = "x-mandrill-signature"
FIELD = "mandrill_events"
TEST_KEY = "test-webhook"
EVENTS_MAX = 5_000  # Mandrill posts 1,000 at most

EVENTS: dict[str, OutcomeType | Aside] = {
    "send": OutcomeType.SENT,
    "delivered": OutcomeType.DELIVERED,
    "deferral": OutcomeType.DEFERRED,
    "hard_bounce": OutcomeType.BOUNCED_HARD,
    "soft_bounce": OutcomeType.BOUNCED_SOFT,
    "reject": OutcomeType.DROPPED,
    "open": OutcomeType.OPENED,
    "click": OutcomeType.CLICKED,
    "spam": OutcomeType.COMPLAINED,
    "unsub": OutcomeType.UNSUBSCRIBED,
    "inbound": Aside.IGNORED,
}
#: Why Mandrill's list holds an address. `soft-bounce` runs out by itself and is no reason of ours.
LISTED = {
    "hard-bounce": SuppressionReason.HARD_BOUNCE,
    "spam": SuppressionReason.COMPLAINT,
    "unsub": SuppressionReason.UNSUBSCRIBED,
    "custom": SuppressionReason.MANUAL,
}
DENIED = frozenset({"blacklist", "denylist"})
ALLOWED = frozenset({"whitelist", "allowlist"})


def verify(delivery: Delivery, trust: Trust) -> None:
    """The signature holds; where only credentials are configured, those."""
    if not trust.secrets:
        check_basic(delivery.headers, trust.basic)
        return
    given = required(delivery.headers, SIGNATURE)
    try:
        fields = fields_of(delivery.body)
    except Unreadable as unreadable:
        raise Untrusted(str(unreadable)) from None
    signed = delivery.url + "".join(name + value for name, value in sorted(fields))
    secrets = trust.secrets
    if fields == [(FIELD, "[]")]:  # says nothing, and so may be signed with a key that everybody knows
        secrets = (*secrets, TEST_KEY)
    check_hmac_base64(given, signed.encode("utf-8", "surrogatepass"), secrets, "sha1")


def items(delivery: Delivery) -> Sequence[Any]:
    events = dict(fields_of(delivery.body)).get(FIELD)
    if events is None:
        raise Unreadable(f"expected a form with the field `{FIELD}`")
    found = list_of(events.encode("utf-8", "surrogatepass"))
    if len(found) > EVENTS_MAX:
        raise Unreadable(f"expected {EVENTS_MAX} events at most")
    return found


def read(item: Any) -> Sequence[Said]:
    if "event" not in item and "type" in item:
        return [_synchronised(item)]
    kind = text_of(item, "event") or ""
    outcome = EVENTS.get(kind, Aside.UNKNOWN)
    if isinstance(outcome, Aside):
        return [Said(outcome, kind)]
    # `msg.opens` and `msg.clicks` repeat the history of the mail: what happened now is the event alone.
    message = item["msg"]
    rejected = message.get("reject") if isinstance(message.get("reject"), dict) else {}
    answer = text_of(message, "diag") or _last_answer(message.get("smtp_events"))
    return [
        Said(
            outcome,
            kind,
            at_ms=from_unix_s(item["ts"]),
            recipient=text_of(message, "email"),
            message_id=text_of(item, "_id") or text_of(message, "_id"),
            decision_id=ridden(message.get("metadata"), message.get("tags"), text_of(item, "url")),
            machine=_is_robot(item.get("user_agent_parsed")),
            user_agent=text_of(item, "user_agent"),
            url=text_of(item, "url"),
            reason=answer or text_of(message, "bounce_description") or text_of(rejected, "reason"),
            smtp_code=smtp_code(answer),
            scope="all" if outcome is OutcomeType.UNSUBSCRIBED else None,
            suppressed=LISTED.get(text_of(rejected, "reason") or "") if outcome is OutcomeType.DROPPED else None,
        )
    ]


def _synchronised(item: Mapping[str, Any]) -> Said:
    """A change of Mandrill's lists. What it will not send to, we stop as well; nothing is lifted, since who took an
    address off that list is not said."""
    kind, action = text_of(item, "type") or "", text_of(item, "action") or ""
    raw_type = f"{kind}/{action}"
    if kind not in DENIED | ALLOWED:
        return Said(Aside.UNKNOWN, raw_type)
    entry = item.get("reject") or {}
    reason = text_of(entry, "reason")
    suppressed = LISTED.get(reason or "")
    if kind in ALLOWED or action == "remove" or entry.get("expired") is True or suppressed is None:
        return Said(Aside.IGNORED, raw_type)
    return Said(
        OutcomeType.DROPPED,
        raw_type,
        at_ms=from_unix_s(item["ts"]) if item.get("ts") is not None else None,
        recipient=text_of(entry, "email"),
        reason=reason,
        suppressed=suppressed,
    )


def _last_answer(events: Any) -> str | None:
    """What the mail server said last to a mail that is tried again."""
    return text_of(events[-1], "diag") if isinstance(events, list) and events else None


def _is_robot(agent: Any) -> bool:
    return isinstance(agent, dict) and str(agent.get("type")).lower() == "robot"


PROVIDER = Provider(
    name="mandrill",
    docs="https://mailchimp.com/developer/transactional/guides/track-respond-activity-webhooks/",
    carries="`metadata`, as `decision_id`",
    verify=verify,
    items=items,
    read=read,
    statuses=Statuses(untrusted=401, challenge=True, unreadable=400, store_down=503),
)
