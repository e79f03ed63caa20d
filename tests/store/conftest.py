"""Stores to test on, for all tests of `app.store`, on uvloop, as the server runs.

What depends on how a loop reads, writes and tells the time is tested on asyncio's own loop too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
import uvloop

from tests.support.cluster import cluster, shared_cluster
from tests.support.long import pytest_collection_modifyitems, pytest_configure
from tests.support.valkey import own_store, store_server, store_url

__all__ = [
    "cluster",
    "own_store",
    "pytest_collection_modifyitems",
    "pytest_configure",
    "shared_cluster",
    "store_server",
    "store_url",
]


def pytest_asyncio_loop_factories(item: pytest.Item) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    factories: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"uvloop": uvloop.new_event_loop}
    if item.path.name in ("test_link.py", "test_link_faults.py") or "over_tls" in item.name:
        factories["asyncio"] = asyncio.new_event_loop
    return factories
