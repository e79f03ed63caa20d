"""A process is killed, hangs, cannot start, has no disk, or its clock steps."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import duckdb
import psutil  # type: ignore[import-untyped]  # ships no types
import redis

from tests.chaos.bundle import ENDLESS, SLOW, WELL
from tests.chaos.clock import CACHE_S
from tests.chaos.crowd import Crowd
from tests.chaos.fault import Fault
from tests.chaos.seen import TROUBLE
from tests.chaos.site import Site
from tests.chaos.store_faults import no_room
from tests.chaos.viewers import viewers
from tests.support.look import KEYS
from tests.support.server import Server, eventually

HOUR_S = 3600
#: Between two kills; a worker process needs a second or two to start again.
KILLS_APART_S = 3.0
MISTAKE = "messages:\n  - {id: once_a, placements: [nowhere]}\n"


# Models and bundles


@asynccontextmanager
async def model_hangs(site: Site, crowd: Crowd) -> AsyncIterator[None]:
    """For half of the customers the model takes several seconds (in small a fifth of one), beyond any budget."""
    for customer in crowd.customers[::2]:
        await crowd.feel(customer, SLOW if site.quick else ENDLESS)
    try:
        yield
    finally:
        for customer in crowd.customers[::2]:
            await crowd.feel(customer, WELL)


@asynccontextmanager
async def mistaken_start(site: Site, _: Crowd) -> AsyncIterator[None]:
    """One more server is started beside those that serve, on a bundle with a mistake: it says which, and ends."""
    with tempfile.TemporaryDirectory(prefix="nextbest-test-") as folder:
        bundle = Path(shutil.copytree(site.served.folder, Path(folder) / "bundle"))
        (bundle / "messages.yaml").write_text(MISTAKE)
        started = Server({"NEXTBEST_REDIS_URL": site.store.url, "NEXTBEST_BUNDLE": str(bundle)}, Path(folder))
        try:
            yield
            await asyncio.to_thread(started.ended)
            assert "messages.yaml" in started.log, started.log
            assert "nowhere" in started.log, started.log
        finally:
            started.stop()


@asynccontextmanager
async def mistaken_deploy(site: Site, crowd: Crowd) -> AsyncIterator[None]:
    """The bundle's folder is overwritten with a mistake while it is served, and then a worker process dies: the one
    that takes its place cannot load it, and the other goes on with what it has."""
    crowd.never_settled = True
    messages = site.served.folder / "messages.yaml"
    served = messages.read_text()
    before = site.struck.workers()
    messages.write_text(MISTAKE)
    os.kill(before[0], signal.SIGKILL)
    try:
        await eventually(lambda: "nowhere" in site.struck.log, 20)  # somebody is told what is wrong with the bundle
        yield
        assert before[1] in site.struck.workers()
    finally:
        messages.write_text(served)
        await _two_workers(site)


# Processes


@asynccontextmanager
async def server_killed(site: Site, crowd: Crowd) -> AsyncIterator[None]:
    """SIGKILL to one of two worker processes of a server, again and again."""
    crowd.never_settled = True

    async def keep_killing() -> None:
        while True:
            os.kill(site.struck.workers()[0], signal.SIGKILL)
            await asyncio.sleep(KILLS_APART_S)
            await _two_workers(site)

    killing = asyncio.create_task(keep_killing())
    try:
        yield
    finally:
        killing.cancel()
        await _two_workers(site)


async def _two_workers(site: Site) -> None:
    """Both serve: each tells the other's counts as well as its own."""
    await eventually(partial(_serve_both, site.struck), 60)


async def _serve_both(server: Server) -> bool:
    return await asyncio.to_thread(lambda: len(server.workers()) == 2 and server.metric("store_connected") == 2)


@asynccontextmanager
async def event_worker_killed(site: Site, crowd: Crowd) -> AsyncIterator[None]:
    """SIGKILL to the event worker while it works off events, again and again."""

    async def kill() -> None:
        await eventually(lambda: site.runs("app.worker"), 20)
        site.child("app.worker").kill()

    async with viewers(site, crowd):
        await asyncio.sleep(0.3)  # so that it has something in hand
        await kill()
        yield
        if not site.quick:
            await kill()


# Disks


@asynccontextmanager
async def archive_disk_full(site: Site, crowd: Crowd) -> AsyncIterator[None]:
    """The archiver's files may not grow beyond a kilobyte, while events come in."""
    async with viewers(site, crowd):
        await eventually(lambda: site.runs("app.archive"), 20)
        with no_room(psutil.Process(site.child("app.archive").pid), 1000):
            await asyncio.sleep(0.2)  # what was begun is written
            before = _archived(site.archive)
            yield
            assert _archived(site.archive) == before, "a disk without room was written on"
    await eventually(lambda: _all_archived(site), 60)
    twice = {at: n for at, n in _archived(site.archive).items() if n > 1}
    assert not twice, f"archived more than once: {twice}"


def _archived(archive: Path) -> Counter[tuple[int, str]]:
    """(shard, id) of every event in the archive, and how often it is there."""
    if not list(archive.glob("events/day=*/**/*.parquet")):
        return Counter()
    with duckdb.connect() as reader:
        reader.execute("SELECT shard, position FROM read_parquet(?)", [f"{archive}/events/day=*/**/*.parquet"])
        return Counter(reader.fetchall())


def _all_archived(site: Site) -> bool:
    archived = _archived(site.archive)
    with redis.Redis(unix_socket_path=str(site.store.socket_path)) as inside:
        streams = ((shard, inside.xrange(KEYS.events(shard))) for shard in range(KEYS.shards))
        return all((shard, at.decode()) in archived for shard, entries in streams for at, _ in entries)


# Clocks


@asynccontextmanager
async def store_clock(site: Site, crowd: Crowd, by_s: int) -> AsyncIterator[None]:
    """It stays where it stepped to. After a step back, what was said and done lies ahead: until the clock is there
    again, a grant does not lift an earlier refusal, and what nobody knows of a commit cannot be settled."""
    crowd.clock_set_back = crowd.never_settled = by_s < 0
    site.store_clock.step(by_s)
    await eventually(lambda: abs(_time_of(site) - time.time() - site.store_clock.offset_s) < 60)
    yield


def _time_of(site: Site) -> int:
    return int(site.store.command("TIME").split(b"\r\n")[2])


@asynccontextmanager
async def server_clock(site: Site, _: Crowd, by_s: int) -> AsyncIterator[None]:
    site.server_clock.step(by_s)
    await asyncio.sleep(2 * CACHE_S)
    try:
        yield
    finally:
        site.server_clock.step(-by_s)


MODEL = TROUBLE | {"model_timeout", "model_failed"}
manned = partial(Fault, manned=True)
PROCESS_FAULTS = (
    Fault("model_hangs", "a model hangs for every second customer", model_hangs, 8, everybody=True, symptoms=MODEL),
    Fault("bundle_mistaken_at_start", "a new server is started on a bundle with a mistake", mistaken_start, 5),
    manned("bundle_mistaken_at_deploy", "a mistake is deployed, and a server process dies", mistaken_deploy, 5),
    manned("server_worker_killed", "one of two server processes is killed", server_killed, 10),
    manned("event_worker_killed", "the event worker is killed in the middle of a batch", event_worker_killed, 8),
    manned("archive_disk_full", "the archive's disk is full", archive_disk_full, 8),
    *(
        manned(f"server_clock_{name}", f"a server's clock steps an hour {name}", partial(server_clock, by_s=by_s), 5)
        for name, by_s in (("forward", HOUR_S), ("back", -HOUR_S))
    ),
    # The last ones, since they leave the store's clock where it is not that of the callers.
    *(
        manned(
            f"store_clock_{name}", f"the store's clock steps an hour {name}", partial(store_clock, by_s=by_s), 5,
            everybody=True, forgets=True,
        )
        for name, by_s in (("forward", HOUR_S), ("back", -HOUR_S))
    ),
)  # fmt: skip
