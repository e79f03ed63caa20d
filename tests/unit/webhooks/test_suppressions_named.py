"""Which suppressions are copied from a provider's words."""

from __future__ import annotations

import pytest

from app.core.webhooks.suppressions import suppression_named
from policy.codes import SuppressionReason


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("Bounced Address", SuppressionReason.HARD_BOUNCE),
        ("HardBounce", SuppressionReason.HARD_BOUNCE),
        ("hard_bounce", SuppressionReason.HARD_BOUNCE),
        ("Unsubscribed Address", SuppressionReason.UNSUBSCRIBED),
        ("UserUnsubscribed", SuppressionReason.UNSUBSCRIBED),
        ("recipient opted-out", SuppressionReason.UNSUBSCRIBED),
        ("Spam Reporting Address", SuppressionReason.COMPLAINT),
        ("spam_complaint", SuppressionReason.COMPLAINT),
        ("the recipient marked it as spam", SuppressionReason.COMPLAINT),
        ("hard bounce, and unsubscribed", SuppressionReason.HARD_BOUNCE),
        ("Spam Content", None),
        ("Invalid", None),
        ("DuplicateMarketingMessage", None),
        ("soft bounces", None),
        ("unverified domain", None),
        ("", None),
        (None, None),
    ],
)
def test_only_what_names_a_reason_is_copied(words: str | None, reason: SuppressionReason | None) -> None:
    assert suppression_named(words) is reason
