"""The store is frozen, killed, slow, full, or its connections end."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from itertools import count
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # ships no types
import redis.asyncio

from tests.chaos.crowd import Crowd
from tests.chaos.fault import Fault
from tests.chaos.proxies import StoreWay
from tests.chaos.seen import TROUBLE
from tests.chaos.site import Site
from tests.support.history import Span

#: A mark in the store's file: what was answered before it was written is before it.
BEAT = "chaos:beat"
#: What a crash may take with `appendfsync everysec` is a second.
MAY_BE_LOST_S = 0.8
#: A process that writes on needs more than this at once.
LITTLE_ROOM = 2048


@asynccontextmanager
async def paused(site: Site, _: Crowd) -> AsyncIterator[None]:
    site.store.freeze()
    try:
        yield
    finally:
        site.store.thaw()


@asynccontextmanager
async def killed(site: Site, crowd: Crowd) -> AsyncIterator[None]:
    """SIGKILL, and started again on the file as it was left."""
    async with _away(site, crowd):
        yield


@asynccontextmanager
async def crashed(site: Site, crowd: Crowd) -> AsyncIterator[None]:
    """The machine fails, and of the file nothing is left but what was surely synced to the disk."""
    async with _away(site, crowd) as beat:
        _cut(site.store.folder, beat)
        yield


@asynccontextmanager
async def _away(site: Site, crowd: Crowd) -> AsyncIterator[bytes]:
    """The store is killed, and started again when the block ends. Gives a beat that surely was on its disk."""
    since_s, beat = time.time(), f"beat-{time.time():.6f}".encode()
    async with redis.asyncio.Redis(unix_socket_path=str(site.store.socket_path)) as client:
        await client.set(BEAT, beat)
        on_disk, _ = await client.waitaof(1, 0, 3000)
        assert on_disk, "the store did not sync its file within three seconds"
    await asyncio.sleep(MAY_BE_LOST_S)
    await asyncio.to_thread(site.store.kill)
    crowd.losses.append(Span(since_s, time.time()))
    try:
        yield beat
    finally:
        await asyncio.to_thread(site.store.start)


def _cut(folder: Path, beat: bytes) -> None:
    """End the newest append-only file just after a beat."""
    *_, newest = sorted((folder / "appendonlydir").glob("*.incr.aof"), key=lambda file: file.stat().st_mtime)
    written = newest.read_bytes()
    end = written.rindex(beat) + len(beat) + 2
    newest.write_bytes(written[:end])


@asynccontextmanager
async def disturbed(site: Site, _: Crowd, how: Callable[[StoreWay], None]) -> AsyncIterator[None]:
    """The way of one server to the store is not what it should be."""
    site.way.do(how)
    try:
        yield
    finally:
        site.way.heal()


@asynccontextmanager
async def connections_dropped(site: Site, crowd: Crowd) -> AsyncIterator[None]:
    """Connections end again and again, every second time just when a commit was made and its reply is due; and each
    tenth that is made in their place ends at once."""

    async def keep_dropping() -> None:
        for number in count():
            site.way.do(StoreWay.lose_a_commit if number % 2 else StoreWay.drop_connections)
            await asyncio.sleep(crowd.rng.uniform(0.05, 0.15))

    site.way.do(lambda way: way.refuse_every(10))
    dropping = asyncio.create_task(keep_dropping())
    try:
        yield
    finally:
        dropping.cancel()
        site.way.heal()


@asynccontextmanager
async def out_of_memory(site: Site, _: Crowd) -> AsyncIterator[None]:
    site.store.commands(("CONFIG", "SET", "maxmemory-policy", "noeviction"), ("CONFIG", "SET", "maxmemory", 1))
    try:
        yield
    finally:
        site.store.command("CONFIG", "SET", "maxmemory", 0)


@asynccontextmanager
async def disk_full(site: Site, _: Crowd) -> AsyncIterator[None]:
    """No file of the store may grow any more (RLIMIT_FSIZE stands for a disk without room)."""
    largest = max(file.stat().st_size for file in (site.store.folder / "appendonlydir").iterdir())
    with no_room(psutil.Process(site.store.pid), largest + LITTLE_ROOM):
        yield


@contextlib.contextmanager
def no_room(process: psutil.Process, most_bytes: int) -> Iterator[None]:
    """None of its files may grow beyond that."""
    _, hard = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (most_bytes, hard))
    try:
        yield
    finally:
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (hard, hard))


def slow_by(milliseconds: int) -> Callable[[Site, Crowd], contextlib.AbstractAsyncContextManager[None]]:
    return partial(disturbed, how=lambda way: way.delay(milliseconds / 1000))


SLOW = TROUBLE | {"deadline"}
STORE_FAULTS = (
    Fault("store_paused", "the store is frozen (SIGSTOP)", paused, 5, 0.8, everybody=True),
    Fault(
        "store_killed",
        "the store is killed and started again on its file",
        killed,
        3,
        0.3,
        everybody=True,
        forgets=True,
    ),
    Fault(
        "store_crashed",
        "the store's machine fails: its file ends at the last sync",
        crashed,
        3,
        0.3,
        everybody=True,
        forgets=True,
    ),
    Fault("store_slow_5", "the store is 5 ms slower", slow_by(5), 5),
    Fault("store_slow_50", "the store is 50 ms slower", slow_by(50), 5, symptoms=SLOW),
    Fault("store_slow_500", "the store is 500 ms slower", slow_by(500), 5, symptoms=SLOW),
    Fault(
        "store_connections_dropped",
        "connections to the store end, and each tenth new one at once",
        connections_dropped,
        5,
    ),
    Fault("store_out_of_memory", "the store is out of memory (`maxmemory`)", out_of_memory, 5, everybody=True),
    Fault("store_disk_full", "the store's disk is full", disk_full, 5, 0.8, everybody=True),
)
