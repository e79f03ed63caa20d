"""An equal share of the shards for each worker, whoever comes, goes or dies.

say that we live → renew what is held → how large is a share → give back what is too much, take what is free
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # handed in by the composition root
    from app.store.shard_leases import Held, ShardLeases


class ShardShare:
    """The shards that this process works on."""

    def __init__(self, leases: ShardLeases, begin: Callable[[Sequence[Held]], Awaitable[None]]) -> None:
        """`begin(taken)` is called before anything of them is worked on."""
        self._leases = leases
        self._begin = begin
        self._is_announced = False
        self.held: dict[int, Held] = {}

    async def share(self) -> None:
        """Once a second. Raises StoreError, ReplyError."""
        if not self._is_announced:
            await self._leases.announce()
            self._is_announced = True
        living = await self._leases.alive()
        for lost in await self._leases.renew(list(self.held.values())):
            self.forget(lost)
        quota = self._leases.quota(living)
        await self._give_back(len(self.held) - quota)
        await self._take(quota - len(self.held))

    def forget(self, held: Held) -> None:
        """It is somebody else's, or must be taken again to know what holds."""
        if self.held.get(held.shard) is held:
            del self.held[held.shard]

    async def leave(self) -> None:
        """Give everything back: others may take it at once. Raises StoreError, ReplyError."""
        held, self.held = list(self.held.values()), {}
        await self._leases.give_back(held)
        await self._leases.leave()

    async def _give_back(self, number: int) -> None:
        if number > 0:
            given = sorted(self.held.values(), key=lambda each: each.shard)[-number:]
            for each in given:
                self.forget(each)
            await self._leases.give_back(given)

    async def _take(self, number: int) -> None:
        if number > 0:
            free = await self._leases.free([shard for shard in range(self._leases.shards) if shard not in self.held])
            taken = await self._leases.take(free[:number])
            await self._begin(taken)
            self.held |= {each.shard: each for each in taken}
