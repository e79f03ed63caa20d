"""Where chaos happens: a store and two servers on it. One server's way to the store and its callers' way to it can be
disturbed; the other one's never are, so that what it was told must hold at both.

A *manned* site has more to kill: a second worker process, an event worker, an archiver, and clocks that step.
"""

from __future__ import annotations

import os
import random
import resource
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]  # ships no types
import redis

from app.flows.merge import Merges
from app.store.clients import open_client
from app.store.fields import FieldRegistry
from app.store.merge import MergeStore
from tests.chaos.bundle import chaos_bundle
from tests.chaos.clock import Clock
from tests.chaos.crowd import Caller, Crowd
from tests.chaos.proxies import Door, StoreWay
from tests.support.everything import Everything
from tests.support.field import get_acquainted
from tests.support.look import KEYS, Inside
from tests.support.scripted import Beside, beside
from tests.support.server import Server
from tests.support.valkey import Store

_numbers = count(1)


@dataclass
class Site:
    store: Store
    served: Everything
    steady: Server
    struck: Server
    way: Beside[StoreWay]  # of the struck server to the store
    door: Beside[Door]  # of callers to the struck server
    archive: Path
    store_clock: Clock
    server_clock: Clock
    inside: Inside
    manned: bool
    quick: bool

    @property
    def servers(self) -> list[Server]:
        return [self.steady, self.struck]

    @property
    def same_clock(self) -> bool:
        """Whether the store's clock always was that of the callers, so that the log's times are theirs too."""
        return not self.store_clock.moved

    def pids(self) -> list[list[int]]:
        """Of the processes that decide, by server."""
        return [[self.steady.pid], self.struck.workers() if self.manned else [self.struck.pid]]

    def runs(self, module: str) -> bool:
        return bool(self._children(module))

    def child(self, module: str) -> psutil.Process:
        """The process that runs beside the steady server: `app.worker`, `app.archive`."""
        return self._children(module)[0]

    def _children(self, module: str) -> list[psutil.Process]:
        children = psutil.Process(self.steady.pid).children(recursive=True)
        return [each for each in children if module in each.cmdline()]

    @asynccontextmanager
    async def crowd(self, customers: int, through_door: bool) -> AsyncIterator[Crowd]:
        """Callers, and so many customers whom everybody knows already."""
        number = next(_numbers)
        struck = self.door.do(lambda door: door.port) if through_door else self.struck.port
        clients = [Caller(self.steady.port), Caller(struck)]
        names = [f"x{number}x{each}" for each in range(customers)]
        crowd = Crowd(list(clients), names, random.Random(number))
        crowd.expiring = not self.quick
        async with open_client(self.store.url) as client:
            fields = FieldRegistry(client)
            await fields.refresh()
            crowd.alias = partial(Merges(MergeStore(client, KEYS, fields, self.served.bundle)).merge, who="loopback")
            await crowd.welcome()
            await get_acquainted(crowd)
            crowd.seen.clear()
            try:
                yield crowd
            finally:
                for each in clients:
                    await each.close()


@contextmanager
def new_site(*, manned: bool = False, quick: bool = False) -> Iterator[Site]:
    """`quick`: slow callers are given up after a second instead of ten, and reservations are not waited for."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nextbest-test-")))
        store_clock, server_clock = Clock(folder / "store.clock"), Clock(folder / "server.clock")
        store = Store("--appendfsync", "everysec", "--maxclients", "4000")  # as it is served by default
        with _environment(store_clock.variables if manned else {}):
            store.start()
        stack.callback(store.remove)
        way = stack.enter_context(beside(StoreWay(store.socket_path)))
        (folder / "bundle").mkdir()
        served = chaos_bundle(folder / "bundle")
        settings: dict[str, Any] = {
            "wait": False,
            "decision_log_bytes": str(10**10),
            "request_timeout_s": "1" if quick else "10",
        }
        manning: dict[str, Any] = {"event_worker": "true", "archive": str(folder / "archive"), "archive_flush_s": "1"}
        on_way: dict[str, Any] = {"workers": 2, **server_clock.variables} if manned else {}
        steady, struck = (
            stack.enter_context(Server.on(url, served.folder, **settings, **more))
            for url, more in ((store.url, manning if manned else {}), (way.url, on_way))
        )
        for server in (steady, struck):
            server.wait(server.is_ready)
        door = stack.enter_context(beside(Door(struck.port, random.Random(1))))
        inside = stack.enter_context(redis.Redis(unix_socket_path=str(store.socket_path)))
        archive = folder / "archive"
        yield Site(store, served, steady, struck, way, door, archive, store_clock, server_clock, inside, manned, quick)


@contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    """Ours, for what is started meanwhile."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
