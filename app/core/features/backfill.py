"""Which lanes of a plan lack history, and what of a customer's past belongs into them.

A lane lacks what passed before the first worker that folds it took over. What an earlier plan kept of it already, with
fewer buckets, must not be added once more: so of a lane that grew only the buckets that are older than those are
filled. The result is what the lane would hold if it had always been folded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple, TypeAlias

from app.core.features.plan import FoldPlan, Group, GroupState, group_key, needs
from app.core.features.sketches import Keys

#: A lane by its group and key → how many buckets of it are kept. The lane '' of a group is when its newest event was.
Lanes: TypeAlias = Mapping[str, int]


class Change(NamedTuple):
    """From a position of a shard on, its events are folded into these lanes."""

    lanes: Lanes
    position: tuple[int, int]


class Missing(NamedTuple):
    """A lane lacks what passed up to a position, but for its newest `kept` buckets."""

    position: tuple[int, int]
    kept: int


class CannotFill(Exception):
    """A lane cannot be filled exactly; the message says why and what to do.

    `position` is from where on the lane is folded all the same; None: it is not folded now.
    """

    def __init__(self, message: str, position: tuple[int, int] | None = None) -> None:
        super().__init__(message)
        self.position = position


def lanes_of(plan: FoldPlan) -> dict[str, int]:
    """The lanes of a plan."""
    lanes = {}
    for group in plan.groups:
        lanes[_name(group, "")] = 1
        lanes |= {_name(group, lane.key): lane.buckets.kept for lane in group.lanes}
    return lanes


def digest_of(lanes: Lanes) -> str:
    """16 hex digits: plans of one digest keep the same."""
    text = "\n".join(f"{name} {kept}" for name, kept in sorted(lanes.items()))
    return blake2b(text.encode(), digest_size=8).hexdigest()


def missing(wanted: Lanes, changes: Sequence[Change], filled: Mapping[str, Missing]) -> dict[str, Missing]:
    """What lanes lack in a shard with these changes of plan, the oldest first; `filled` is what was filled before.
    Raises CannotFill."""
    found = {}
    folding = _that_folded(changes)
    for name, kept in wanted.items():
        lack = _missing(name, kept, folding, filled)
        if lack is not None and filled.get(name) != lack:
            found[name] = lack
    return found


def _that_folded(changes: Sequence[Change]) -> list[Change]:
    """Without those that were followed at the same position: no event was folded with them. The first one stays, where
    it is not known what was before it."""
    return [
        change
        for number, change in enumerate(changes)
        if number + 1 == len(changes)
        or changes[number + 1].position != change.position
        or (number == 0 and change.position != (0, 0))
    ]


def _missing(name: str, kept: int, changes: Sequence[Change], filled: Mapping[str, Missing]) -> Missing | None:
    had = [change.lanes.get(name, 0) for change in changes]
    if not had or had[-1] < kept:
        raise CannotFill("events are not folded with this bundle yet: start the worker with it, then fill")
    since = len(had) - 1
    while since and had[since - 1] >= kept:
        since -= 1
    if since == 0:
        return None
    before = had[since - 1]
    lack = Missing(changes[since].position, before)
    if filled.get(name) == lack:
        return lack
    if any(each != before for each in had[:since]):
        # Of some customers cells are left from then, of others not: nothing added to them would be exact.
        raise CannotFill(
            f"`{name.replace('|', ': ')}` was folded before, and not all the time since: give the feature another "
            "window, or let its window pass before a release uses it",
            changes[since].position,
        )
    return lack


def reading(plan: FoldPlan, lanes: Lanes) -> FoldPlan:
    """The part of a plan whose features need one of these lanes."""
    named = set(lanes)

    def needed(rule: Any) -> bool:
        own = {f"{group_key(need.events)}|{need.key}" for need in needs(rule)}
        own |= {f"{group_key(events)}|" for events in (rule.events, rule.against) if events}
        return bool(own & named)

    return FoldPlan.of_rules(rule for rule in plan.features if needed(rule))


def share_of(group: Group, held: GroupState, lacking: Mapping[str, Missing]) -> GroupState | None:
    """What of a group's state belongs into the lanes that lack it; None: nothing."""
    share: GroupState = [held[0]]
    for lane, cells in zip(group.lanes, held[1:], strict=True):
        lack = lacking.get(_name(group, lane.key))
        share.append(lane.new() if lack is None else _older(lane, cells, lack.kept))
    return share if any(share[1:]) or _name(group, "") in lacking else None


def _older(lane: Any, cells: Any, kept: int) -> Any:
    """The cells without those of the newest buckets."""
    if not kept:
        return cells
    if isinstance(lane, Keys):
        return {key: [0] * kept + counts[kept:] for key, counts in cells.items() if len(counts) > kept}
    return [lane.empty] * kept + cells[kept:] if len(cells) > kept else []


def _name(group: Group, key: str) -> str:
    return f"{group.key}|{key}"
