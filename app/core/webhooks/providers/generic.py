"""Our own format, so that anybody can post: Standard Webhooks, whose `type` is one of our outcomes.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md

    {"type": "clicked", "timestamp": "2026-01-05T09:12:00Z",
     "data": {"recipient": "jane@example.com", "decision_id": "dec_…", "url": "https://shop.example.com/"}}

or an array of such. The outcome may have a prefix (`email.clicked`), the data may stand beside `type` as well, and
`data.event_id` takes the place of the `webhook-id`, which an array's items share.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from app.core.webhooks.bodies import json_of, text_of
from app.core.webhooks.decision_ids import ridden
from app.core.webhooks.provider import Aside, Delivery, Provider, Said, Trust, Unfit, Unreadable
from app.core.webhooks.standard import check_standard, message_id
from app.core.webhooks.times import from_iso, from_unix_s
from policy.codes import OutcomeType, SuppressionReason

OUTCOMES: Mapping[str, OutcomeType] = {each.value: each for each in OutcomeType}
PINGS = frozenset({"ping", "test", "webhook.test"})


class Item(NamedTuple):
    event_id: str
    event: Any


def verify(delivery: Delivery, trust: Trust) -> None:
    """Raises Untrusted."""
    check_standard(delivery, trust.secrets)


def items(delivery: Delivery) -> Sequence[Item]:
    """Raises Unreadable."""
    body, delivered = json_of(delivery.body), message_id(delivery)
    if isinstance(body, dict):
        return (Item(delivered, body),)
    if not isinstance(body, list):
        raise Unreadable("expected a JSON object or an array of them")
    return [Item(f"{delivered}.{place}", event) for place, event in enumerate(body)]


def read(item: Item) -> Sequence[Said]:
    """One outcome."""
    event = item.event
    raw_type = event["type"]
    if not isinstance(raw_type, str):
        raise TypeError("`type` is no text")
    data = event.get("data") or event
    kind = _kind(raw_type)
    event_id = text_of(data, "event_id") or item.event_id
    if isinstance(kind, Aside):
        return (Said(kind, raw_type, event_id=event_id),)
    suppressed = text_of(data, "suppressed")
    return (
        Said(
            type=kind,
            raw_type=raw_type,
            at_ms=_at_ms(event, data),
            recipient=text_of(data, "recipient") or text_of(data, "email"),
            event_id=event_id,
            message_id=text_of(data, "message_id"),
            decision_id=ridden(data, data.get("metadata"), data.get("tags"), data.get("url")),
            machine=data.get("machine") is True,
            user_agent=text_of(data, "user_agent"),
            url=text_of(data, "url"),
            reason=text_of(data, "reason"),
            smtp_code=text_of(data, "smtp_code"),
            scope=text_of(data, "scope"),
            suppressed=SuppressionReason(suppressed) if suppressed and kind is OutcomeType.DROPPED else None,
            value=_value(data) if kind is OutcomeType.CONVERTED else None,
            customer=text_of(data, "customer"),
            channel=text_of(data, "channel") or "email",
        ),
    )


def _kind(raw_type: str) -> OutcomeType | Aside:
    if raw_type in PINGS:
        return Aside.IGNORED
    name = raw_type.rpartition(".")[2]
    if name == "bounced":  # whether it is final decides whether anybody writes there again: nobody may guess it
        raise Unfit("say `bounced_hard` (final: suppresses) or `bounced_soft`")
    return OUTCOMES.get(name, Aside.UNKNOWN)


def _at_ms(event: Mapping[str, Any], data: Mapping[str, Any]) -> int | None:
    said = data.get("occurred_at") or data.get("at") or event.get("timestamp")
    if said is None:
        return None
    return from_iso(said) if isinstance(said, str) else from_unix_s(said)


def _value(data: Mapping[str, Any]) -> float | None:
    value = data.get("value")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("`value` is no number")
    return float(value)


PROVIDER = Provider(
    name="generic",
    docs="https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md",
    carries="`data.decision_id`",
    verify=verify,
    items=items,
    read=read,
)
