"""Strict durability: a decision is answered when it is on the store's disk, or it is not answered."""

from __future__ import annotations

import asyncio

import redis

from tests.support import look
from tests.support.scripted import proxy_beside
from tests.support.server import serving
from tests.support.valkey import StartStore


async def test_a_store_that_syncs_every_write_serves_strict_mode_and_a_kill_loses_nothing(
    own_store: StartStore,
) -> None:
    store = own_store("--appendfsync", "always")
    async with serving(store.url, durability="strict") as server:
        await server.client.welcome("c")
        answer = await server.client.decide("c", "once", key="k", budget_ms=1000)
        assert answer.sends
        await asyncio.to_thread(store.kill)
        await asyncio.to_thread(store.start)
        await asyncio.to_thread(server.wait, server.is_ready)
        assert (await server.client.record(answer.first["decision_id"])).status == 200
        assert (await server.client.decide("c", "once", key="k", budget_ms=1000)).body == answer.body
        assert not (await server.client.decide("c", "once")).sends


async def test_a_store_that_could_lose_a_second_is_not_ready_for_strict_mode(
    own_store: StartStore,
) -> None:
    store = own_store("--appendonly", "no", "--appendfsync", "everysec")
    findings = [
        "`appendonly` is off: strict mode needs it on",
        "`appendfsync` is `everysec`: strict mode needs `always`",
    ]
    async with serving(store.url, wait=False, durability="strict") as server:
        await asyncio.to_thread(server.wait, lambda: server.findings() == findings)


async def test_a_commit_that_is_not_on_disk_in_time_is_a_503_and_is_taken_back(own_store: StartStore) -> None:
    store = own_store("--appendfsync", "always")
    with proxy_beside(store.socket_path) as way:
        async with serving(way.url, durability="strict") as server:
            client = server.client
            await client.welcome("c")
            synced, not_synced = b"*2\r\n:1\r\n:0\r\n", b"*2\r\n:0\r\n:0\r\n"
            way.do(lambda faulty: setattr(faulty, "replies", lambda data: data.replace(synced, not_synced)))
            answer = await client.decide("c", "once", key="k", budget_ms=1000)
            assert (answer.status, answer.json()["code"]) == (503, "durability_unmet")
            assert answer.is_problem
            assert answer.headers["retry-after"] == "1"
            refused = await client.consent("c", "denied")
            assert (refused.status, refused.json()["code"]) == (503, "durability_unmet")
            way.heal()
            await client.consent("c", "granted")
            assert server.metric('problems_total{code="durability_unmet"}') == 2
            await asyncio.to_thread(server.wait, lambda: server.metric("releases_total") == 1)
            with redis.Redis(unix_socket_path=str(store.socket_path)) as inside:
                assert look.contacts(inside, "c") == 0
            assert (await client.decide("c", "once", key="k", budget_ms=1000)).sends
