"""Our decision id in what a provider hands back: the convention that docs/webhooks.md tells senders.

    metadata, custom arguments, variables   `decision_id`: the id, as a text or a list that holds it
    tags, where there is no metadata        `did:<id>`, or the id alone
    links                                   `?did=<id>`

Only what is shaped like an id of ours is found: whatever else rides there under the same name is the sender's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import orjson

from app.core.decision.ids import parse_id

KEY = "decision_id"
TAG = "did:"
PARAMETER = "did"
#: Properties of events that may name the decision.
PROPERTIES = (KEY, "nextbest_decision_id")
#: Longer ones are no tags or links of ours, and not worth the time.
TEXT_LENGTH_MAX = 8_192
ITEMS_MAX = 100
#: A link inside a link (a tracking redirect inside JSON inside text) is looked into so deep.
DEPTH_MAX = 3


def ridden(*places: Any) -> str | None:
    """The id that rode along in the first of the places that holds one, else None. A place is a mapping (or a list of
    `{name, value}` pairs), a list of tags, a tag, a link, or JSON text of any of these; anything else holds none."""
    for place in places:
        if (found := _in(place, 0)) is not None:
            return found
    return None


def _in(place: Any, depth: int) -> str | None:
    if not place or depth > DEPTH_MAX:
        return None
    if isinstance(place, str):
        return _in_text(place, depth)
    if isinstance(place, Mapping):
        return _in_mapping(place)
    if isinstance(place, list):
        return next((found for each in place[:ITEMS_MAX] if (found := _in(each, depth + 1)) is not None), None)
    return None


def _in_mapping(place: Mapping[str, Any]) -> str | None:
    value = place.get(KEY)
    if value is None and str(place.get("name", place.get("key"))) == KEY:
        value = place.get("value")
    if isinstance(value, list):
        value = next(iter(value), None)
    return value if isinstance(value, str) and parse_id(value) is not None else None


def _in_text(text: str, depth: int) -> str | None:
    if len(text) > TEXT_LENGTH_MAX:
        return None
    text = text.strip()
    bare = text.removeprefix(TAG)
    if parse_id(bare) is not None:
        return bare
    if text.startswith(("http://", "https://")):
        return _in_link(text)
    if text.startswith(("{", "[")):
        try:
            return _in(orjson.loads(text), depth + 1)
        except ValueError:
            return None
    return None


def _in_link(link: str) -> str | None:
    try:
        pairs = parse_qsl(urlsplit(link).query, max_num_fields=ITEMS_MAX)
    except ValueError:
        return None
    return next((value for name, value in pairs if name == PARAMETER and parse_id(value) is not None), None)
