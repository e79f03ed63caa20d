"""What is known of a group's archive, as one value of the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import ormsgpack

#: Before every entry of a stream.
START = b"0-0"


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a group's archive."""

    batches: int = 0  # committed so far; the next one's number
    positions: Mapping[int, bytes] = field(default_factory=dict)  # shard → its last archived entry
    #: A batch that was begun: up to which entries. Whoever comes next makes just this one first, so that its files are
    #: the same.
    begun: Mapping[int, bytes] | None = None
    whole_from_ms: int | None = (
        None  # of what passed since then nothing is missing; 0: nothing ever; None: not known yet
    )
    tidied_ms: int = 0  # hours before this one are one file each

    def packed(self) -> bytes:
        begun = None if self.begun is None else dict(self.begun)
        values = [self.batches, dict(self.positions), begun, self.whole_from_ms, self.tidied_ms]
        return ormsgpack.packb(values, option=ormsgpack.OPT_NON_STR_KEYS)

    @classmethod
    def unpacked(cls, raw: bytes) -> Known:
        return cls(*ormsgpack.unpackb(raw, option=ormsgpack.OPT_NON_STR_KEYS)) if raw else cls()

    def position(self, shard: int) -> bytes:
        return self.positions.get(shard, START)
