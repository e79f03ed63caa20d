"""Training rows: what was known of one customer at past instants, by the fold that live events go through.

What was known is what had *arrived*. An event that came late is not in a row before its arrival, as it was in no
decision either; so a model is trained on what it will see.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from app.core.events.event import Event
from app.core.features.fold import fold
from app.core.features.plan import FoldPlan, State, new_state
from app.core.features.read import read


class Arrival(NamedTuple):
    """An event, and when it came in (Unix ms)."""

    at_ms: int
    event: Event


def vectors(plan: FoldPlan, arrivals: Iterable[Arrival], instants_ms: Iterable[int]) -> Iterator[dict[str, Any]]:
    """One customer's features as of each instant, which are asked in order of time, as `arrivals` are given. Events
    that arrived at an instant are in its row. Repeats of a message are dropped."""
    waiting = iter(without_repeats(arrivals))
    state = new_state(plan)
    upcoming = next(waiting, None)
    for instant_ms in instants_ms:
        while upcoming is not None and upcoming.at_ms <= instant_ms:
            fold(plan, state, upcoming.event)
            upcoming = next(waiting, None)
        yield read(plan, state, instant_ms)


def folded(plan: FoldPlan, events: Iterable[Event]) -> State:
    """The state of a customer of whom these events are known; no event stands twice among them."""
    state = new_state(plan)
    for event in events:
        fold(plan, state, event)
    return state


def without_repeats(arrivals: Iterable[Arrival]) -> Iterator[Arrival]:
    """The first arrival of every message."""
    seen: set[bytes] = set()
    for arrival in arrivals:
        if arrival.event.message_id not in seen:
            seen.add(arrival.event.message_id)
            yield arrival
