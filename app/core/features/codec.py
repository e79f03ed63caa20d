"""A group's state as bytes: `[newest_ms, lane id, cells, lane id, cells, …]` in MessagePack.

Lanes are named by 32 bits of their key, so what one bundle's plan wrote another one's reads: lanes that it does not
know are passed over, lanes that are not there are empty. Equal states are equal bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ormsgpack

from app.core.features.plan import FoldPlan, Group, GroupState, State


class UnreadableState(ValueError):
    """Bytes that this fold did not write. Features are then missing: open on scores, as nothing is known."""


class OverfullState(ValueError):
    """A number of more than 64 bits: millions of events of one customer in one bucket, each of them huge. The event
    that brought it there belongs in quarantine, and the state in memory is thrown away."""


def encode(group: Group, held: GroupState) -> bytes:
    """Raises OverfullState."""
    flat: list[Any] = [held[0]]
    for lane_id, cells in zip(group.lane_ids, held[1:], strict=True):
        flat += (lane_id, cells)
    try:
        return ormsgpack.packb(flat, option=ormsgpack.OPT_SORT_KEYS)
    except TypeError as error:
        raise OverfullState(f"the state of `{group.key}` outgrew 64 bits") from error


def decode(group: Group, data: bytes) -> GroupState:
    """Raises UnreadableState."""
    try:
        flat = ormsgpack.unpackb(data)
        ids = flat[1::2]
        if tuple(ids) == group.lane_ids:  # written under the same plan, nearly always
            return [flat[0], *flat[2::2]]
        found = dict(zip(ids, flat[2::2], strict=True))
        lanes = zip(group.lane_ids, group.lanes, strict=True)
        return [flat[0], *(found[lane_id] if lane_id in found else lane.new() for lane_id, lane in lanes)]
    except (ValueError, TypeError, IndexError) as error:  # ormsgpack's own error is a ValueError
        raise UnreadableState(f"the state of `{group.key}` cannot be read") from error


def state_of(plan: FoldPlan, stored: Mapping[str, bytes]) -> State:
    """A customer's state from its groups by key. Raises UnreadableState."""
    return [decode(group, stored[group.key]) if group.key in stored else None for group in plan.groups]
