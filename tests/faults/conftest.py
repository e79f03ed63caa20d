"""Bad days. Most tests share one store, one way to it that can be made to misbehave, and one server; those that stop,
freeze or configure a store have their own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import count

import pytest

from tests.support.long import pytest_collection_modifyitems, pytest_configure
from tests.support.scripted import ProxyBeside, proxy_beside
from tests.support.server import Client, Server
from tests.support.valkey import Store, own_store

__all__ = ["own_store", "pytest_collection_modifyitems", "pytest_configure"]


@pytest.fixture(scope="session")
def store() -> Iterator[Store]:
    store = Store("--appendfsync", "everysec")  # as it is served by default
    store.start()
    yield store
    store.remove()


@pytest.fixture(scope="session")
def way(store: Store) -> Iterator[ProxyBeside]:
    with proxy_beside(store.socket_path) as proxy:
        yield proxy


@pytest.fixture(scope="session")
def shared_server(way: ProxyBeside) -> Iterator[Server]:
    with Server.on(way.url) as server:
        yield server


@pytest.fixture
async def server(shared_server: Server, way: ProxyBeside) -> AsyncIterator[Server]:
    """Ready, and without faults, before and after the test."""
    yield shared_server
    way.heal()
    await asyncio.to_thread(shared_server.wait, shared_server.is_ready)
    await shared_server.client.close()


@pytest.fixture
def client(server: Server) -> Client:
    return server.client


_numbers = count()


@pytest.fixture
def customers() -> Callable[[int], list[str]]:
    """`customers(3)`: keys that no other test uses."""
    return lambda n: [f"f{next(_numbers)}_{n}" for _ in range(n)]


@pytest.fixture
def customer(customers: Callable[[int], list[str]]) -> str:
    return customers(1)[0]
