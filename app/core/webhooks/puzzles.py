"""What the door did not understand, as it is kept for people to look at: without whom it names."""

from __future__ import annotations

from typing import Any, NamedTuple

from app.core.webhooks.masking import masked


class Puzzle(NamedTuple):
    """An item that was not understood."""

    code: str  # `unknown`, or why it was rejected
    raw_type: str
    item: Any


def puzzle(code: str, raw_type: Any, item: Any) -> Puzzle:
    """Of an item as it came."""
    return Puzzle(code, str(masked(raw_type)) if isinstance(raw_type, str) else "", masked(item))
