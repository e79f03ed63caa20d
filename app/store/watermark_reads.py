"""Watermarks as they lie in the store: a command that asks for some of them, and what its reply means."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from app.core.features.watermarks import NO_WATERMARKS, Watermarks
from app.store.keys import CTL_WATERMARKS
from app.store.resp import pack


class WatermarkReads:
    """Asks for some event types and shards: with 256 shards 2 KB, which the store has ready in some 20 µs."""

    def __init__(self, event_types: Iterable[str], shards: Iterable[int]) -> None:
        self._types, self._shards = tuple(event_types), tuple(shards)
        #: The fields to ask for, in order.
        self.fields = [*(f"e:{name}" for name in self._types), *(f"s:{shard}" for shard in self._shards)]

    @property
    def command(self) -> bytes:
        """The same for a link."""
        return pack("HMGET", CTL_WATERMARKS, *self.fields)

    def watermarks(self, reply: Any) -> Watermarks:
        """What the reply tells. What cannot be read is not known, and features count as stale then."""
        if not isinstance(reply, list):
            return NO_WATERMARKS
        marks = [_ms(raw) for raw in reply]
        return Watermarks(_known(self._types, marks), _known(self._shards, marks[len(self._types) :]))


def _known(names: Iterable[Any], marks: Sequence[int | None]) -> dict[Any, int]:
    return {name: ms for name, ms in zip(names, marks, strict=False) if ms is not None}


def _ms(raw: bytes | None) -> int | None:
    return int(raw) if raw is not None and raw.isdigit() else None
