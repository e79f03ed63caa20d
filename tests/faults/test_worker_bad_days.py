"""Days on which event workers die, freeze or meet each other, and the store goes away: every event counts once."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from redis.asyncio import Redis

from app.core.events.event import Collected
from app.core.features.chunk import Results
from app.flows.work_events import EventWorker
from app.store.clients import open_client
from app.store.keys import CTL_WORKERS, Keys
from tests.support.server import Server, eventually, serving
from tests.support.valkey import StartStore
from tests.support.working import KEYS, all_states, collected, features_in, viewed, worker_on
from tests.support.working_process import (
    BUNDLE,
    Crowd,
    Processes,
    crowd,
    is_worked_off,
    positions,
    processes,
    shop_plan,
)

#: Entries between two bad moments.
SLICE = 250


async def until(condition: Callable[[], Awaitable[bool]], timeout_s: float, workers: Processes | None = None) -> float:
    """How long it took, in s."""
    begun = time.monotonic()
    while not await condition():
        told = "" if workers is None else workers.log
        assert time.monotonic() < begun + timeout_s, f"it did not happen in {timeout_s:g} s\n{told}"
        await asyncio.sleep(0.01)
    return time.monotonic() - begun


async def moved(client: Redis, workers: Processes) -> None:
    """Wait until some worker gets on."""
    before = await positions(client)

    async def has_moved() -> bool:
        return await positions(client) != before

    await until(has_moved, 15, workers)


async def assert_exact(client: Redis, told: Crowd, workers: Processes | None = None) -> None:
    async def done() -> bool:
        return await is_worked_off(client)

    await until(done, 20, workers)
    found = await all_states(client)
    wrong = {name for name in found.keys() | told.expected.keys() if found.get(name) != told.expected.get(name)}
    assert not wrong


@pytest.mark.parametrize("kills", [5, pytest.param(50, marks=pytest.mark.long)])
async def test_workers_that_are_killed_at_any_moment_lose_and_double_nothing(own_store: StartStore, kills: int) -> None:
    store, chance = own_store(), random.Random(kills)
    told = crowd(SLICE * kills, seed=kills)
    left = list(told.entries)
    async with open_client(store.url) as client:
        with processes(store.url) as workers:
            alive = [workers.start(), workers.start()]
            for kill in range(kills):
                now, left = (left, []) if kill == kills - 1 else (left[:SLICE], left[SLICE:])
                await collected(client, now)
                await moved(client, workers)
                await asyncio.sleep(chance.random() * 0.02)  # at any moment of the work
                alive.pop(0).kill()
                alive.append(workers.start())
            await assert_exact(client, told, workers)


async def test_another_worker_takes_over_within_five_seconds(own_store: StartStore) -> None:
    store = own_store()
    async with open_client(store.url) as client:
        with processes(store.url) as workers:
            doomed = workers.start()
            async with worker_on(store.url, "survivor", plan=shop_plan()) as (survivor, _):
                stopped = asyncio.Event()
                running = asyncio.create_task(survivor.run(stopped))
                await until(_share(survivor, KEYS.shards // 2), 15, workers)
                doomed.kill()
                killed_at = time.monotonic()
                await collected(client, [_view(f"cus_{number}", number) for number in range(50)])
                await until(lambda: is_worked_off(client), 5, workers)
                assert time.monotonic() - killed_at < 5
                stopped.set()
                await running


def _share(worker: EventWorker, at_most: int) -> Callable[[], Awaitable[bool]]:
    async def has_it() -> bool:
        return 0 < len(worker.held) <= at_most

    return has_it


def _view(customer: str, number: int) -> Collected:
    return viewed(customer, number, product_id="p")._replace(type="product_viewed")


async def test_a_worker_that_was_frozen_writes_nothing_over_what_others_did_meanwhile(own_store: StartStore) -> None:
    store = own_store()
    told = crowd(2_000, seed=3)
    async with open_client(store.url) as client:
        with processes(store.url) as workers:
            frozen = workers.start()
            await collected(client, told.entries[:500])
            await moved(client, workers)
            frozen.freeze()  # in the middle of something, most likely
            await collected(client, told.entries[500:])
            async with worker_on(store.url, "other", plan=shop_plan()) as (other, counted):
                stopped = asyncio.Event()
                running = asyncio.create_task(other.run(stopped))
                await until(lambda: is_worked_off(client), 15, workers)
                frozen.thaw()
                await until(_share(other, KEYS.shards // 2), 15, workers)  # it came back for its share
                assert counted[Results.APPLIED] > 0
                stopped.set()
                await running
            await assert_exact(client, told, workers)


async def test_a_store_that_is_killed_and_started_again_loses_and_doubles_nothing(own_store: StartStore) -> None:
    store = own_store()
    told = crowd(2_500, seed=4)
    stopped = asyncio.Event()
    async with (
        open_client(store.url) as client,
        worker_on(store.url, "w1", plan=shop_plan()) as (one, _),
        worker_on(store.url, "w2", plan=shop_plan()) as (two, _),
    ):
        running = [asyncio.create_task(each.run(stopped)) for each in (one, two)]
        for at in range(0, len(told.entries), 700):
            await collected(client, told.entries[at : at + 700])
            await asyncio.sleep(0.02)  # so that they are in the middle of it
            await asyncio.to_thread(store.kill)
            await asyncio.to_thread(store.start)
        await assert_exact(client, told)
        stopped.set()
        await asyncio.gather(*running)


async def test_a_server_starts_a_worker_starts_it_again_and_ends_it(own_store: StartStore) -> None:
    store = own_store()
    async with open_client(store.url) as client, serving(store.url, BUNDLE, event_worker="true") as server:
        await _view_a_product(server, 1)
        await eventually(lambda: _views(client, 1))
        first = await _newest_worker(client)
        os.kill(first, signal.SIGKILL)
        await _view_a_product(server, 2)
        await eventually(lambda: _views(client, 2))
        second = await _newest_worker(client)
        assert second != first
        # A count may die with its process, between the commit and the counting.
        await eventually(lambda: server.metric('worker_events_total{result="applied"}') >= 1)
        assert "started again" in server.log
    await eventually(lambda: not Path(f"/proc/{second}").exists())


async def _view_a_product(server: Server, number: int) -> None:
    event = {"event": "product_viewed", "customer": "cus_1", "properties": {"product_id": f"p{number}"}}
    answer = await server.client.ask("POST", "/v1/events", event)
    assert answer.status == 200, answer.body


async def _views(client: Redis, number: int) -> bool:
    found = await features_in(client, "cus_1", round(time.time() * 1000), shop_plan(), Keys(256))
    return bool(found["product_views_1h"] == number)


async def _newest_worker(client: Redis) -> int:
    """Its process id."""
    (newest,) = await client.zrange(CTL_WORKERS, -1, -1)
    return int(newest.partition(b"-")[0])
