"""Why a provider did not even try: what its own list says of the address, so that we stop as well.

Providers word it each in their way (`Unsubscribed Address`, `HardBounce`, `spam_complaint`). Only what names one of
three reasons is copied; anything else is no suppression, just a mail that was not sent.
"""

from __future__ import annotations

import re

from policy.codes import SuppressionReason

LOOKED_AT = 300
_JOINTS = re.compile(r"(?<=[a-z])(?=[A-Z])|[_\-]+")
#: The first that is found counts: the more final comes first, as in SuppressionReason.
_NAMED = (
    (SuppressionReason.HARD_BOUNCE, re.compile(r"hard bounce|bounced address|previously bounced|bounced previously")),
    (
        SuppressionReason.COMPLAINT,
        re.compile(r"complain|spam report|(?:reported|marked) (?:\w+ )?as spam|feedback loop"),
    ),
    (SuppressionReason.UNSUBSCRIBED, re.compile(r"unsubscri|opt(?:ed)? ?out")),
)


def suppression_named(reason: str | None) -> SuppressionReason | None:
    """The suppression that the words of a provider name; None where they name none."""
    if not reason:
        return None
    words = _JOINTS.sub(" ", reason[:LOOKED_AT]).lower()
    return next((named for named, pattern in _NAMED if pattern.search(words)), None)
