"""What is counted of outcomes, by shard and hour; what the watch found last, and whose turn it is to look.

Counts are read over an ordinary client, a few shards at a time: each command touches one key, so that it is the same on
a cluster, and decisions are answered in between. Nothing here is needed to decide: it may fail, and is tried again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import orjson
from redis.asyncio import Redis
from redis.exceptions import RedisError

from app.core.deliverability import Judgement, document, judgement_of
from app.errors import Problem
from app.store.keys import CTL_DELIVERABILITY, CTL_DELIVERABILITY_TURN, Keys

#: Shards that are read at once: 0.3 ms of the store's time with a hundred counts in each.
SHARDS_AT_ONCE = 16
#: A judgement that nobody renewed for so long says nothing any more.
KEPT_S = 7 * 86_400


class WatchStore:
    """All of these raise Problem `store_unavailable`."""

    def __init__(self, client: Redis, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    async def now_ms(self) -> int:
        """The store's clock, Unix ms."""
        with _store_errors():
            seconds, micros = await self._client.time()
        return int(seconds) * 1000 + int(micros) // 1000

    async def take_turn(self, owner: str, for_ms: int) -> bool:
        """Whether it is this process that looks now: nobody else does for `for_ms`. A look that takes longer may have
        company, which is harmless: two brakes are one, and `ControlStore.brake` overrules nobody."""
        with _store_errors():
            return bool(await self._client.set(CTL_DELIVERABILITY_TURN, owner, nx=True, px=for_ms))

    async def hour(self, hour: int) -> dict[str, int]:
        """Everything that is counted of an hour, over all shards. What is no number is passed over."""
        sums: dict[str, int] = {}
        for first in range(0, self._keys.shards, SHARDS_AT_ONCE):
            with _store_errors():
                pipeline = self._client.pipeline(transaction=False)
                for shard in range(first, min(first + SHARDS_AT_ONCE, self._keys.shards)):
                    pipeline.hgetall(self._keys.watch(shard, hour))
                counted: list[dict[bytes, bytes]] = await pipeline.execute()
            for numbers in counted:
                for name, number in numbers.items():
                    if number.isdigit():
                        text = name.decode(errors="replace")
                        sums[text] = sums.get(text, 0) + int(number)
        return sums

    async def keep(self, judgement: Judgement) -> None:
        """Keep it for whoever asks, and for the next look."""
        with _store_errors():
            await self._client.set(CTL_DELIVERABILITY, orjson.dumps(document(judgement)), ex=KEPT_S)

    async def last(self) -> Judgement | None:
        """What was found last; None where nobody ever looked, or a later version wrote it in another way."""
        with _store_errors():
            raw = cast("Any", await self._client.get(CTL_DELIVERABILITY))
        try:
            return None if raw is None else judgement_of(orjson.loads(raw))
        except (ValueError, TypeError, KeyError):
            return None


@contextmanager
def _store_errors() -> Iterator[None]:
    try:
        yield
    except (RedisError, OSError) as error:
        raise Problem("store_unavailable", f"the store failed (`{type(error).__name__}`)", retry_after_s=1) from error
