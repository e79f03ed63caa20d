"""Three servers on one store for all tests of this folder; the third one's way to the store can be made to misbehave.

Tests use customers of their own (`customers`), and never empty the store, which would take from running servers what
they have learnt of it. Proofs that take long are marked `long` and run by `pytest -m long tests/guarantees`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from functools import partial
from itertools import count

import pytest
import redis

from tests.support.field import field
from tests.support.long import pytest_collection_modifyitems, pytest_configure
from tests.support.scripted import ProxyBeside, proxy_beside
from tests.support.server import Client, Server, eventually
from tests.support.valkey import Store, inside_of, shared_store

__all__ = ["field", "pytest_collection_modifyitems", "pytest_configure"]


@pytest.fixture(scope="session")
def store() -> Iterator[Store]:
    store = shared_store("--appendfsync", "everysec")  # as it is served by default
    store.start()
    yield store
    store.remove()


@pytest.fixture(scope="session")
def proxy_beside_store(store: Store) -> Iterator[ProxyBeside]:
    with proxy_beside(store.socket_path) as proxy:
        yield proxy


@pytest.fixture(scope="session")
def all_servers(request: pytest.FixtureRequest, store: Store) -> Iterator[list[Server]]:
    with ExitStack() as stack:
        # A cluster, or servers that sentinels watch, have no one way to them: tests that disturb it are skipped there.
        third = request.getfixturevalue("proxy_beside_store") if isinstance(store, Store) else store
        urls = (store.url, store.url, third.url)
        servers = [stack.enter_context(Server.on(url, wait=False)) for url in urls]
        for server in servers:
            server.wait(server.is_ready)
        asyncio.run(make_acquainted(servers))
        yield servers


async def sends(client: Client, customer: str, budget_ms: int = 1000) -> bool:
    return (await client.decide(customer, "open", budget_ms=budget_ms)).sends


async def make_acquainted(servers: list[Server]) -> None:
    """A source of consent that was named for the first time is learnt by other servers within a moment, in which they
    suppress. Tests are about something else."""
    first = servers[0].client
    await first.welcome("acquaintance")
    for state in ("denied", "granted"):
        await first.consent("acquaintance", state)
    for server in servers:
        await eventually(partial(sends, server.client, "acquaintance"))
        await server.client.close()
    await first.close()


@pytest.fixture
async def proxy(proxy_beside_store: ProxyBeside, all_servers: list[Server]) -> AsyncIterator[ProxyBeside]:
    """The third server's proxy, without faults and with the server ready, before and after the test."""
    yield proxy_beside_store
    proxy_beside_store.heal()
    all_servers[2].wait(all_servers[2].is_ready)
    # What was delayed is still on its way, and the replies of the next test would wait behind it.
    await eventually(partial(sends, all_servers[2].client, "acquaintance", 50))
    await all_servers[2].client.close()


@pytest.fixture
async def servers(all_servers: list[Server]) -> AsyncIterator[list[Server]]:
    yield all_servers
    for server in all_servers:
        await server.client.close()


@pytest.fixture
def clients(servers: list[Server]) -> list[Client]:
    return [server.client for server in servers]


@pytest.fixture
def client(clients: list[Client]) -> Client:
    """The first server's; its way to the store is never disturbed."""
    return clients[0]


@pytest.fixture
def shaky(clients: list[Client], proxy: ProxyBeside) -> Client:
    """The third server's, whose store `proxy` disturbs."""
    return clients[2]


_numbers = count()


@pytest.fixture
def customers(request: pytest.FixtureRequest) -> Callable[[int], list[str]]:
    """`customers(3)`: keys that no other test uses."""
    return lambda n: [f"c{next(_numbers)}_{n}" for _ in range(n)]


@pytest.fixture
def customer(customers: Callable[[int], list[str]]) -> str:
    return customers(1)[0]


@pytest.fixture
def inside(store: Store) -> Iterator[redis.Redis]:
    """The store, as somebody sees it who may look at everything."""
    with inside_of(store) as connection:
        yield connection
