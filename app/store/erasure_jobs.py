"""Erasures under way, so that any process can go on with one, and the receipts of those that are done.

    ctl:erasures        zset   id → when somebody was last at it, ms; only those that are not done
    ctl:erasure:<id>    hash   hash, requested, who, names, erased, step:<step> → [count, ms, note], done

The customer's keys (`names`) are in it while they are needed, and go when it is done; what stays is the receipt, which
has no end: it proves what was done for somebody whom nobody can name any more.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from typing import Any, cast

import orjson
from redis.asyncio import Redis

from app.core.erasure import Job, Step, Taken
from app.store import keys as key_names
from app.store.customer_trouble import store_errors
from app.store.keys import CTL_ERASURES
from app.store.scripts import Call, Script
from app.store.servers import together

TAKE = Script.load("erasures_take.lua")
STEP = "step:"


def new_erasure() -> str:
    """An id that nobody can guess: receipts are read by it."""
    return f"ers_{secrets.token_hex(12)}"


class ErasureJobs:
    """Notes of erasures. Its methods raise Problem `store_unavailable`; repeating them is harmless."""

    def __init__(self, client: Redis) -> None:
        self._client = client

    async def begin(self, erasure: str, customer: str, customer_hash: str, who: str) -> Job:
        """Note that a customer shall be erased, before anything is deleted. Nobody else takes it up at once."""
        with store_errors():
            now_ms = await self.now_ms()
            job = Job(erasure, (customer_hash,), now_ms, who, (customer,))
            fields = {
                "hash": orjson.dumps(job.hashes),
                "requested": now_ms,
                "who": who,
                "names": orjson.dumps(job.names),
            }
            await cast("Any", self._client.hset(key_names.erasure(erasure), mapping=cast("Any", fields)))
            await self._client.zadd(CTL_ERASURES, {erasure: now_ms})
        return job

    async def erased(self, job: Job, at_ms: int, names: Sequence[str], hashes: Sequence[str]) -> None:
        """The tombstone stands: whose, and since when. From now on any process may go on with it."""
        key = key_names.erasure(job.erasure)
        fields = {"erased": at_ms, "names": orjson.dumps(names), "hash": orjson.dumps(hashes)}
        with store_errors():
            await cast("Any", self._client.hset(key, mapping=cast("Any", fields)))
            await self.record([job.erasure], {job.erasure: Taken(Step.CUSTOMER, len(names), at_ms)})
        await self.wake([job.erasure])

    async def wake(self, erasures: Iterable[str]) -> None:
        """Whoever looks next may go on with these."""
        with store_errors():
            marks = dict.fromkeys(erasures, 0)
            if marks:
                await self._client.zadd(CTL_ERASURES, cast("Any", marks), xx=True)

    async def drop(self, erasure: str) -> None:
        """Forget one that came to nothing: another one had erased the customer."""
        with store_errors():
            await self._client.zrem(CTL_ERASURES, erasure)
            await self._client.delete(key_names.erasure(erasure))

    async def get(self, erasure: str) -> Job | None:
        """None: there is no such erasure."""
        with store_errors():
            stored = await cast("Any", self._client.hgetall(key_names.erasure(erasure)))
        return _job(erasure, stored) if stored else None

    async def take(self, older_than_ms: int, at_most: int) -> list[Job]:
        """Those that are not done and that nobody was at for so long; now this process is."""
        args = (b"%d" % older_than_ms, b"%d" % at_most)
        with store_errors():
            ids = (await TAKE.run(self._client, [Call((CTL_ERASURES,), args)])).replies[0]
        jobs = [await self.get(each.decode()) for each in ids]
        return [job for job in jobs if job is not None]

    async def open(self) -> list[Job]:
        """All that are not done."""
        with store_errors():
            ids = cast("list[bytes]", await self._client.zrange(CTL_ERASURES, 0, -1))
        jobs = [await self.get(each.decode()) for each in ids]
        return [job for job in jobs if job is not None]

    async def hold(self, jobs: Iterable[Job]) -> None:
        """This process is still at them."""
        with store_errors():
            now_ms = await self.now_ms()
            marks = {job.erasure: now_ms for job in jobs}
            if marks:
                await self._client.zadd(CTL_ERASURES, cast("Any", marks), xx=True)

    async def record(self, erasures: Iterable[str], taken: dict[str, Taken]) -> None:
        """A step is done of each; what was noted first stays."""
        with store_errors():
            pipeline = self._client.pipeline(transaction=False)
            for erasure in erasures:
                step = taken[erasure]
                value = orjson.dumps((step.number, step.at_ms, step.note))
                pipeline.hsetnx(key_names.erasure(erasure), STEP + step.step, cast("Any", value))
            await pipeline.execute()

    async def finish(self, erasure: str) -> None:
        """All is done: the customer's keys go, the receipt stays."""
        key = key_names.erasure(erasure)
        with store_errors():
            await together(self._client, ("HSET", key, "done", await self.now_ms()), ("HDEL", key, "names"))
            await self._client.zrem(CTL_ERASURES, erasure)

    async def now_ms(self) -> int:
        """The store's clock."""
        seconds, micros = await self._client.time()
        return seconds * 1000 + micros // 1000


def _job(erasure: str, stored: dict[bytes, bytes]) -> Job:
    steps = []
    for step in Step:
        raw = stored.get((STEP + step).encode())
        if raw is not None:
            steps.append(Taken(step, *orjson.loads(raw)))
    return Job(
        erasure,
        tuple(orjson.loads(stored[b"hash"])),
        int(stored[b"requested"]),
        stored[b"who"].decode(),
        tuple(orjson.loads(stored.get(b"names", b"[]"))),
        int(stored.get(b"erased", 0)),
        tuple(steps),
        int(stored[b"done"]) if b"done" in stored else None,
    )
