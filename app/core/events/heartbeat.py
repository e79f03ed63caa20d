"""Heartbeats: `{"type": "heartbeat", "events": ["order_completed"]}`.

A source that has nothing to tell says that it is alive: until now, no event of these types is on its way that it knows
of. Features under a contract stay fresh then, and a source that fell silent makes them stale. It is about nobody.
"""

from __future__ import annotations

from typing import Any

from app.core.events.event import Arrived, Misfit, Misfits
from app.core.events.masking import shown_name
from policy.event_rules import EventRules

HEARTBEAT = "heartbeat"
MEMBERS = frozenset({"type", "events", "source"})


def is_heartbeat(said: Any) -> bool:
    return isinstance(said, dict) and said.get("type") == HEARTBEAT


def heartbeat(said: dict[str, Any]) -> Arrived | Misfit:
    """One heartbeat, as it arrived."""
    events = said.get("events")
    if not said.keys() <= MEMBERS or not (events is None or isinstance(events, list)):
        return Misfit(Misfits.MALFORMED, "a heartbeat has its `type`, and a list of `events`; without one it means all")
    return Arrived(HEARTBEAT, "", (), {"events": events})


def alive(arrived: Arrived, rules: EventRules) -> frozenset[str] | Misfit:
    """The event types that a heartbeat speaks for: those that it names, by any name; else all that are declared."""
    named = arrived.properties["events"]
    if named is None:
        return frozenset(rule.id for rule in rules.by_name.values())
    found = set()
    for name in named:
        rule = rules.find(name) if isinstance(name, str) else None
        if rule is None:
            # In one word, since it is put aside with the letter: two may be somebody's first name and last.
            shown = shown_name(name) if isinstance(name, str) and " " not in name else "of that name"
            return Misfit(Misfits.UNKNOWN_EVENT, f"the bundle declares no event {shown}")
        found.add(rule.id)
    return frozenset(found)
