"""One cell of a file as the value that the bundle declares. Pure.

Nothing is guessed: what does not look like the declared type stays as it is, and the check that the server makes says
what it expected.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, time
from decimal import Decimal
from math import isnan
from typing import Any
from zoneinfo import ZoneInfo

from app.importing.trouble import Unfit
from policy.bundle import Fact

GRANTED = frozenset({"granted", "grant", "true", "yes", "y", "t", "1", "opt_in", "opted_in", "optin", "subscribed"})
DENIED = frozenset({"denied", "deny", "false", "no", "n", "f", "0", "opt_out", "opted_out", "optout", "unsubscribed"})
_TRUE, _FALSE = frozenset({"true", "yes", "y", "t", "1"}), frozenset({"false", "no", "n", "f", "0"})
_WHOLE = re.compile(r"[+-]?\d{1,19}")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_UNIX = re.compile(r"\d{9,13}(\.\d+)?")
#: Below it a number of Unix time counts seconds (this one is in 5138), above it milliseconds (this one is in 1973).
SECONDS_BELOW = 1e11


def is_empty(cell: Any) -> bool:
    """Whether a cell says nothing: nothing there, blank text, not a number."""
    return cell is None or (isinstance(cell, str) and not cell.strip()) or (isinstance(cell, float) and isnan(cell))


def reader_of(fact: Fact) -> Callable[[Any], Any]:
    """Cell → value of an attribute."""
    if fact.type == "int":
        return _whole
    if fact.type == "float":
        return _number
    if fact.type == "bool":
        return _truth
    return _text


def text(cell: Any) -> str:
    """A cell as text: keys that a table holds as numbers are written as whole ones."""
    if isinstance(cell, float) and cell.is_integer():
        cell = int(cell)
    return str(cell).strip()


def state(cell: Any) -> str:
    """`granted` or `denied`; raises Unfit for every other word, since to guess could make a grant."""
    word = text(cell).lower().replace("-", "_").replace(" ", "_")
    if word in GRANTED:
        return "granted"
    if word in DENIED:
        return "denied"
    raise Unfit("invalid_request", "a consent is `granted` or `denied` (or true and false, yes and no, 1 and 0)")


def instant(cell: Any, zone: ZoneInfo | None) -> str:
    """A time as ISO 8601 with its zone: from ISO text, from Unix seconds or milliseconds, from what Parquet holds.

    `zone` is that of times without one; None refuses them. Raises Unfit."""
    if isinstance(cell, str) and _UNIX.fullmatch(cell.strip()):
        cell = float(cell)
    if isinstance(cell, int | float | Decimal) and not isinstance(cell, bool):
        return _iso(_unix(float(cell)))
    if isinstance(cell, date) and not isinstance(cell, datetime):
        cell = datetime.combine(cell, time())
    try:
        at = cell if isinstance(cell, datetime) else datetime.fromisoformat(text(cell))
    except ValueError:
        raise _no_time() from None
    if at.tzinfo is None:
        if zone is None:
            raise Unfit("time_without_zone", "the time has no zone: say with --zone in which one it is, such as `UTC`")
        at = at.replace(tzinfo=zone)
    return _iso(at)


def _unix(seconds_or_ms: float) -> datetime:
    try:
        return datetime.fromtimestamp(seconds_or_ms if seconds_or_ms < SECONDS_BELOW else seconds_or_ms / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        raise _no_time() from None


def _iso(at: datetime) -> str:
    try:
        return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
    except OverflowError:  # in the first or the last hours of all time
        raise _no_time() from None


def _no_time() -> Unfit:
    return Unfit("invalid_request", "a time is ISO 8601, such as `2026-01-31T09:00:00Z`, or Unix time")


def _whole(cell: Any) -> Any:
    if isinstance(cell, str) and _WHOLE.fullmatch(cell.strip()):
        return int(cell)
    number = _number(cell)
    return int(number) if isinstance(number, float) and number.is_integer() else number


def _number(cell: Any) -> Any:
    if isinstance(cell, bool):
        return int(cell)
    if isinstance(cell, Decimal) or (isinstance(cell, str) and _NUMBER.fullmatch(cell.strip())):
        return float(cell)
    return cell


def _truth(cell: Any) -> Any:
    word = text(cell).lower()
    return True if word in _TRUE else False if word in _FALSE else cell


def _text(cell: Any) -> Any:
    return cell.isoformat() if isinstance(cell, date) else text(cell)
