"""Every provider whose webhooks are taken, by the name in the path. Each is one file, read when it is first asked for:
most deployments have one or two."""

from __future__ import annotations

from functools import cache
from importlib import import_module

from app.core.webhooks.provider import Provider

NAMES = (
    "braze",
    "brevo",
    "customerio",
    "generic",
    "iterable",
    "klaviyo",
    "mailersend",
    "mailgun",
    "mailjet",
    "mailtrap",
    "mandrill",
    "postmark",
    "resend",
    "sendgrid",
    "ses",
    "sparkpost",
)


@cache
def provider_of(name: str) -> Provider | None:
    """None of a name that is none of ours."""
    if name not in NAMES:
        return None
    found: Provider = import_module(f"app.core.webhooks.providers.{name}").PROVIDER
    return found
