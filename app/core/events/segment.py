"""What Segment's and RudderStack's clients send, in our words.

https://segment.com/docs/connections/spec/ and what the clients really do: absent ids come as null or not at all; the
traits of `identify` are at the root, in `context`, or both; RudderStack tells the time of a call in `originalTimestamp`
and only what the caller gave in `timestamp`; a message may say itself when it was sent, and then knows better than its
batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.core.events.event import Arrived, Misfit, Misfits
from app.core.webhooks.decision_ids import PARAMETER, ridden

TYPES = frozenset({"track", "identify", "alias", "page", "screen", "group"})
NOTHING: Mapping[str, Any] = {}


def batch(body: Mapping[str, Any]) -> list[Any] | None:
    """The messages of a batch, each with what stands once for all of them; None where there is no list."""
    items = body.get("batch")
    if not isinstance(items, list):
        return None
    shared = body.get("context")
    if not isinstance(shared, dict) or not shared:
        return items
    return [_with_context(item, shared) for item in items]


def message(said: Any, kind: str | None, sent_at: Any) -> Arrived | Misfit:
    """One message. `kind` is its type where the path says it; `sent_at` that of its batch."""
    if not isinstance(said, dict):
        return said if isinstance(said, Misfit) else Misfit(Misfits.MALFORMED, "a message is an object")
    kind = said.get("type") if kind is None else kind
    if not isinstance(kind, str) or kind not in TYPES:
        return Misfit(Misfits.MALFORMED, f"its `type` is none of {', '.join(sorted(TYPES))}")
    context = _mapping(said.get("context"))
    name = said.get("event") if kind == "track" else kind
    if not isinstance(name, str) or not name:
        return Misfit(Misfits.MALFORMED, "a track message needs its `event`")
    user, anonymous = said.get("userId"), said.get("anonymousId")
    traits = _traits(said, kind, context)
    who: tuple[tuple[str, Any], ...] = (("user_id", user), ("anonymous_id", anonymous))
    if traits:
        who = (*who, ("email", traits.get("email")), ("phone", traits.get("phone")))
    previous: tuple[tuple[str, Any], ...] = ()
    if kind == "alias" and (before := said.get("previousId")) is not None:
        previous = (("user_id", before), ("anonymous_id", before))  # it does not say of which kind that is
    at = said.get("timestamp")
    return Arrived(
        kind,
        name,
        who,
        _properties(said, kind, traits),
        said.get("originalTimestamp") if at is None else at,
        said.get("sentAt", sent_at),
        said.get("messageId"),
        _library(context),
        previous,
        zoned=False,
        landed=_landed(context),
    )


def _with_context(item: Any, shared: Mapping[str, Any]) -> Any:
    if not isinstance(item, dict):
        return item
    return {**item, "context": {**shared, **_mapping(item.get("context"))}}


def _traits(said: Mapping[str, Any], kind: str, context: Mapping[str, Any]) -> Mapping[str, Any]:
    """What is said of the person. A group's traits are the group's."""
    beside = _mapping(context.get("traits"))
    if kind != "identify":
        return beside
    return {**beside, **_mapping(said.get("traits"))}


def _properties(said: Mapping[str, Any], kind: str, traits: Mapping[str, Any]) -> Mapping[str, Any]:
    if kind == "track":
        return _mapping(said.get("properties"))
    if kind == "identify":
        return traits
    if kind == "group":
        return {**_mapping(said.get("traits")), "group_id": said.get("groupId")}
    named = {"name": said.get("name"), "category": said.get("category")}  # page, screen
    return {**named, **_mapping(said.get("properties"))}


def _landed(context: Mapping[str, Any]) -> str:
    """Clients in browsers say on which page it happened: https://segment.com/docs/connections/spec/common/#context."""
    page = _mapping(context.get("page"))
    url = page.get("url")
    if not isinstance(url, str) or f"{PARAMETER}=" not in url:
        return ""
    return ridden(url) or ""


def _library(context: Mapping[str, Any]) -> str:
    name = _mapping(context.get("library")).get("name")
    return name if isinstance(name, str) else ""


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else NOTHING
