"""SendGrid's Event Webhook.

https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/event
https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/getting-started-event-webhook-security-features

Signed with ECDSA (P-256, SHA-256, DER, Base64) over the timestamp header and the raw body, nothing between them; the
body has `\\r\\n` around events, so that only its bytes as they came verify
(https://github.com/sendgrid/sendgrid-nodejs/issues/1321). A secret is the webhook's public key as SendGrid shows it.
Where signing is off, HTTP Basic in the address, or a bearer token. Of OAuth 2.0 (client credentials) that token is what
arrives here; to issue it would be an authorization server's part, and the signature proves more: it covers the body.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from app.core.webhooks.bodies import list_of, text_of
from app.core.webhooks.credentials import check_credentials
from app.core.webhooks.decision_ids import ridden
from app.core.webhooks.provider import Aside, Delivery, Provider, Said, Statuses, Trust, Untrusted
from app.core.webhooks.signatures import WRONG_SIGNATURE, check_recent, required, signed_time_s
from app.core.webhooks.smtp import smtp_code
from app.core.webhooks.suppressions import suppression_named
from app.core.webhooks.times import from_unix_s
from policy.codes import OutcomeType

SIGNATURE = "x-twilio-email-event-webhook-signature"
TIMESTAMP = "x-twilio-email-event-webhook-timestamp"
#: No tolerance is documented, and whether a repeat is signed anew is not either: repeats come for 24 hours.
TOLERANCE_S = 25 * 3600

TYPES: Mapping[str, OutcomeType | Aside] = MappingProxyType(
    {
        "processed": OutcomeType.QUEUED,
        "dropped": OutcomeType.DROPPED,
        "delivered": OutcomeType.DELIVERED,
        "deferred": OutcomeType.DEFERRED,
        "open": OutcomeType.OPENED,
        "click": OutcomeType.CLICKED,
        "spamreport": OutcomeType.COMPLAINED,
        "unsubscribe": OutcomeType.UNSUBSCRIBED,
        "group_unsubscribe": OutcomeType.UNSUBSCRIBED,
        "group_resubscribe": OutcomeType.RESUBSCRIBED,
        "account_status_change": Aside.IGNORED,
    }
)
#: `<id of the request>.<where it was handled>`: the first part is what the API answered as `X-Message-Id`.
_HANDLED = re.compile(r"\.(?:filter|recvd)")


def verify(delivery: Delivery, trust: Trust) -> None:
    """Raises Untrusted."""
    if SIGNATURE not in delivery.headers:
        if not trust.basic and not any(_public_key(secret) is None for secret in trust.secrets):
            raise Untrusted(f"there is no `{SIGNATURE}` header: turn on `Signed Event Webhook`")
        tokens = tuple(secret for secret in trust.secrets if _public_key(secret) is None)
        check_credentials(delivery, trust._replace(secrets=tokens))
        return
    given, timestamp = required(delivery.headers, SIGNATURE), required(delivery.headers, TIMESTAMP)
    signed_s = signed_time_s(timestamp)
    try:
        signature = b64decode(given, validate=True)
    except ValueError:
        raise Untrusted("the signature is not Base64") from None
    keys = [key for secret in trust.secrets if (key := _public_key(secret)) is not None]
    if not any(key(signature, timestamp.encode() + delivery.body) for key in keys):
        raise Untrusted(WRONG_SIGNATURE)
    check_recent(signed_s, delivery.now_s, TOLERANCE_S)


@lru_cache(maxsize=32)
def _public_key(secret: str) -> Callable[[bytes, bytes], bool] | None:
    """Whether a signature of a text is made with the private half of this key; None where the secret is no such key.
    Imported late: most deployments have no SendGrid."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    try:
        key = load_der_public_key(b64decode(re.sub(r"-----[A-Z ]+-----|\s", "", secret), validate=True))
    except ValueError:
        return None
    if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP256R1):
        return None

    def verifies(signature: bytes, signed: bytes) -> bool:
        try:
            key.verify(signature, signed, ECDSA(SHA256()))
        except InvalidSignature:
            return False
        return True

    return verifies


def items(delivery: Delivery) -> Sequence[Any]:
    """Raises Unreadable."""
    return list_of(delivery.body)


def read(item: Any) -> Sequence[Said]:
    """One event. Custom arguments stand beside the event's own fields, not below them."""
    raw_type = item["event"]
    reason = text_of(item, "reason") or text_of(item, "response")
    kind = _bounce(item) if raw_type == "bounce" else TYPES.get(raw_type, Aside.UNKNOWN)
    return (
        Said(
            type=kind,
            raw_type=raw_type,
            at_ms=from_unix_s(item["timestamp"]) if "timestamp" in item else None,
            recipient=text_of(item, "email"),
            event_id=text_of(item, "sg_event_id"),
            message_id=_message_id(item),
            decision_id=ridden(item, item.get("unique_args"), item.get("category"), item.get("url")),
            machine=item.get("sg_machine_open") in (True, "true", "True", 1),
            user_agent=text_of(item, "useragent"),
            url=text_of(item, "url"),
            reason=reason,
            smtp_code=text_of(item, "status") or smtp_code(reason),
            scope=_scope(raw_type, item),
            suppressed=suppression_named(reason) if kind is OutcomeType.DROPPED else None,
        ),
    )


def _bounce(item: Mapping[str, Any]) -> OutcomeType:
    """`blocked` is about the mail and not the address, which SendGrid goes on writing to
    (https://www.twilio.com/docs/sendgrid/ui/sending-email/blocks). Without a type it is an old event, and a bounce."""
    return OutcomeType.BOUNCED_HARD if item.get("type", "bounce") == "bounce" else OutcomeType.BOUNCED_SOFT


def _message_id(item: Mapping[str, Any]) -> str | None:
    whole = text_of(item, "sg_message_id")
    return None if whole is None else _HANDLED.split(whole, maxsplit=1)[0]


def _scope(raw_type: str, item: Mapping[str, Any]) -> str | None:
    if raw_type in ("group_unsubscribe", "group_resubscribe"):
        return text_of(item, "asm_group_id")
    return "all" if raw_type == "unsubscribe" else None


PROVIDER = Provider(
    name="sendgrid",
    docs="https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/event",
    carries='`custom_args` (SMTP: `unique_args`): `{"decision_id": "dec_…"}`',
    verify=verify,
    items=items,
    read=read,
    statuses=Statuses(challenge=True),
)
