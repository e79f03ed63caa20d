"""Credentials of providers that sign nothing: HTTP Basic from the address they post to, or a bearer token."""

from __future__ import annotations

from app.core.webhooks.provider import Delivery, Trust, Untrusted
from app.core.webhooks.signatures import check_basic, check_bearer, required


def check_credentials(delivery: Delivery, trust: Trust) -> None:
    """The delivery carries one of the configured credentials: `basic` as HTTP Basic, `secrets` as a bearer token.
    Raises Untrusted."""
    scheme = required(delivery.headers, "authorization").partition(" ")[0].lower()
    if scheme == "basic" and trust.basic:
        check_basic(delivery.headers, trust.basic)
    elif scheme == "bearer" and trust.secrets:
        check_bearer(delivery.headers, trust.secrets)
    else:
        raise Untrusted("send credentials that are configured: HTTP Basic in the address, or a bearer token")
