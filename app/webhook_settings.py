"""What proves the deliveries of each provider: `NEXTBEST_WEBHOOK_<PROVIDER>_…`, read from the environment.

    …_SECRETS   comma list: signing secrets, public keys or tokens, by provider; several while one is rotated
    …_BASIC     comma list of `user:password`
    …_URL       the address as it was entered at the provider, where that is signed (Mandrill)
    …_TOPICS    comma list of topics whose messages are taken (SES: ARNs of SNS)

Names hold the provider, so that they are declared here and not in `app.settings`. Values are secrets: they are in no
error and no log. `serve` hands its environment to its workers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from app.core.webhooks.provider import Trust
from app.core.webhooks.registry import NAMES
from app.settings import PREFIX, Settings

_NAME = re.compile(rf"{PREFIX}WEBHOOK_([A-Z]+)_([A-Z_]+)")
LISTS = ("SECRETS", "BASIC", "TOPICS")
#: Read beside the code that uses them: `app.sns_certificates`.
OF_SES = ("CERTIFICATE", "TEST_CERTIFICATE")


class WebhookSettings(NamedTuple):
    """Of all providers; those that are not configured are not here."""

    trusted: Mapping[str, Trust]
    urls: Mapping[str, str]


def read_webhook_settings(environment: Mapping[str, str]) -> WebhookSettings:
    """Raises ValueError with the variable's name, and without its value, for what is no setting of ours: a misspelt one
    would leave a provider's webhooks refused with nobody knowing why."""
    said: dict[str, dict[str, str]] = {}
    for variable, value in environment.items():
        found = _NAME.fullmatch(variable)
        if found is None or not value.strip() or variable.removeprefix(PREFIX).lower() in Settings.model_fields:
            continue
        provider, what = found[1].lower(), found[2]
        if provider not in NAMES:
            raise ValueError(f"`{variable}`: there is no provider `{provider}`; there are {', '.join(NAMES)}")
        if what not in (*LISTS, "URL") and not (provider == "ses" and what in OF_SES):
            raise ValueError(f"`{variable}`: expected _SECRETS, _BASIC, _URL or _TOPICS")
        said.setdefault(provider, {})[what] = value.strip()
    trusted = {provider: Trust(*(_listed(each.get(name, "")) for name in LISTS)) for provider, each in said.items()}
    for provider, trust in trusted.items():
        if any(":" not in each for each in trust.basic):
            raise ValueError(f"`{PREFIX}WEBHOOK_{provider.upper()}_BASIC`: expected `user:password`")
    urls = {provider: each["URL"] for provider, each in said.items() if "URL" in each}
    return WebhookSettings(trusted, urls)


def _listed(value: str) -> tuple[str, ...]:
    return tuple(stripped for each in value.split(",") if (stripped := each.strip()))
