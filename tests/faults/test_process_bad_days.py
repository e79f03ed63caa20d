"""Days on which the process itself, its load, its collector or its clock is the trouble."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.support import look
from tests.support.ports import free_port
from tests.support.scripted import ProxyBeside, proxy_beside
from tests.support.server import Client, Server, eventually, serving
from tests.support.valkey import StartStore, Store

Customers = Callable[[int], list[str]]


async def test_a_worker_that_is_killed_is_replaced_while_the_other_goes_on_and_no_count_is_lost(
    store: Store, customers: Customers
) -> None:
    names = customers(8)
    async with serving(store.url, workers=2) as server:
        await asyncio.to_thread(server.wait, lambda: len(server.workers()) == 2)
        before = server.workers()
        await server.client.welcome(*names)
        told: Counter[str] = Counter()

        async def ask(n: int) -> None:
            client = Client(server.port)  # a connection of its own, so that both workers are asked
            while going:
                try:
                    answer = await client.decide(names[n], "open", budget_ms=500)
                except (OSError, asyncio.IncompleteReadError):
                    told["lost"] += 1
                    client = Client(server.port)
                    continue
                told[answer.first["action"]] += 1
                await asyncio.sleep(0)
            await client.close()

        going = [True]
        async with asyncio.TaskGroup() as group:
            for n in range(len(names)):
                group.create_task(ask(n))
            await more(told, 50)
            os.kill(before[0], signal.SIGKILL)
            await more(told, 50)
            await asyncio.to_thread(server.wait, lambda: len(alive := server.workers()) == 2 and alive != before)
            assert before[1] in server.workers()
            await more(told, 50)
            going.clear()
        assert told["lost"] <= len(names)  # what was in flight in the killed worker
        counted = server.metric("decisions_total")
        answered = told.total() - told["lost"]
        # A worker counts after it has answered: what it was killed between may be missing, one a connection.
        assert answered - len(names) <= counted <= answered + told["lost"]
        await asyncio.to_thread(server.wait, lambda: server.metric("store_connected") == 2)


async def more(told: Counter[str], n: int) -> None:
    until = told.total() + n
    await eventually(lambda: told.total() >= until)


async def test_a_server_that_is_asked_to_stop_answers_what_it_has_begun_and_takes_back_what_it_could_not(
    own_store: StartStore,
) -> None:
    """The store answers so slowly that commits are lost up to the end. What is in its ledgers then was answered."""
    store, names = own_store(), [f"c{n}" for n in range(4)]
    with proxy_beside(store.socket_path) as way:
        async with serving(way.url) as server:
            await server.client.welcome(*names)
            sent: list[str] = []

            async def ask(name: str) -> None:
                with contextlib.suppress(OSError, asyncio.IncompleteReadError):  # refused, once it stops
                    while True:
                        answer = await server.client.decide(name, "open", budget_ms=60)
                        sent.extend([name] if answer.status == 200 and answer.sends else [])

            asking = asyncio.gather(*map(ask, names))
            await eventually(lambda: len(sent) > 20)
            way.do(lambda faulty: faulty.delay(0.04))
            await asyncio.sleep(0.3)
            os.kill(server.pid, signal.SIGTERM)
            way.do(lambda faulty: faulty.delay(0.0))
            await asyncio.wait_for(asking, 15)
            await asyncio.to_thread(server.ended)
    with redis.Redis(unix_socket_path=str(store.socket_path)) as inside:
        assert {name: look.contacts(inside, name) for name in names} == Counter(sent)


async def test_a_server_whose_store_is_frozen_still_ends_when_it_is_asked_to(
    own_store: StartStore,
) -> None:
    store = own_store()
    async with serving(store.url) as server:
        await server.client.welcome("c")
        store.freeze()
        receipt = await server.client.decide("c", "receipt", budget_ms=50)
        assert receipt.sends
        begun = time.monotonic()
        os.kill(server.pid, signal.SIGTERM)
        await asyncio.to_thread(server.ended)
        assert time.monotonic() - begun < 8
        assert "1 releases or late records were not written" in server.log  # said, since it is lost
        store.thaw()


async def test_more_requests_than_there_is_room_for_are_refused_at_once_with_a_time_to_come_back(
    way: ProxyBeside, customers: Customers
) -> None:
    names = customers(20)
    async with serving(way.url, max_in_flight="4") as server:
        await server.client.welcome(*names)
        way.do(lambda faulty: faulty.delay(0.05))
        answers = await asyncio.gather(*(server.client.decide(name, "open") for name in names))
        way.heal()
        refused = [answer for answer in answers if answer.status == 503]
        assert len(refused) == 16
        for answer in refused:
            assert answer.is_problem
            assert (answer.json()["code"], answer.headers["retry-after"]) == ("overloaded", "1")
            assert answer.headers["server-timing"] is not None
        assert all(answer.sends for answer in answers if answer.status == 200)
        assert server.metric("shed_total") == server.metric('problems_total{code="overloaded"}') == 16
        assert (await server.client.decide(names[0], "open")).sends


async def test_a_burst_of_withdrawals_is_taken_whole(server: Server, client: Client, customers: Customers) -> None:
    names = customers(300)
    await asyncio.gather(*(client.welcome(name) for name in names))
    answers = await asyncio.gather(*(client.consent(name, "denied") for name in names))
    assert {answer.status for answer in answers} == {200}


async def test_a_collector_that_is_away_costs_spans_and_nothing_else(store: Store, customers: Customers) -> None:
    names = customers(4)
    nobody = f"http://127.0.0.1:{free_port()}"
    settings: dict[str, Any] = {"OTEL_EXPORTER_OTLP_ENDPOINT": nobody, "OTEL_EXPORTER_OTLP_TIMEOUT": "1"}
    async with serving(store.url, trace_ratio="1", **settings) as server:
        await server.client.welcome(*names)
        for _ in range(20):
            answers = await asyncio.gather(*(server.client.decide(name, "open", budget_ms=200) for name in names))
            assert all(answer.sends for answer in answers)
        await asyncio.to_thread(server.wait, lambda: server.metric("spans_dropped_total") > 0)
        assert server.is_ready()
        assert len(server.log.splitlines()) < 20  # said, and not for every span
        begun = time.monotonic()
    assert time.monotonic() - begun < 8  # nor does it hold up the end


@pytest.fixture
def jumping_clock(tmp_path: Path) -> str:
    """A folder for PYTHONPATH: every look at the wall clock finds it a day further, or a day back."""
    (tmp_path / "sitecustomize.py").write_text(
        "import itertools, time\n"
        "steps = itertools.cycle([86_400, -86_400, 0])\n"
        "true_s, true_ns = time.time, time.time_ns\n"
        "time.time = lambda: true_s() + next(steps)\n"
        "time.time_ns = lambda: true_ns() + next(steps) * 1_000_000_000\n"
    )
    return str(tmp_path)


async def test_a_wall_clock_that_jumps_changes_no_decision_and_no_deadline(
    store: Store, customers: Customers, jumping_clock: str
) -> None:
    names = customers(3)
    async with serving(store.url, PYTHONPATH=jumping_clock) as server:
        client = server.client
        await client.welcome(*names)
        for name in names:
            sends = [(await client.decide(name, "twice", budget_ms=500)).sends for _ in range(4)]
            assert sends == [True, True, False, False]
            answer = await client.decide(name, "open", budget_ms=500)
            assert answer.sends
            assert answer.json()["elapsed_ms"] < 500
            found = await client.record(answer.first["decision_id"])
            assert found.json()["send_window"] == answer.first["send_window"]
        assert server.is_ready()


def at(shift_s: int) -> Callable[[bytes], bytes]:
    """Rewrites the store's TIME at the head of a read."""

    def change(data: bytes) -> bytes:
        head = b"*2\r\n$10\r\n"
        if not data.startswith(head):
            return data
        seconds = int(data[len(head) : len(head) + 10]) + shift_s
        return head + b"%010d" % seconds + data[len(head) + 10 :]

    return change


@pytest.mark.parametrize("shift_s", [3_600, -3_600, -9 * 86_400])
async def test_a_store_clock_that_steps_opens_no_limit(
    server: Server, client: Client, way: ProxyBeside, customers: Customers, shift_s: int
) -> None:
    """Forward: the contact lies in the future, and counts. Back: the commit is late, or what was counted still is."""
    early, late = customers(2)
    await client.welcome(early, late)
    way.do(lambda faulty: setattr(faulty, "replies", at(shift_s)))
    stepped = await client.decide(early, "once", budget_ms=200)
    way.heal()
    usual = await client.decide(early, "once", budget_ms=200)
    assert [stepped.sends, usual.sends].count(True) == 1
    if shift_s < 0:
        assert (stepped.first["action"], stepped.first["reason"]) == ("suppress", "deadline")
    assert (await client.decide(late, "once", budget_ms=200)).sends
    way.do(lambda faulty: setattr(faulty, "replies", at(shift_s)))
    assert not (await client.decide(late, "once", budget_ms=200)).sends
