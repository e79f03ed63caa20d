"""The bodies of deliveries, parsed after they were verified. Depth is bounded by the parsers, and nothing here recurses
into what they return.
"""

from __future__ import annotations

from typing import Any

from app.core.events.json_text import NotJson, parsed
from app.core.webhooks.provider import Unreadable


def json_of(body: bytes) -> Any:
    """The document of a body. Raises Unreadable."""
    try:
        return parsed(body).said
    except NotJson:
        raise Unreadable("the body could not be parsed as JSON") from None


def object_of(body: bytes) -> dict[str, Any]:
    """The JSON object of a body. Raises Unreadable."""
    found = json_of(body)
    if not isinstance(found, dict):
        raise Unreadable("expected a JSON object")
    return found


def list_of(body: bytes) -> list[Any]:
    """The JSON array of a body; what its items are is looked at one by one. Raises Unreadable."""
    found = json_of(body)
    if not isinstance(found, list):
        raise Unreadable("expected a JSON array")
    return found


def one_or_many(body: bytes) -> list[Any]:
    """What a JSON body holds that is either one object or an array of them. Raises Unreadable."""
    found = json_of(body)
    if isinstance(found, list):
        return found
    if isinstance(found, dict):
        return [found]
    raise Unreadable("expected a JSON object, or an array of objects")


def text_of(item: Any, name: str) -> str | None:
    """The text that an item has under `name`; None where it is absent, null or empty. Numbers count as text: ids are
    written either way. Raises TypeError of anything else."""
    value = item.get(name)
    if isinstance(value, str):
        return value or None
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"`{name}` is no text")
    return str(value)


def section_of(item: Any, name: str) -> dict[str, Any]:
    """The object that an item has under `name`; an empty one where it is absent, null, or `[]` or `""`, which is how
    PHP and Java write it. Raises TypeError of anything else."""
    value = item.get(name)
    if value is None or value in ([], ""):
        return {}
    if not isinstance(value, dict):
        raise TypeError(f"`{name}` is no object")
    return value
