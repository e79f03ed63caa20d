"""More events than there is room for, and a worker that dies."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter, deque
from dataclasses import dataclass, field

from loadtests.beside import run
from loadtests.events.ask import Asker, asker
from loadtests.events.stage import HOST, Stage
from loadtests.events.traffic import BATCH, CUSTOMERS, key
from loadtests.events.visible import SHARDS
from loadtests.lines import Line

USUAL_RATE = 2_000  # events a second
TIMES = 20
SENDERS = 16
RETRY_AT_MOST_S = 2.0  # a sender that was told to come again in more looks then, all the same
TAKEOVER_WITHIN_S = 5.0


@dataclass(slots=True)
class _Storm:
    """Requests that fall due, senders that obey a refusal and send the same again."""

    due: deque[bytes] = field(default_factory=deque)
    statuses: Counter[int] = field(default_factory=Counter)
    without_retry_after: int = 0  # refusals that do not say when to come again
    waited_most_s: float = 0.0
    longest_queue: int = 0
    acknowledged: int = 0
    over: bool = False

    async def feed(self, requests: list[bytes], rate: float) -> None:
        began = time.monotonic()
        for number, request in enumerate(requests):
            await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
            self.due.append(request)
            self.longest_queue = max(self.longest_queue, len(self.due))
        self.over = True

    async def send(self, one: Asker) -> None:
        while self.due or not self.over:
            if not self.due:
                await asyncio.sleep(0.002)
                continue
            await self._until_taken(one, self.due.popleft())

    async def _until_taken(self, one: Asker, request: bytes) -> None:
        while True:
            answer = await one.ask(request)
            self.statuses[answer.status] += 1
            if answer.status == 200:
                self.acknowledged += 1
                return
            if answer.status not in (429, 503):
                raise RuntimeError(f"events were refused: {answer.status} {answer.body[:300]!r}")
            after_s = answer.retry_after_s()
            self.without_retry_after += after_s is None
            self.waited_most_s = max(self.waited_most_s, after_s or 0.0)
            await asyncio.sleep(min(after_s or 1.0, RETRY_AT_MOST_S))


def burst(on: Stage, seconds: float) -> list[Line]:
    """Twenty times the usual rate for so long, from senders that do as they are told, into streams with little room."""
    rate = USUAL_RATE * TIMES
    requests = on.batches.prepare(round(rate * seconds / BATCH))
    before = on.visible.count()
    storm = _Storm()

    async def all_of_it() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(storm.feed(requests, rate / BATCH))
            for _ in range(SENDERS):
                group.create_task(_sender(storm, on.server.port))

    began = time.monotonic()
    run(all_of_it())
    taken_s = time.monotonic() - began
    on.visible.await_applied()
    applied_s = time.monotonic() - began
    counted, sent = on.visible.count() - before, len(requests) * BATCH
    refused = sum(number for status, number in storm.statuses.items() if status != 200)
    raw = {"statuses": dict(storm.statuses), "taken_s": taken_s, "applied_s": applied_s, "counted": counted}
    words = f"burst of {rate:,}/s for {seconds:g} s, {sent:,} events: visible in the end"
    return [
        Line(words, "all", f"{counted:,}", counted == sent, raw),
        Line(
            "… refused meanwhile, all with Retry-After",
            "with",
            f"{refused:,} of {refused + storm.acknowledged:,} requests, longest {storm.waited_most_s:g} s",
            storm.without_retry_after == 0,
        ),
        Line("… all taken, all visible after", "", f"{taken_s:.1f} s, {applied_s:.1f} s", None),
    ]


async def _sender(storm: _Storm, port: int) -> None:
    async with asker(HOST, port) as one:
        await storm.send(one)


def takeover(on: Stage) -> list[Line]:
    """Two workers share the shards; one is killed; how long until what happens in its shards is visible again."""
    second = on.start_worker()
    shared_s = on.visible.await_held(SHARDS // 4, workers=2)
    owners = on.visible.owners()
    mine = next(owner for owner in set(owners.values()) if owner.decode().startswith(f"{second.pid}-"))
    orphans = {shard for shard, owner in owners.items() if owner == mine}
    names = [name for name in map(key, range(CUSTOMERS)) if on.visible.keys.shard_of(name) in orphans][: len(orphans)]
    before = on.visible.count()
    os.kill(second.pid, signal.SIGKILL)
    began = time.monotonic()

    async def tell() -> None:
        async with asker(HOST, on.server.port) as one:
            for name in names:
                answer = await one.ask(on.batches.single(name))
                assert answer.status == 200, answer

    run(tell())
    on.visible.await_applied()
    took_s = time.monotonic() - began
    second.wait()
    counted = on.visible.count() - before
    raw = {"took_s": took_s, "shared_s": shared_s, "orphans": len(orphans)}
    return [
        Line(
            f"takeover after SIGKILL, until events of its {len(orphans)} shards are visible",
            f"≤ {TAKEOVER_WITHIN_S:g} s",
            f"{took_s:.2f} s, {counted} of {len(names)} visible",
            took_s <= TAKEOVER_WITHIN_S and counted == len(names),
            raw,
        ),
        Line("a second worker has its share after", "", f"{shared_s:.1f} s", None),
    ]
