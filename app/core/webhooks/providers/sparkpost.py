"""SparkPost (Bird).

https://developers.sparkpost.com/api/webhooks/ (delivery of batches: 200 exactly, within ten seconds)
https://support.sparkpost.com/docs/deliverability/bounce-classification-codes

Unsigned: HTTP Basic, a bearer token (of OAuth 2.0, if whoever issues it always issues the same one), or the deprecated
`X-MessageSystems-Webhook-Token`. Events come as `[{"msys": {"<class>_event": {…}}}]`; the class is not looked at, since
the type says all. `[{"msys": {}}]` is a ping.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

from app.core.webhooks.bodies import list_of, text_of
from app.core.webhooks.credentials import check_credentials
from app.core.webhooks.decision_ids import ridden
from app.core.webhooks.provider import Aside, Delivery, Provider, Said, Statuses, Trust
from app.core.webhooks.signatures import check_same, required
from app.core.webhooks.smtp import smtp_code
from app.core.webhooks.times import from_iso, from_unix_s
from policy.codes import OutcomeType

BOUNCES = frozenset({"bounce", "out_of_band"})
EVENTS: dict[str, OutcomeType | Aside] = {
    "injection": OutcomeType.QUEUED,  # SparkPost has it; that it went out, `delivery` says
    "delivery": OutcomeType.DELIVERED,
    "delay": OutcomeType.DEFERRED,
    "bounce": OutcomeType.BOUNCED_SOFT,  # and as its class says
    "out_of_band": OutcomeType.BOUNCED_SOFT,  # accepted first, and refused later
    "policy_rejection": OutcomeType.DROPPED,
    "generation_failure": OutcomeType.DROPPED,
    "generation_rejection": OutcomeType.DROPPED,
    "open": OutcomeType.OPENED,
    "amp_open": OutcomeType.OPENED,
    # Told beside `open`, of the same look.
    "initial_open": Aside.IGNORED,
    "amp_initial_open": Aside.IGNORED,
    "click": OutcomeType.CLICKED,
    "amp_click": OutcomeType.CLICKED,
    "spam_complaint": OutcomeType.COMPLAINED,
    "list_unsubscribe": OutcomeType.UNSUBSCRIBED,
    "link_unsubscribe": OutcomeType.UNSUBSCRIBED,
    "sms_status": Aside.IGNORED,
    "relay_injection": Aside.IGNORED,
    "relay_rejection": Aside.IGNORED,
    "relay_delivery": Aside.IGNORED,
    "relay_tempfail": Aside.IGNORED,
    "relay_permfail": Aside.IGNORED,
    "ab_test_completed": Aside.IGNORED,
    "ab_test_cancelled": Aside.IGNORED,
    "success": Aside.IGNORED,  # of ingesting recipients
    "error": Aside.IGNORED,
}
#: Bounce classes; those that are not here (1 undetermined, 20–24, 40, 70, 100) are soft.
CLASSES: dict[str, OutcomeType | Aside] = {
    "10": OutcomeType.BOUNCED_HARD,  # invalid recipient
    "30": OutcomeType.BOUNCED_HARD,  # no such recipient
    "90": OutcomeType.BOUNCED_HARD,  # asks to be unsubscribed
    "25": OutcomeType.DROPPED,  # an administrator's rule
    **{str(each): OutcomeType.DROPPED for each in range(50, 55)},  # block lists, spam, policy
    "60": Aside.IGNORED,  # an automatic reply
    "80": Aside.IGNORED,  # asks to be subscribed
}
TOKEN_HEADER = "x-messagesystems-webhook-token"  # noqa: S105  # a header's name
PING = "ping"


def verify(delivery: Delivery, trust: Trust) -> None:
    if "authorization" not in delivery.headers and TOKEN_HEADER in delivery.headers:
        check_same(required(delivery.headers, TOKEN_HEADER), trust.secrets)
    else:
        check_credentials(delivery, trust)


def items(delivery: Delivery) -> Sequence[Any]:
    return list_of(delivery.body)


def read(item: Any) -> Sequence[Said]:
    wrapped = item["msys"]
    if not wrapped:
        return [Said(Aside.IGNORED, PING)]
    event = next(iter(wrapped.values()))
    kind = text_of(event, "type") or ""
    outcome = EVENTS.get(kind, Aside.UNKNOWN)
    if kind in BOUNCES:
        outcome = CLASSES.get(text_of(event, "bounce_class") or "", outcome)
    if isinstance(outcome, Aside):
        return [Said(outcome, kind, event_id=text_of(event, "event_id"))]
    recipient = text_of(event, "raw_rcpt_to") or text_of(event, "rcpt_to")
    answer = text_of(event, "raw_reason") or text_of(event, "reason")
    return [
        Said(
            outcome,
            kind,
            at_ms=_at_ms(text_of(event, "timestamp")),
            recipient=recipient,
            event_id=text_of(event, "event_id"),
            message_id=_message_id(event, recipient),
            decision_id=ridden(event.get("rcpt_meta"), event.get("rcpt_tags"), text_of(event, "target_link_url")),
            machine=_fetched_by_machine(event.get("user_agent_parsed")),
            user_agent=text_of(event, "user_agent"),
            url=text_of(event, "target_link_url"),
            reason=answer,
            smtp_code=text_of(event, "error_code") or smtp_code(answer),
            scope="all" if outcome is OutcomeType.UNSUBSCRIBED else None,
        )
    ]


def _at_ms(said: str | None) -> int | None:
    """Unix seconds as text; in some events ISO 8601."""
    if said is None:
        return None
    return from_unix_s(said) if said.isdecimal() else from_iso(said)


def _message_id(event: Mapping[str, Any], recipient: str | None) -> str | None:
    """A transmission may have many recipients, so that its id names a mail only together with one; in every event both
    are said, which `message_id` is not."""
    transmission = text_of(event, "transmission_id")
    if transmission is None or recipient is None:
        return text_of(event, "message_id")
    return f"{transmission}/{blake2b(recipient.strip().lower().encode(), digest_size=8).hexdigest()}"


def _fetched_by_machine(agent: Any) -> bool:
    if not isinstance(agent, dict):
        return False
    return any(agent.get(name) in (True, "true") for name in ("is_prefetched", "is_proxy"))


PROVIDER = Provider(
    name="sparkpost",
    docs="https://developers.sparkpost.com/api/webhooks/",
    carries="`metadata` of the recipient, as `decision_id`",
    verify=verify,
    items=items,
    read=read,
    statuses=Statuses(untrusted=401, challenge=True, unreadable=400, store_down=503),
)
