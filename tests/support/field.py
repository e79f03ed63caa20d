"""Servers of `tests.support.everything` on one store, for everybody who asks them; a conftest imports `field`."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from random import Random

import pytest
import redis

from app.flows.merge import Merges
from app.store.clients import open_client
from app.store.fields import FieldRegistry
from app.store.merge import MergeStore
from tests.support.everything import Everything, written
from tests.support.look import KEYS, Inside
from tests.support.scripted import ProxyBeside, proxy_beside
from tests.support.server import Client, Server, eventually
from tests.support.storm import Storm
from tests.support.valkey import Store

_numbers = count()


@dataclass
class Field:
    """Three servers on one store; the way of the last one to it can be disturbed."""

    store: Store
    proxy: ProxyBeside
    servers: list[Server]
    served: Everything
    inside: Inside

    @property
    def clients(self) -> list[Client]:
        return [server.client for server in self.servers]

    def customers(self, number: int) -> list[str]:
        """Keys that nobody used so far."""
        return [f"c{next(_numbers)}" for _ in range(number)]

    @asynccontextmanager
    async def storm(self, customers: int, seed: int) -> AsyncIterator[Storm]:
        """A storm that can begin: its customers are known, and what is named for the first time is known to all."""
        async with open_client(self.store.url) as client:
            fields = FieldRegistry(client)
            await fields.refresh()
            merges = Merges(MergeStore(client, KEYS, fields, self.served.bundle))
            merge = partial(merges.merge, who="loopback")
            names = [f"s{seed}x{number}" for number in range(customers)]  # the same in every run, and so are their arms
            storm = Storm(self.clients, names, Random(seed), self.proxy, merge)
            await storm.welcome()
            await get_acquainted(storm)
            yield storm
        await self.hang_up()

    async def hang_up(self) -> None:
        """Connections belong to one test's loop."""
        for client in self.clients:
            await client.close()


async def get_acquainted(storm: Storm) -> None:
    """Sources and reasons that are named for the first time are learnt by all servers within a moment, in which they
    suppress."""
    customer = storm.customers[0]
    await storm.say(customer, granted=False)
    await storm.stop(customer)
    await storm.lift(customer)
    await storm.say(customer, granted=True)
    for client in storm.clients:
        await eventually(partial(would_send, client, customer))


async def would_send(client: Client, customer: str) -> bool:
    return (await client.decide(customer, "open", dry_run=True)).sends


@contextmanager
def new_field() -> Iterator[Field]:
    with ExitStack() as stack:
        store = Store()
        store.start()
        stack.callback(store.remove)
        proxy = stack.enter_context(proxy_beside(store.socket_path))
        served = written(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nextbest-test-"))))
        urls = (store.url, store.url, proxy.url)
        settings = {"wait": False, "decision_log_bytes": str(10**10)}  # all is kept, though in few shards
        servers = [stack.enter_context(Server.on(url, served.folder, **settings)) for url in urls]  # type: ignore[arg-type]  # options by name
        for server in servers:
            server.wait(server.is_ready)
        inside = stack.enter_context(redis.Redis(unix_socket_path=str(store.socket_path)))
        yield Field(store, proxy, servers, served, inside)


@pytest.fixture(scope="session")
def field() -> Iterator[Field]:
    with new_field() as made:
        yield made
