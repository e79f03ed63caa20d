"""The link to a primary that sentinels watch: it follows when they name another one.

redis-py asks the sentinels at every connect. A primary that dies, or is demoted in order, ends its connections, and the
next connect leads to the new one. One that was replaced without noticing, behind a broken network, does not: so the
sentinels are asked all the time, and their word ends the connection.
"""

from __future__ import annotations

import asyncio
import contextlib

from redis.exceptions import RedisError

from app.ending import end_task
from app.store.clients import ASK_EVERY_S, SentinelPool
from app.store.node_link import NodeLink


class SentinelLink(NodeLink):
    """A `NodeLink` to whatever server is the primary."""

    _watching: asyncio.Task[None] | None = None

    def start(self) -> None:
        super().start()
        if isinstance(self._pool, SentinelPool):
            self._watching = asyncio.get_running_loop().create_task(self._watch(self._pool), name="sentinels")

    async def close(self) -> None:
        if self._watching is not None:
            await end_task(self._watching)
            self._watching = None
        await super().close()
        await self._pool.disconnect()

    async def _watch(self, pool: SentinelPool) -> None:
        while True:
            await asyncio.sleep(ASK_EVERY_S)
            if self.wire is None:
                continue  # whoever connects asks
            with contextlib.suppress(RedisError, OSError):
                primary = await pool.get_master_address()  # type: ignore[no-untyped-call]  # redis-py
                if self.wire is not None and primary != self.peer:
                    self.drop("the sentinels name another primary")
