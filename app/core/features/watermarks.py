"""Until when events are known to be complete: what a freshness contract (`max_lag`) of a feature is held against.

A type of event is complete as far as its sources have told: up to the last event of it that was applied, or the last
heartbeat. A shard is complete as far as its worker has applied it. What nobody has told of is complete up to no time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple, TypeVar

K = TypeVar("K")
_NOTHING: Mapping[str, int] = MappingProxyType({})


class Watermarks(NamedTuple):
    """Event type → Unix ms, shard → Unix ms, as they were told last; none is ever lowered."""

    types_ms: Mapping[str, int] = _NOTHING
    shards_ms: Mapping[int, int] = MappingProxyType({})

    def as_of_ms(self, events: Iterable[str], shard: int) -> int | None:
        """Until when these events of the shard's customers are complete; None: nobody knows."""
        as_of_ms = self.shards_ms.get(shard)
        if as_of_ms is None:
            return None
        for event in events:
            told_ms = self.types_ms.get(event)
            if told_ms is None:
                return None
            as_of_ms = min(as_of_ms, told_ms)
        return as_of_ms

    def raised_to(self, later: Watermarks) -> Watermarks:
        """Both, each at its later time: what was once told stays true."""
        return Watermarks(_later(self.types_ms, later.types_ms), _later(self.shards_ms, later.shards_ms))


def _later(one: Mapping[K, int], other: Mapping[K, int]) -> Mapping[K, int]:
    return {key: max(one.get(key, 0), other.get(key, 0)) for key in {**one, **other}}


NO_WATERMARKS = Watermarks()
