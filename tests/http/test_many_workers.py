"""Several workers of one machine on one store: whichever is asked, `/metrics` tells what callers of all were told."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Iterator

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.server import HANGS_AFTER_S, Client, Server
from tests.support.valkey import Store


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    store = Store()
    store.start()
    yield store
    store.remove()


CUSTOMERS = [f"m{n}" for n in range(24)]
Told = Counter[tuple[str, str, str]]


class Callers:
    """A connection to each worker, and what their answers said."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.told: Told = Counter()
        self.refused = 0
        self.of: dict[int, Client] = {}  # worker → a client whose connection it holds

    async def reach(self) -> None:
        """Connect until each worker holds a connection: the kernel gives a new one to whoever is awake."""
        workers = set(self.server.workers())
        for gone in self.of.keys() - workers:
            await self.of.pop(gone).close()
        give_up_at = time.monotonic() + HANGS_AFTER_S
        while missing := workers - self.of.keys():
            assert time.monotonic() < give_up_at, f"no connection reached {missing}"
            client = Client(self.server.port)
            await client.ask("GET", "/health/live")
            worker = holder(client, missing)
            if worker is None:
                await client.close()
            else:
                self.of[worker] = client

    async def decide(self, rounds: int) -> None:
        """Each worker decides for customers of its own, and refuses one request a round."""

        async def ask(number: int, client: Client) -> None:
            mine = CUSTOMERS[number :: len(self.of)]
            for turn in range(rounds):
                answer = await client.decide(mine[turn % len(mine)], "open")
                first = answer.first
                self.told[first["action"], first["rung"], first["reason"]] += 1
                refused = await client.ask("POST", "/v1/decide", {"customer": mine[0], "placements": []})
                assert refused.status == 422
                self.refused += 1

        await asyncio.gather(*(ask(number, client) for number, client in enumerate(self.of.values())))

    async def hang_up(self) -> None:
        for client in self.of.values():
            await client.close()


def holder(client: Client, workers: set[int]) -> int | None:
    """Which of the workers holds the client's connection."""
    (_, writer, _) = client._idle[-1]
    here = writer.get_extra_info("sockname")[1]
    for worker in workers:
        if any(each.raddr and each.raddr.port == here for each in psutil.Process(worker).net_connections("tcp")):
            return worker
    return None


def read(text: bytes) -> tuple[Told, dict[str, float]]:
    """Decisions by what was said, and the sums of all other samples by name."""
    told: Told = Counter()
    sums: defaultdict[str, float] = defaultdict(float)
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            if sample.name == "nextbest_decisions_total":
                told[sample.labels["action"], sample.labels["rung"], sample.labels["reason"]] += int(sample.value)
            sums[sample.name] += sample.value
    return told, dict(sums)


async def tells_all(callers: Callers) -> None:
    """Every worker says the same, and it is what the callers saw."""
    server = callers.server

    async def agreed() -> bool:
        for client in callers.of.values():
            told, sums = read((await client.ask("GET", "/metrics")).body)
            answered = callers.told.total()
            if (told, sums["nextbest_decision_seconds_count"]) != (callers.told, answered):
                return False
            if sums["nextbest_problems_total"] != callers.refused:
                return False
            if sums["nextbest_store_connected"] != len(callers.of):
                return False
        return True

    give_up_at = time.monotonic() + HANGS_AFTER_S
    while time.monotonic() < give_up_at:  # gauges of other workers are up to 0.2 s old
        if await agreed():
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"{callers.told}, {callers.refused} refused; told: {server.get('/metrics')[1].decode()}")


async def test_every_worker_tells_the_counts_of_all_and_those_of_one_that_died(store: Store) -> None:
    with Server.on(store.url, workers=4) as server:
        await await_workers(server)
        await server.client.welcome(*CUSTOMERS)
        await server.client.close()
        callers = Callers(server)
        await callers.reach()
        await callers.decide(12)
        await tells_all(callers)
        before = server.workers()
        os.kill(before[0], signal.SIGKILL)
        await await_workers(server, without=before[0])
        await callers.reach()
        await callers.decide(6)
        assert len(callers.of) == 4
        await tells_all(callers)
        await callers.hang_up()


async def await_workers(server: Server, without: int = 0) -> None:
    await asyncio.to_thread(server.wait, lambda: len(now := server.workers()) == 4 and without not in now)


async def test_workers_that_are_replaced_stay_ready_to_their_last_answer_and_their_counts_outlive_them(
    store: Store,
) -> None:
    with Server.on(store.url, workers=2) as server:
        await asyncio.to_thread(server.wait, lambda: len(server.workers()) == 2)
        await server.client.welcome(*CUSTOMERS)
        await server.client.close()
        callers = Callers(server)
        await callers.reach()
        await callers.decide(6)
        before = set(callers.of)
        os.kill(server.pid, signal.SIGHUP)
        told = await asyncio.gather(*map(readiness_to_the_end, callers.of.values()))
        assert [set(each) for each in told] == [{200}, {200}]
        await asyncio.to_thread(server.wait, lambda: not before & set(server.workers()))
        await callers.reach()
        assert callers.of.keys() == set(server.workers())
        await tells_all(callers)  # one more file than workers was left by those that are gone
        await callers.hang_up()


async def readiness_to_the_end(client: Client) -> list[int]:
    """What a worker says of its readiness on one connection, until an answer ends that: nothing else may."""
    (reader, writer, _) = client._idle[-1]
    told, last = [], False
    while not last:
        assert [each[1] for each in client._idle] == [writer]
        assert not reader.at_eof(), "the connection ended without a word"
        client._idle[:] = [(reader, writer, time.monotonic())]  # on a busy machine it may look idle: it is this one
        answer = await client.ask("GET", "/health/ready")
        told.append(answer.status)
        last = answer.headers.get("connection") == "close"
        await asyncio.sleep(0.02)
    return told
