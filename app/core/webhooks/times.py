"""Times as providers write them → Unix ms. A time without a zone is UTC: providers that mean another zone say so.

All raise Unfit (a ValueError) or TypeError for what is no time between 1970 and 9999, and take text where numbers are
meant: some write every number as text.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from app.core.webhooks.provider import Unfit

MS_MAX = 253_402_300_799_000  # the end of the year 9999
TEXT_LENGTH_MAX = 40
#: Offsets set apart (Iterable: `2026-01-05 09:12:00 +00:00`), and `UTC` in letters.
_APART = re.compile(r"\s+(?=[+-]\d\d)")


def from_unix_s(said: Any) -> int:
    """Unix seconds, whole or with a fraction."""
    return _checked(_number(said) * 1000)


def from_unix_ms(said: Any) -> int:
    """Unix milliseconds."""
    return _checked(_number(said))


def from_iso(said: Any) -> int:
    """ISO 8601, with a `T` or a space, up to nine digits of a fraction, `Z`, an offset, or neither."""
    if not isinstance(said, str):
        raise TypeError("the time is no text")
    if len(said) > TEXT_LENGTH_MAX:
        raise Unfit("the time is not ISO 8601")
    try:
        moment = datetime.fromisoformat(_APART.sub("", said.strip().removesuffix(" UTC")))
    except ValueError:  # its own text repeats what was sent
        raise Unfit("the time is not ISO 8601") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return _checked(moment.timestamp() * 1000)


def _number(said: Any) -> float:
    if isinstance(said, bool) or not isinstance(said, int | float | str):
        raise TypeError("the time is no number")
    if isinstance(said, str) and len(said) > TEXT_LENGTH_MAX:
        raise Unfit("the time is no number")
    try:
        return float(said)
    except (ValueError, OverflowError):
        raise Unfit("the time is no number") from None


def _checked(ms: float) -> int:
    if not 0 <= ms <= MS_MAX:  # also of NaN
        raise Unfit("the time lies outside 1970 to 9999")
    return round(ms)
