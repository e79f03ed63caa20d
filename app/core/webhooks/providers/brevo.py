"""Brevo (Sendinblue), transactional and marketing mails.

https://developers.brevo.com/docs/transactional-webhooks (payloads)
https://developers.brevo.com/docs/marketing-webhooks
https://developers.brevo.com/docs/how-to-use-webhooks (credentials, batches, retries)

Unsigned: HTTP Basic in the address, or a bearer token. "4xx response codes, except for 429, and any 5xx … stop all
retry attempts and discard the webhook": while the store is down it is a 429.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from app.core.webhooks.bodies import one_or_many, text_of
from app.core.webhooks.credentials import check_credentials
from app.core.webhooks.decision_ids import KEY, ridden
from app.core.webhooks.provider import Aside, Delivery, Provider, Said, Statuses
from app.core.webhooks.smtp import smtp_code
from app.core.webhooks.suppressions import suppression_named
from app.core.webhooks.times import from_unix_ms, from_unix_s
from policy.codes import OutcomeType

#: Words of payloads, and of subscriptions where those differ.
EVENTS: dict[str, OutcomeType | Aside] = {
    "request": OutcomeType.SENT,
    "sent": OutcomeType.SENT,
    "delivered": OutcomeType.DELIVERED,
    "deferred": OutcomeType.DEFERRED,
    "hard_bounce": OutcomeType.BOUNCED_HARD,
    "hardBounce": OutcomeType.BOUNCED_HARD,
    "invalid_email": OutcomeType.BOUNCED_HARD,
    "invalid": OutcomeType.BOUNCED_HARD,
    "soft_bounce": OutcomeType.BOUNCED_SOFT,
    "softBounce": OutcomeType.BOUNCED_SOFT,
    "blocked": OutcomeType.DROPPED,
    "error": OutcomeType.DROPPED,
    # `unique_opened` is the first look and `opened` each later one: neither repeats the other.
    "opened": OutcomeType.OPENED,
    "unique_opened": OutcomeType.OPENED,
    "uniqueOpened": OutcomeType.OPENED,
    "proxy_open": OutcomeType.OPENED,
    "proxyOpen": OutcomeType.OPENED,
    "unique_proxy_open": OutcomeType.OPENED,
    "uniqueProxyOpen": OutcomeType.OPENED,
    "click": OutcomeType.CLICKED,
    "spam": OutcomeType.COMPLAINED,
    "complaint": OutcomeType.COMPLAINED,
    "unsubscribe": OutcomeType.UNSUBSCRIBED,
    "unsubscribed": OutcomeType.UNSUBSCRIBED,
    "list_addition": Aside.IGNORED,
    "contact_updated": Aside.IGNORED,
    "contact_deleted": Aside.IGNORED,
    "inboundEmailProcessed": Aside.IGNORED,
}
BY_MACHINES = frozenset({"proxy_open", "proxyOpen", "unique_proxy_open", "uniqueProxyOpen"})
#: Below, `ts_epoch` is in seconds, as in the examples of Brevo's documentation; real ones are in milliseconds.
MS_MIN = 10**11


def items(delivery: Delivery) -> Sequence[Any]:
    """One event, or a batch: its form is not documented, so both that are usual are taken."""
    found = one_or_many(delivery.body)
    batch = found[0].get("events") if len(found) == 1 and isinstance(found[0], dict) else None
    return batch if isinstance(batch, list) else found


def read(item: Any) -> Sequence[Said]:
    kind = text_of(item, "event") or ""
    outcome = EVENTS.get(kind, Aside.UNKNOWN)
    if isinstance(outcome, Aside):
        return [Said(outcome, kind)]
    reason, link = text_of(item, "reason"), text_of(item, "link") or text_of(item, "URL")
    return [
        Said(
            outcome,
            kind,
            at_ms=_at_ms(item.get("ts_epoch")),
            recipient=text_of(item, "email"),
            # `id` is the webhook's or the account's: a repeat is known by what it says.
            message_id=text_of(item, "message-id"),
            decision_id=ridden(item.get("X-Mailin-custom"), _pairs(item), item.get("tags"), item.get("tag"), link),
            machine=kind in BY_MACHINES,
            user_agent=text_of(item, "user_agent"),
            url=link,
            reason=reason,
            smtp_code=smtp_code(reason),
            scope="all" if outcome is OutcomeType.UNSUBSCRIBED else None,
            suppressed=suppression_named(reason) if outcome is OutcomeType.DROPPED else None,
        )
    ]


def _at_ms(said: Any) -> int | None:
    """`ts_epoch` alone is in UTC: `ts`, `ts_event` and `date` follow the account's zone, and tell no time to us."""
    if said is None:
        return None
    return from_unix_ms(said) if float(said) >= MS_MIN else from_unix_s(said)


def _pairs(item: Mapping[str, Any]) -> dict[str, str]:
    """The form that Brevo suggests for its header: `name:value|name:value`."""
    custom = item.get("X-Mailin-custom")
    if not isinstance(custom, str) or KEY not in custom:
        return {}
    return dict(each.strip().split(":", 1) for each in custom.split("|") if ":" in each)


PROVIDER = Provider(
    name="brevo",
    docs="https://developers.brevo.com/docs/transactional-webhooks",
    carries="the header `X-Mailin-custom`: the id alone, or JSON with `decision_id`; else a tag `did:<id>`",
    verify=check_credentials,
    items=items,
    read=read,
    statuses=Statuses(untrusted=401, challenge=True, unreadable=400, store_down=429),
)
