"""The fold: one event into a customer's state, and two states into one.

It is the same for live events, for history that is replayed and for training rows, and it is pure: no clock, no chance,
no order. What a state holds is a function of the multiset of events that were folded into it. Repeats of an event must
be dropped before, by their message id.

An event that is older than a lane reaches, counted back from the newest event of its group, has no effect on it. An
event ahead of the clock counts at once; its group's windows then end with it until the clock is there.
"""

from __future__ import annotations

from app.core.events.event import Event
from app.core.features.lanes import Lane
from app.core.features.plan import FoldPlan, Group, GroupState, State


def fold(plan: FoldPlan, state: State, event: Event) -> tuple[int, ...]:
    """Adds an event to a customer's state, in place; the indexes of the groups that changed.

    Raises UnfoldableEvent, and has then changed nothing.
    """
    groups = plan.routes.get(event.type)
    if groups is None:
        return ()
    taken = [[take(event) for take in group.takes] for group in groups]
    return tuple(
        group.index
        for group, values in zip(groups, taken, strict=True)
        if _add(state, group, event.occurred_at_ms, values)
    )


def _add(state: State, group: Group, at_ms: int, values: list[object]) -> bool:
    held = state[group.index]
    changed = False
    if held is None:
        held = state[group.index] = [at_ms, *(lane.new() for lane in group.lanes)]
        changed = True
    elif at_ms > held[0]:
        _advance(held, group.lanes, at_ms)
        changed = True
    newest_ms = held[0]
    for (position, step_ms, kept, put), value in zip(group.puts, values, strict=True):
        if value is None:
            continue
        age = 0 if at_ms == newest_ms else newest_ms // step_ms - at_ms // step_ms
        if age < kept and put(held[position], age, value):
            changed = True
    return changed


def _advance(held: GroupState, lanes: tuple[Lane, ...], newest_ms: int) -> None:
    """A newer event than all before: every lane's cells grow older."""
    before_ms, held[0] = held[0], newest_ms
    for position, lane in enumerate(lanes, 1):
        step_ms = lane.buckets.step_ms
        by = newest_ms // step_ms - before_ms // step_ms
        if by:
            held[position] = lane.aged(held[position], by)


def united(plan: FoldPlan, one: State, other: State) -> State:
    """The state of a customer who turned out to be two: as if all events had been folded into one. Changes neither."""
    return [_united(group, held, theirs) for group, held, theirs in zip(plan.groups, one, other, strict=True)]


def _united(group: Group, one: GroupState | None, other: GroupState | None) -> GroupState | None:
    if one is None or other is None:
        kept = other if one is None else one
        return None if kept is None else _aged(group, kept, kept[0])
    newest_ms = max(one[0], other[0])
    mine, theirs = _aged(group, one, newest_ms), _aged(group, other, newest_ms)
    lanes = zip(group.lanes, mine[1:], theirs[1:], strict=True)
    return [newest_ms, *(lane.unite(cells, others) for lane, cells, others in lanes)]


def _aged(group: Group, held: GroupState, newest_ms: int) -> GroupState:
    """A copy, as it would be after an event of which nothing is kept but its time."""
    aged: GroupState = [newest_ms]
    for lane, cells in zip(group.lanes, held[1:], strict=True):
        step_ms = lane.buckets.step_ms
        aged.append(lane.aged(cells, newest_ms // step_ms - held[0] // step_ms))
    return aged
