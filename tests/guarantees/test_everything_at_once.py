"""All guarantees under everything at once: limits of 1 to 4, rolling and by the calendar, two messages that exclude each
other, pauses after a purchase, reservations that expire, a budget over all customers, trials, switches, withdrawals,
suppressions, releases, messages that are sent although they were released, commits that wait and replies that are lost;
many callers, three servers, few customers.

What was asked and answered is judged by a model of its own (`tests.support.verdict`), from the answers and their times
alone: never one too many, nothing after a no that was acknowledged, no refusal without a reason; and when all is quiet,
never one too few. Then the store is looked at (`tests.support.aftermath`).
"""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path

import pytest
import redis

from tests.support.aftermath import aftermath
from tests.support.everything import BUDGET, LIMITS, SCARCE, Everything, written
from tests.support.scripted import ProxyBeside, proxy_beside
from tests.support.server import Client, Server, eventually
from tests.support.storm import Storm
from tests.support.valkey import Store
from tests.support.verdict import verdict

_numbers = count()


@dataclass
class Field:
    """Three servers of the bundle on one store; the last one's way to it can be disturbed."""

    store: Store
    proxy: ProxyBeside
    servers: list[Server]
    served: Everything

    @property
    def clients(self) -> list[Client]:
        return [server.client for server in self.servers]


def field_of_servers(stack: ExitStack) -> Field:
    store = Store()
    store.start()
    stack.callback(store.remove)
    proxy = stack.enter_context(proxy_beside(store.socket_path))
    served = written(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nextbest-test-"))))
    urls = (store.url, store.url, proxy.url)
    servers = [stack.enter_context(Server.on(url, served.folder, wait=False)) for url in urls]
    for server in servers:
        server.wait(server.is_ready)
    return Field(store, proxy, servers, served)


@pytest.fixture(scope="module")
def field() -> Iterator[Field]:
    with ExitStack() as stack:
        yield field_of_servers(stack)


@pytest.fixture
async def clients(field: Field) -> AsyncIterator[list[Client]]:
    yield field.clients
    for client in field.clients:
        await client.close()


@pytest.fixture
def inside(field: Field) -> Iterator[redis.Redis]:
    connection = redis.Redis(unix_socket_path=str(field.store.socket_path))
    yield connection
    connection.close()


@asynccontextmanager
async def storm_over(field: Field, clients: list[Client], customers: int, seed: int) -> AsyncIterator[Storm]:
    """Customers of its own, whom every server knows."""
    names = [f"c{next(_numbers)}" for _ in range(customers)]
    storm = Storm(clients, names, random.Random(seed), field.proxy)
    await storm.welcome()
    await get_acquainted(storm)
    yield storm


async def get_acquainted(storm: Storm) -> None:
    """What is named for the first time is learnt by all servers within a moment, in which they suppress."""
    customer = storm.customers[0]
    await storm.say(customer, granted=False)
    await storm.stop(customer)
    await storm.lift(customer)
    await storm.say(customer, granted=True)
    for client in storm.clients:
        await eventually(partial(_would_send, client, customer))


async def _would_send(client: Client, customer: str) -> bool:
    return (await client.decide(customer, "open", dry_run=True)).sends


async def test_no_promise_is_broken_while_everything_happens_at_once_and_nothing_is_left_over_after_it(
    field: Field, clients: list[Client], inside: redis.Redis
) -> None:
    async with storm_over(field, clients, customers=8, seed=1) as storm:
        await storm.rage(seconds=7.0, askers=20)
        await prove(field, storm, inside)


async def prove(field: Field, storm: Storm, inside: redis.Redis) -> None:
    await storm.calm()
    short = await storm.use_up()
    wrong = [*verdict(storm.history), *short, *aftermath(inside, storm, field.served.bundle)]
    assert not wrong, "\n".join(wrong[:50])
    assert [bodies for bodies in storm.repeats.values() if len(bodies) > 1] == []
    tried(storm)


def tried(storm: Storm) -> None:
    """A storm in which something never happened proves nothing about it."""
    history = storm.history
    contacts = history.contacts()
    codes = {line["code"] for a in history.asked for d in a.decisions for line in d["excluded"]}
    assert codes >= {"limit_reached", "excluded_by", "cooldown", "switched_off", "budget_exhausted"}
    reasons = {d["reason"].split(":")[0] for a in history.asked for d in a.decisions}
    assert reasons >= {"consent_denied", "consent_unknown", "suppressed", "switched_off", "holdout", "quiet_hours"}
    assert reasons >= {"baseline", "explored"}
    assert {each.placement for each in contacts} >= {*LIMITS, SCARCE}
    assert any(each.released for each in contacts)
    assert any(each.again_s > 0 for each in contacts)
    assert any(len(each.sure) == 1 and each.sure[0].end < float("inf") and not each.released for each in contacts)
    assert storm.lost > 0
    assert BUDGET >= sum(each.placement == SCARCE for each in contacts) > BUDGET // 2
