"""Amazon SES, through SNS.

https://docs.aws.amazon.com/ses/latest/dg/event-publishing-retrieving-sns-contents.html (`eventType`)
https://docs.aws.amazon.com/ses/latest/dg/notification-contents.html (`notificationType`)

SES tells twice where both kinds are on, under two ids of SNS: a repeat is known by `feedbackId` and recipient, and of
what has none by mail, type, recipient and SES's own time. One message speaks of one recipient or of several.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any

import orjson

from app.core.webhooks import sns
from app.core.webhooks.bodies import object_of, text_of
from app.core.webhooks.decision_ids import KEY, ridden
from app.core.webhooks.provider import Aside, Delivery, Provider, Said, Statuses, Trust, Untrusted
from app.core.webhooks.signatures import check_basic
from app.core.webhooks.smtp import smtp_code
from app.core.webhooks.times import from_iso
from policy.codes import OutcomeType, SuppressionReason

#: Types, with the name of the object that holds what is said of it and of the list of whom.
EVENTS: dict[str, tuple[str, str | None, OutcomeType]] = {
    "Send": ("send", None, OutcomeType.SENT),
    "Delivery": ("delivery", "recipients", OutcomeType.DELIVERED),
    "DeliveryDelay": ("deliveryDelay", "delayedRecipients", OutcomeType.DEFERRED),
    "Bounce": ("bounce", "bouncedRecipients", OutcomeType.BOUNCED_SOFT),
    "Complaint": ("complaint", "complainedRecipients", OutcomeType.COMPLAINED),
    "Reject": ("reject", None, OutcomeType.DROPPED),
    "Rendering Failure": ("failure", None, OutcomeType.DROPPED),
    "Open": ("open", None, OutcomeType.OPENED),
    "Click": ("click", None, OutcomeType.CLICKED),
}
SUBSCRIPTION = "Subscription"
RECEIVED = "Received"  # inbound mail
SNS_TYPE = "sns"
#: Who opened or clicked is not said where a mail has several recipients: nobody is credited with it.
OF_ONE = frozenset({OutcomeType.OPENED, OutcomeType.CLICKED})
#: Not tried, since a list of SES or of the account holds the address.
LISTED = frozenset({"Suppressed", "OnAccountSuppressionList"})
ON_LIST = "OnAccountSuppressionList"
TAGS_HEADER = "x-ses-message-tags"
DECISION_HEADERS = frozenset({KEY, "decision-id", "x-decision-id", "x-nextbest-decision-id"})


def verify(delivery: Delivery, trust: Trust) -> None:
    """A signed message of a topic on the list; what comes raw has no signature, and needs Basic credentials. Where
    credentials are sent and configured, they must hold as well: SNS sends them after a 401 that asks for them."""
    if sns.is_raw(delivery.headers):
        if not trust.basic:
            raise Untrusted("raw delivery has no signature: turn it off, or configure Basic credentials")
        check_basic(delivery.headers, trust.basic)
        return
    if trust.basic and "authorization" in delivery.headers:
        check_basic(delivery.headers, trust.basic)
    envelope = sns.envelope_of(delivery.body, delivery.headers)
    sns.check_envelope(envelope, delivery.certificate, trust.topics, delivery.now_s)


def certificate(delivery: Delivery) -> str | None:
    """Where the certificate of a message is that claims to be signed."""
    if sns.is_raw(delivery.headers):
        return None
    return sns.certificate_url(sns.envelope_of(delivery.body, delivery.headers))


def follow_up(delivery: Delivery, trust: Trust) -> str | None:
    """Where a subscription of a topic on the list is confirmed. A message that unsubscribes is only noted: whoever
    ended the subscription may have meant it."""
    if sns.is_raw(delivery.headers):
        return None
    envelope = sns.envelope_of(delivery.body, delivery.headers)
    return sns.confirmation_url(envelope) if envelope.topic in trust.topics else None


def items(delivery: Delivery) -> Sequence[Any]:
    """What SES says; of a message that is none of SES, its type in SNS's words."""
    found = object_of(delivery.body)
    if sns.is_raw(delivery.headers):
        return [found]
    if found.get("Type") != sns.NOTIFICATION:
        return [{SNS_TYPE: text_of(found, "Type")}]
    try:
        event = orjson.loads(str(found.get("Message")))
    except ValueError:
        event = None
    # "Successfully validated SNS topic for Amazon SES event publishing." is text.
    return [event if isinstance(event, dict) else {SNS_TYPE: "text"}]


def read(item: Any) -> Sequence[Said]:
    """What a message says, of each recipient that it names."""
    if SNS_TYPE in item:
        return [Said(Aside.IGNORED, item[SNS_TYPE])]
    kind = text_of(item, "eventType") or text_of(item, "notificationType") or ""
    if kind == SUBSCRIPTION:
        return list(_subscriptions(item))
    if kind not in EVENTS:
        return [Said(Aside.IGNORED if kind == RECEIVED else Aside.UNKNOWN, kind)]
    name, listed, outcome = EVENTS[kind]
    detail, mail = item.get(name) or {}, item["mail"]
    kind_of, suppressed = _judged(outcome, detail)
    whom = detail[listed] if listed else mail["destination"]
    if outcome in OF_ONE and len(whom) != 1:
        whom = [None]
    common = Said(
        kind_of,
        kind,
        at_ms=from_iso(detail.get("timestamp") or mail["timestamp"]),
        message_id=text_of(mail, "messageId"),
        decision_id=_decision(mail, detail),
        user_agent=text_of(detail, "userAgent") if outcome in OF_ONE else None,
        url=text_of(detail, "link"),
        suppressed=suppressed,
    )
    return [_of(each, common, detail) for each in whom]


def _judged(outcome: OutcomeType, detail: Mapping[str, Any]) -> tuple[OutcomeType | Aside, SuppressionReason | None]:
    """What a bounce or complaint is, of which SES has several. An undetermined bounce is a soft one."""
    if outcome is OutcomeType.BOUNCED_SOFT and detail.get("bounceType") == "Permanent":
        if detail.get("bounceSubType") in LISTED:
            return OutcomeType.DROPPED, SuppressionReason.HARD_BOUNCE
        return OutcomeType.BOUNCED_HARD, None
    if outcome is OutcomeType.COMPLAINED:
        if detail.get("complaintFeedbackType") == "not-spam":  # taken out of the spam folder
            return Aside.IGNORED, None
        if detail.get("complaintSubType") == ON_LIST:  # not a new one: the mail was not tried
            return OutcomeType.DROPPED, SuppressionReason.COMPLAINT
    return outcome, None


def _of(whom: Any, common: Said, detail: Mapping[str, Any]) -> Said:
    """What is said of one recipient: an address, or an object that holds it with the server's answer."""
    about = whom if isinstance(whom, dict) else {"emailAddress": whom}
    recipient = text_of(about, "emailAddress")
    answer = text_of(about, "diagnosticCode") or text_of(detail, "reason") or text_of(detail, "errorMessage")
    feedback = text_of(detail, "feedbackId")
    return common._replace(
        recipient=recipient,
        event_id=None if feedback is None or recipient is None else f"{feedback}/{_short(recipient)}",
        reason=answer or text_of(detail, "bounceSubType") or text_of(detail, "complaintFeedbackType"),
        smtp_code=text_of(about, "status") or smtp_code(answer),
    )


def _subscriptions(event: Mapping[str, Any]) -> Iterator[Said]:
    """Who unsubscribed from what, or subscribed again, by the preferences before and after. Where a mail has several
    recipients, none of them is written to: closed."""
    detail, mail = event["subscription"], event["mail"]
    new, old = detail.get("newTopicPreferences") or {}, detail.get("oldTopicPreferences") or {}
    changes = list(_changes(new, old))
    common = Said(
        Aside.IGNORED,
        SUBSCRIPTION,
        at_ms=from_iso(detail.get("timestamp") or mail["timestamp"]),
        message_id=text_of(mail, "messageId"),
        decision_id=_decision(mail, detail),
        reason=text_of(detail, "source"),
    )
    if not changes:
        yield common
    for recipient in mail["destination"]:
        if not isinstance(recipient, str):
            raise TypeError("a destination is no address")
        for outcome, scope in changes:
            yield common._replace(type=outcome, scope=scope, recipient=recipient)


def _changes(new: Mapping[str, Any], old: Mapping[str, Any]) -> Iterator[tuple[OutcomeType, str]]:
    if new.get("unsubscribeAll") is True:
        yield OutcomeType.UNSUBSCRIBED, "all"
        return
    if old.get("unsubscribeAll") is True:
        yield OutcomeType.RESUBSCRIBED, "all"
    before = _topics(old)
    for topic, status in _topics(new).items():
        if status == "OptOut" and before.get(topic) != "OptOut":
            yield OutcomeType.UNSUBSCRIBED, topic
        elif status == "OptIn" and before.get(topic) == "OptOut":
            yield OutcomeType.RESUBSCRIBED, topic


def _topics(preferences: Mapping[str, Any]) -> dict[str, str]:
    return {each["topicName"]: each["subscriptionStatus"] for each in preferences.get("topicSubscriptionStatus") or []}


def _decision(mail: Mapping[str, Any], detail: Mapping[str, Any]) -> str | None:
    """From the mail's tags; else from a header, which is there if SES was told to include them. Tags of the API
    replace those of the header."""
    headers = mail.get("headers") or []
    named = {str(each.get("name")).lower(): each.get("value") for each in headers}
    tags = dict(each.strip().split("=", 1) for each in str(named.get(TAGS_HEADER, "")).split(",") if "=" in each)
    own = next((named[name] for name in named if name in DECISION_HEADERS), None)
    return ridden(mail.get("tags"), tags, own, text_of(detail, "link"))


def _short(recipient: str) -> str:
    """Parts what one `feedbackId` says of several recipients, without naming them."""
    return blake2b(recipient.strip().lower().encode(), digest_size=8).hexdigest()


PROVIDER = Provider(
    name="ses",
    docs="https://docs.aws.amazon.com/ses/latest/dg/event-publishing-retrieving-sns.html",
    carries="a message tag `decision_id` (EmailTags, or the header `X-SES-MESSAGE-TAGS`)",
    verify=verify,
    items=items,
    read=read,
    # Any 4xx is final for SNS but the 401 that asks for credentials: what cannot be taken now is a 503.
    statuses=Statuses(untrusted=401, challenge=True, unreadable=400, store_down=503, busy=503),
    certificate=certificate,
    follow_up=follow_up,
    alarming=frozenset({"UnsubscribeConfirmation"}),  # never subscribed again by itself
)
