"""What all nodes of a deployment must agree on, kept in the store from its first start."""

from __future__ import annotations

import secrets
from typing import cast

from redis.asyncio import Redis

from app.store.keys import CTL_HASH_KEY, CTL_SHARDS


class ShardsDiffer(Exception):
    """The store was filled with another number of shards: its customers would not be found."""

    def __init__(self, configured: int, stored: int) -> None:
        super().__init__(
            f"this store was filled with {stored} shards and the server is set to {configured}: "
            f"set NEXTBEST_SHARDS={stored}, or use another store"
        )
        self.configured = configured
        self.stored = stored


async def claim_shards(client: Redis, shards: int) -> None:
    """Fix the number of shards at the first start; raises `ShardsDiffer` at a later one that differs."""
    await client.set(CTL_SHARDS, shards, nx=True)
    stored = int(await client.get(CTL_SHARDS) or shards)
    if stored != shards:
        raise ShardsDiffer(shards, stored)


async def shared_hash_key(client: Redis, configured: str | None) -> bytes:
    """The secret that aliases are hashed with: the configured one, or one made at the first start (256 bits)."""
    if configured is not None:
        return configured.encode()
    made = secrets.token_hex(32)
    await client.set(CTL_HASH_KEY, made, nx=True)
    return cast("bytes | None", await client.get(CTL_HASH_KEY)) or made.encode()
