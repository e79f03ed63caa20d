"""Our own events: `{"event", "customer", "at", "id", "properties", "version", "source"}`.

`customer` is a key, or an object of identities that are the same person's; `event` the name under which the bundle
declares it, or `identify` or `alias`, which say who is who.
"""

from __future__ import annotations

from typing import Any

from app.core.events.event import Arrived, Misfit, Misfits
from app.core.events.heartbeat import heartbeat, is_heartbeat
from app.core.identity import KINDS

MEMBERS = frozenset({"event", "customer", "at", "id", "properties", "version", "source", "previous"})
#: The first that is given says whom an event is about.
WEIGHT = ("customer", "user_id", "anonymous_id", "external", "email_sha256", "phone_sha256")
LINKING = frozenset({"identify", "alias"})


def message(said: Any) -> Arrived | Misfit:
    """One event, or a heartbeat."""
    return heartbeat(said) if is_heartbeat(said) else _event(said)


def _event(said: Any) -> Arrived | Misfit:
    if not isinstance(said, dict):
        return said if isinstance(said, Misfit) else Misfit(Misfits.MALFORMED, "an event is an object")
    if not said.keys() <= MEMBERS:
        return Misfit(Misfits.MALFORMED, "an event has " + ", ".join(f"`{each}`" for each in sorted(MEMBERS)))
    name, properties, source = said.get("event"), said.get("properties"), said.get("source")
    if not isinstance(name, str) or not name:
        return Misfit(Misfits.MALFORMED, "an event needs its `event`")
    if not (properties is None or isinstance(properties, dict)):
        return Misfit(Misfits.MALFORMED, "`properties` is an object")
    who, previous = _who(said.get("customer")), _who(said.get("previous"))
    if who is None or previous is None:
        kinds = ", ".join(f"`{kind}`" for kind in KINDS)
        return Misfit(Misfits.MALFORMED, f"`customer` and `previous` are keys, or objects of {kinds}")
    return Arrived(
        name if name in LINKING else "track",
        name,
        who,
        properties or {},
        said.get("at"),
        None,
        said.get("id"),
        source if isinstance(source, str) else "",
        tuple(("user_id" if kind == "customer" else kind, value) for kind, value in previous),  # a key is a user id
        said.get("version"),
    )


def _who(said: Any) -> tuple[tuple[str, Any], ...] | None:
    if said is None:
        return ()
    if isinstance(said, str):
        return (("customer", said),)
    if not isinstance(said, dict) or not said.keys() <= set(WEIGHT):
        return None
    return tuple((kind, said[kind]) for kind in WEIGHT if said.get(kind) is not None)
