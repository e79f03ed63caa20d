"""What is known of what a decision sent, for people to look at."""

from __future__ import annotations

from typing import cast

from redis.asyncio import Redis

from app.core.decision.ids import DecisionId
from app.store.customer_trouble import merged_into
from app.store.keys import Keys


async def outcomes_of(client: Redis, keys: Keys, decision: DecisionId, customer: str) -> dict[bytes, bytes]:
    """By its customer; or by whom that one became, where what was told later lies. Raises redis errors."""
    name = str(decision).encode()
    held = cast("dict[bytes, bytes]", await client.hgetall(keys.outcomes(keys.shard_of(customer), name)))
    if (became := await merged_into(client, keys.profile(customer))) is None:
        return held
    return cast("dict[bytes, bytes]", await client.hgetall(keys.outcomes(keys.shard_of(became), name))) or held
