"""Until when events of a type, and of a shard, are known to be complete; none is ever lowered."""

from __future__ import annotations

from collections.abc import Mapping

from app.store.keys import CTL_WATERMARKS
from app.store.link import Link
from app.store.resp import pack
from app.store.round_trips import asked
from app.store.scripts import Script

RAISE = Script.load("raise_watermarks.lua")


class Watermarks:
    """Raises them. Its methods raise StoreError and ReplyError."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def raise_to(self, types: Mapping[str, int], shards: Mapping[int, int]) -> None:
        """Event types and shards, each with the Unix ms until which it is complete."""
        args: list[str | int] = []
        for name, ms in types.items():
            args += [f"e:{name}", ms]
        for shard, ms in shards.items():
            args += [f"s:{shard}", ms]
        if args:
            await asked(self._link, [pack("EVALSHA", RAISE.sha, 1, CTL_WATERMARKS, *args)])
