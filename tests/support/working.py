"""Event workers on a real store, and what they should come to."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio import Redis

from app.core.events.entry import decode, decode_letter, encode
from app.core.events.event import Collected, Letter
from app.core.features.chunk import Results
from app.core.features.codec import state_of
from app.core.features.plan import FoldPlan, State
from app.core.features.read import read
from app.flows.work_events import Conversions, EventWorker, Identity
from app.store.fold_steps import Kept
from app.store.fold_store import FoldStore
from app.store.keys import Keys
from app.store.shard_leases import ShardLeases
from app.store.watermarks import Watermarks
from app.worker import load_scripts
from tests.support.folding import plan_of
from tests.support.link import linked

NOW_MS = 1_796_083_200_000  # 2026-12-01T00:00:00Z
DAY_MS = 86_400_000
#: Kept for ever, as far as a test can tell.
KEPT = Kept(365 * DAY_MS, 365 * DAY_MS)
FEATURES = """
views_7d:    {on: viewed, count: 1, window: 7d}
dearest:     {on: [viewed, added], max: price, window: 30d}
spend_90d:   {on: bought, sum: revenue, window: 90d}
"""
PLAN = plan_of(FEATURES)
KEYS = Keys(8)


def viewed(customer: str, number: int, at_ms: int = NOW_MS, once: bytes = b"", **properties: Any) -> Collected:
    return happened("viewed", customer, number, at_ms, once, **properties)


def happened(
    kind: str, customer: str, number: int, at_ms: int = NOW_MS, once: bytes = b"", **properties: Any
) -> Collected:
    return Collected(customer, kind, 1, at_ms, at_ms + 1_000, number.to_bytes(8, "big"), once, properties)


async def collected(client: Redis, events: Iterable[Collected], keys: Keys = KEYS) -> None:
    """Write events as the door does."""
    pipeline = client.pipeline(transaction=False)
    for each in events:
        pipeline.xadd(keys.events(keys.shard_of(each.customer)), {"e": encode(each)})
    await pipeline.execute()


class Counted(Counter[Results]):
    """What a worker counted, and what went wrong."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.troubles: list[str] = []

    def note(self, result: Results, n: int) -> None:
        self[result] += n


@asynccontextmanager
async def worker_on(
    url: str,
    owner: str = "w1",
    plan: FoldPlan = PLAN,
    keys: Keys = KEYS,
    identity: Identity | None = None,
    kept: Kept = KEPT,
    strict: bool = False,
    conversions: Conversions | None = None,
) -> AsyncIterator[tuple[EventWorker, Counted]]:
    """A worker that does what it is told to: `tend`, `look`."""
    async with linked(url, on_connect=load_scripts) as link:
        counted = Counted()
        leases = ShardLeases(link, keys, owner)
        store = FoldStore(link, keys, plan, kept, strict=strict)
        yield (
            EventWorker(
                leases, store, Watermarks(link), plan, identity, counted.note, counted.troubles.append, conversions
            ),
            counted,
        )


@asynccontextmanager
async def running(worker: EventWorker) -> AsyncIterator[None]:
    """Works by itself, and ends in order."""
    stopped = asyncio.Event()
    task = asyncio.create_task(worker.run(stopped))
    try:
        yield
    finally:
        stopped.set()
        await task


async def worked_off(url: str, **others: Any) -> Counted:
    """Everything that is in the streams is worked off; what was counted."""
    async with worker_on(url, **others) as (worker, counted):
        await worker.tend()
        await work_off(worker)
        await worker.tend()
        await worker.leave()
        return counted


async def work_off(worker: EventWorker) -> None:
    """Twice after the last that there was: the first look may have sent something to other streams."""
    idle = 0
    while idle < 2:
        before = [held.position for held in worker.held.values()]
        await worker.look()
        idle = idle + 1 if before == [held.position for held in worker.held.values()] else 0


async def state_in(client: Redis, customer: str, plan: FoldPlan = PLAN, keys: Keys = KEYS) -> State:
    """What the store holds of a customer's features."""
    held: Any = await client.hgetall(keys.of(customer).features)
    return state_of(plan, {key.decode(): raw for key, raw in held.items()})


async def features_in(
    client: Redis, customer: str, now_ms: int = NOW_MS, plan: FoldPlan = PLAN, keys: Keys = KEYS
) -> dict[str, Any]:
    return read(plan, await state_in(client, customer, plan, keys), now_ms)


async def letters_in(client: Redis, keys: Keys = KEYS) -> list[Letter]:
    found: list[Letter] = []
    for shard in range(keys.shards):
        entries: Any = await client.xrange(keys.dead_letters(shard))
        found += [decode_letter(fields[b"e"]) for _, fields in entries]
    return found


async def left_in(client: Redis, keys: Keys = KEYS) -> list[Collected]:
    """What the streams still hold."""
    found: list[Collected] = []
    for shard in range(keys.shards):
        entries: Any = await client.xrange(keys.events(shard))
        found += [decode(fields[b"e"]) for _, fields in entries]
    return found


async def all_states(client: Redis, keys: Keys = KEYS) -> dict[str, dict[bytes, bytes]]:
    """Every customer's features, as bytes."""
    found: dict[str, Any] = {}
    async for key in client.scan_iter(b"{s*}:f:*", count=1000):
        found[key.partition(b":f:")[2].decode()] = await client.hgetall(key)
    return found


def without_repeats(events: Sequence[Collected]) -> list[Collected]:
    seen: set[bytes] = set()
    kept = []
    for each in events:
        ids = {each.message_id, each.once} - {b""}
        if not ids & seen:
            kept.append(each)
            seen |= ids
    return kept


def by_customer(events: Iterable[Collected], became: Mapping[str, str] | None = None) -> dict[str, list[Collected]]:
    """Events by whose they are in the end."""
    found: dict[str, list[Collected]] = {}
    for each in events:
        customer = each.customer
        while became and customer in became:
            customer = became[customer]
        found.setdefault(customer, []).append(each)
    return found
