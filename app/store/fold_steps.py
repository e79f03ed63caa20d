"""A chunk of a shard's stream between the store and the worker: what was read, what is known of it, what is written."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from app.core.features.chunk import Chunk, Stored, StreamEntry, Worked
from app.core.features.plan import FoldPlan
from app.store.shard_leases import Held
from app.store.trimming import order_of
from policy.bundle import Bundle


class Backlog(NamedTuple):
    """What a shard's stream holds after its position."""

    held: Held
    entries: list[StreamEntry]
    read_ms: int  # the store's time
    more: bool  # it holds more than was read

    def commit(self, chunk: Chunk, worked: Worked, known: Known) -> Commit:
        """What is to be written of it."""
        return Commit(self.held, chunk, worked, known, self.read_ms)

    @property
    def is_applied(self) -> bool:
        """Whether the shard's position is behind all that was read."""
        return not self.entries or self.held.position == self.entries[-1].id

    @property
    def lag_ms(self) -> int:
        """How far the shard is behind: since when its oldest entry that is not applied may wait."""
        if self.is_applied and not self.more:
            return 0
        oldest = self.held.position if self.is_applied else self.entries[0].id
        return max(0, self.read_ms - order_of(oldest)[0])

    def note_applied(self) -> None:
        """Until when the shard is applied: when it held no more, or else as far as it was read."""
        held = self.held
        upto_ms = self.read_ms if self.is_applied and not self.more else order_of(held.position)[0]
        held.applied_until_ms = max(held.applied_until_ms, upto_ms)


class Kept(NamedTuple):
    """How long things are kept after they were last written, in ms."""

    features_ms: int
    carried_ms: int  # who a customer became

    @classmethod
    def of(cls, plan: FoldPlan, bundle: Bundle) -> Kept:
        """Features are kept as long as they are of use and may be kept."""
        profile_ms = bundle.profile_retention_s * 1000
        may_ms = profile_ms if bundle.features_retention_s is None else bundle.features_retention_s * 1000
        return cls(may_ms if plan.keep_ms is None else max(1, min(plan.keep_ms, may_ms)), profile_ms)


class Known(NamedTuple):
    """What is to know of a chunk before it is worked off."""

    seen: set[int]  # those of its ids that the shard had
    stored: dict[str, Stored]
    erased: dict[str, int]  # customers who were erased: until when (Unix ms) what was received of them is dropped
    erasures: bytes  # how many customers of the shard were erased so far


class Commit(NamedTuple):
    """What is to be written of a shard."""

    held: Held
    chunk: Chunk
    worked: Worked
    known: Known
    now_ms: int


class Committed(IntEnum):
    """What came of it; the numbers are the script's."""

    DONE = 1
    LOST = 0  # another worker holds the shard
    MOVED = -1
    ERASED_MEANWHILE = -2

    @property
    def is_done(self) -> bool:
        return self is Committed.DONE

    @property
    def is_ours_no_more(self) -> bool:
        """Whether what is known of the shard must be read again, and perhaps cannot."""
        return self in (Committed.LOST, Committed.MOVED)
