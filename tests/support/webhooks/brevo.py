"""A delivery of Brevo: a batch, with HTTP Basic."""

from __future__ import annotations

from tests.support.webhooks.credentials import sample, signed
from tests.support.webhooks.payloads import payload

__all__ = ["SAMPLE", "signed"]
SAMPLE = sample(payload("brevo", "batch_as_list.json"))
