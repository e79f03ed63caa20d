"""What the webhook door itself keeps: proofs that may be used once, and what it did not understand."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import TypeAlias, cast

import orjson
from redis.asyncio import Redis

from app.core.webhooks.provider import Ticket
from app.core.webhooks.puzzles import Puzzle
from app.store.decision_log import reading_the_store
from app.store.keys import CTL_WEBHOOK_PUZZLES, webhook_ticket

#: Longer than any provider repeats (Customer.io: a week).
TICKET_KEPT_S = 8 * 86_400
PUZZLES_KEPT = 1_000
PUZZLES_KEPT_S = 35 * 86_400
#: One puzzle, as JSON. What is larger is kept by its type alone.
PUZZLE_BYTES_MAX = 8_192

Entries: TypeAlias = list[tuple[bytes, dict[bytes, bytes]]]


class WebhookStore:
    """Off the hot path, over redis-py. Its methods raise Problem `store_unavailable`."""

    def __init__(self, client: Redis) -> None:
        self._client = client

    async def first_use(self, provider: str, ticket: Ticket) -> bool:
        """Whether a ticket was never used for anything else. Saying the same again is no other use: after a crash
        between this and what follows, the provider's repeat is taken."""
        name = webhook_ticket(blake2b(f"{provider}\0{ticket.token}".encode(), digest_size=16).hexdigest())
        with reading_the_store():
            said = await self._client.set(name, ticket.said, nx=True, get=True, ex=TICKET_KEPT_S)
        return said is None or said == ticket.said

    async def keep(self, provider: str, puzzles: Sequence[Puzzle]) -> None:
        """Keep the newest thousand, for 35 days."""
        with reading_the_store():
            pipeline = self._client.pipeline(transaction=False)
            for puzzle in puzzles:
                item = orjson.dumps(puzzle.item)
                fields = {"provider": provider, "code": puzzle.code, "type": puzzle.raw_type}
                fields["item"] = item.decode() if len(item) <= PUZZLE_BYTES_MAX else "{}"
                pipeline.xadd(CTL_WEBHOOK_PUZZLES, fields, maxlen=PUZZLES_KEPT, approximate=True)  # type: ignore[arg-type]  # texts, as redis-py takes
            pipeline.expire(CTL_WEBHOOK_PUZZLES, PUZZLES_KEPT_S)
            await pipeline.execute()

    async def puzzles(self, at_most: int) -> list[dict[str, str]]:
        """What was not understood, the newest first."""
        with reading_the_store():
            entries = cast(Entries, await self._client.xrevrange(CTL_WEBHOOK_PUZZLES, count=at_most))
        return [
            {"at_ms": entry.decode().partition("-")[0]} | {name.decode(): text.decode() for name, text in said.items()}
            for entry, said in entries
        ]
