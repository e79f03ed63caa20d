"""Postmark's webhooks: one object, whose `RecordType` says which.

https://postmarkapp.com/developer/webhooks/webhooks-overview and the pages of bounce, delivery, spam complaint, open,
click and subscription change below it. Types of bounces:
https://postmarkapp.com/developer/api/bounce-api#bounce-types

Nothing is signed: HTTP Basic in the address, or an `Authorization: Bearer …` header of the webhook's own. **403 makes
Postmark stop for good.** Only 5xx, 408, 429 and timeouts are repeated, six times in about 70 minutes; any other 4xx
loses the delivery (`ActiveCampaign/postmark-skills`, postmark-webhooks). It is answered 401 all the same, as is whoever
proves nothing: credentials are changed without any, since the server takes old and new ones (docs/webhooks.md), and 429
would have Postmark come again for an hour with what will never be proven. Nor would a repeat be any more readable.

`X-PM-Webhook-Trace-Id` stays the same over repeats, but is only there "when available", and each of up to ten webhooks
has its own for one event. What an event says of itself is the same in all of them, so repeats are known by that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from app.core.webhooks.bodies import object_of, text_of
from app.core.webhooks.credentials import check_credentials
from app.core.webhooks.decision_ids import ridden
from app.core.webhooks.provider import Aside, Delivery, Provider, Said, Statuses
from app.core.webhooks.smtp import smtp_code
from app.core.webhooks.times import from_iso
from policy.codes import OutcomeType

#: AutoResponder, AddressChange and ChallengeVerification are answers of people and no bounces.
BOUNCES: Mapping[str, OutcomeType | Aside] = MappingProxyType(
    {
        "HardBounce": OutcomeType.BOUNCED_HARD,
        "BadEmailAddress": OutcomeType.BOUNCED_HARD,
        "SoftBounce": OutcomeType.BOUNCED_SOFT,
        "Unknown": OutcomeType.BOUNCED_SOFT,
        "VirusNotification": OutcomeType.BOUNCED_SOFT,
        "Transient": OutcomeType.DEFERRED,
        "DnsError": OutcomeType.DEFERRED,
        "ManuallyDeactivated": OutcomeType.DROPPED,
        "Blocked": OutcomeType.DROPPED,
        "Unconfirmed": OutcomeType.DROPPED,
        "SMTPApiError": OutcomeType.DROPPED,
        "TemplateRenderingFailed": OutcomeType.DROPPED,
        "DMARCPolicy": OutcomeType.DROPPED,
        "SpamNotification": OutcomeType.COMPLAINED,
        "SpamComplaint": OutcomeType.COMPLAINED,
        "Unsubscribe": OutcomeType.UNSUBSCRIBED,
        "Subscribe": Aside.IGNORED,
        "AutoResponder": Aside.IGNORED,
        "AddressChange": Aside.IGNORED,
        "ChallengeVerification": Aside.IGNORED,
        "OpenRelayTest": Aside.IGNORED,
        "InboundError": Aside.IGNORED,
    }
)
#: A change of subscription comes for every suppression, also beside the bounce or the complaint that made it. What is
#: known of a contact is a set: said twice, it is a bounce once.
CHANGES: Mapping[str, OutcomeType] = MappingProxyType(
    {
        "HardBounce": OutcomeType.BOUNCED_HARD,
        "SpamComplaint": OutcomeType.COMPLAINED,
        "ManualSuppression": OutcomeType.UNSUBSCRIBED,
    }
)


def items(delivery: Delivery) -> Sequence[Any]:
    """Raises Unreadable."""
    return (object_of(delivery.body),)


def read(item: Any) -> Sequence[Said]:
    """One record."""
    raw_type = item.get("RecordType")
    if raw_type is None:  # inbound mail has none
        return (Said(Aside.IGNORED if "FromFull" in item else Aside.UNKNOWN, "inbound" if "FromFull" in item else ""),)
    record = RECORDS.get(raw_type)
    return (Said(Aside.UNKNOWN, raw_type) if record is None else record(item),)


def _common(item: Mapping[str, Any], kind: OutcomeType | Aside, raw_type: str, at: str, **more: Any) -> Said:
    return Said(
        type=kind,
        raw_type=raw_type,
        at_ms=from_iso(item[at]) if item.get(at) else None,
        recipient=text_of(item, "Recipient") or text_of(item, "Email"),
        message_id=text_of(item, "MessageID"),
        decision_id=ridden(item.get("Metadata"), item.get("Tag"), item.get("OriginalLink")),
        **more,
    )


def _delivery(item: Mapping[str, Any]) -> Said:
    details = text_of(item, "Details")
    return _common(item, OutcomeType.DELIVERED, "Delivery", "DeliveredAt", reason=details, smtp_code=smtp_code(details))


def _bounce(item: Mapping[str, Any]) -> Said:
    kind = item.get("Type", "SpamComplaint" if item["RecordType"] == "SpamComplaint" else None)
    words = text_of(item, "Details") or text_of(item, "Description")
    return _common(
        item,
        BOUNCES.get(str(kind), Aside.UNKNOWN),
        f"{item['RecordType']}/{kind}",
        "BouncedAt",
        event_id=text_of(item, "ID"),
        reason=words,
        smtp_code=smtp_code(words),
        scope=text_of(item, "MessageStream") if kind == "Unsubscribe" else None,
    )


def _open(item: Mapping[str, Any]) -> Said:
    return _common(item, OutcomeType.OPENED, "Open", "ReceivedAt", user_agent=text_of(item, "UserAgent"))


def _click(item: Mapping[str, Any]) -> Said:
    return _common(
        item,
        OutcomeType.CLICKED,
        "Click",
        "ReceivedAt",
        user_agent=text_of(item, "UserAgent"),
        url=text_of(item, "OriginalLink"),
    )


def _subscription(item: Mapping[str, Any]) -> Said:
    """Of one message stream. A reason that is not known stops as well: closed."""
    why = text_of(item, "SuppressionReason")
    kind = CHANGES.get(why or "", OutcomeType.UNSUBSCRIBED) if item["SuppressSending"] else OutcomeType.RESUBSCRIBED
    scoped = kind in (OutcomeType.UNSUBSCRIBED, OutcomeType.RESUBSCRIBED)
    return _common(
        item,
        kind,
        f"SubscriptionChange/{why}" if why else "SubscriptionChange",
        "ChangedAt",
        scope=text_of(item, "MessageStream") if scoped else None,
    )


RECORDS: Mapping[str, Callable[[Mapping[str, Any]], Said]] = MappingProxyType(
    {
        "Delivery": _delivery,
        "Bounce": _bounce,
        "SpamComplaint": _bounce,
        "Open": _open,
        "Click": _click,
        "SubscriptionChange": _subscription,
    }
)

PROVIDER = Provider(
    name="postmark",
    docs="https://postmarkapp.com/developer/webhooks/webhooks-overview",
    carries='`Metadata`: `{"decision_id": "dec_…"}`',
    verify=check_credentials,
    items=items,
    read=read,
    statuses=Statuses(challenge=True),
)
