"""What the shared cases of the webhook door need of each provider: `tests/support/webhooks/<provider>.py`.

The module of a provider says

    SAMPLE   a `Sample`: one whole delivery as the provider makes it, of which every item is taken
    signed   `(body, secret, now_s) -> headers`: what the provider sends with that body, with all headers in lower case

and `tests/unit/webhooks/test_security.py` puts every provider of the registry through the same cases; a provider whose
module is missing fails there. Where the proof is not in headers (Mailgun signs inside the body, SNS its envelope),
`signed_body(body, secret, now_s) -> body` puts it there first, and `signed` is called with its result.

Payloads are files, `tests/unit/webhooks/payloads/<provider>/<name>.json` (or `.txt`): whole bodies from the vendor's
documentation with addresses in example.com; beside each, `<name>.said.yaml` lists what is read from it:

    - {type: bounced_hard, raw_type: bounce, at_ms: 1767604320000, recipient: jane@example.com, event_id: …}

one mapping for each `Said`, in order, with only the fields that are not at their defaults.
`tests/unit/webhooks/test_payloads.py` checks them all, and that none is without expectation.
"""

from __future__ import annotations

from typing import NamedTuple

from app.core.webhooks.provider import Trust


class Sample(NamedTuple):
    """A delivery of a provider, and what is configured to take it."""

    body: bytes  # before `signed_body`, where there is one
    trust: Trust  # `trust.secrets[0]`, or else `trust.basic[0]`, is the `secret` that `signed` is called with
    other_secret: str  # one of the same form that is not configured
    signs_body: bool = True  # a changed byte of the body is noticed
    signs_time: bool = False  # an old delivery is noticed
    url: str = "https://shop.example.com/v1/webhooks/provider"
    certificate: bytes | None = None  # PEM, where the provider signs with one; `other_secret` is then another's key


def secret_of(sample: Sample) -> str:
    """What the sample is signed with."""
    return (sample.trust.secrets or sample.trust.basic)[0]
