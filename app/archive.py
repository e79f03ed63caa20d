"""`nextbest archive`: the process that archives what was collected, until it is told to stop.

`serve` starts one beside the event worker. Several may run: each group of shards is worked on by one at a time.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TypeAlias

from redis.exceptions import RedisError

from app.archiving.archiver import Archiver, Archivers
from app.archiving.belonging import WrongArchive, claim
from app.archiving.datasets import (
    DECISION_SET,
    EVENT_SET,
    OUTCOME_SET,
    Dataset,
    Prepare,
    events_as_they_are,
    outcomes_as_they_are,
)
from app.archiving.decision_rows import with_bundles
from app.archiving.erasures import take_erasures_on, without_erased
from app.archiving.filling import features_of, lacking_in
from app.archiving.folder import Folder
from app.archiving.layout import GROUPS
from app.archiving.rewrite import ArchiveBusy
from app.copy_log import NoLog, store_address
from app.core.features.backfill import CannotFill
from app.core.features.plan import FoldPlan
from app.ending import end_task
from app.errors import Problem
from app.settings import Settings
from app.store.archive_positions import ArchivePositions
from app.store.bundles import BundleArchive
from app.store.clients import open_client
from app.store.embedded import EmbeddedStoreError
from app.store.erasure import Tombstones
from app.store.erasure_jobs import ErasureJobs
from app.store.fields import FieldRegistry
from app.store.fold_plans import FoldPlans
from app.store.keys import Keys
from app.store.whole_log import shards_of
from app.telemetry import log as logs
from policy.bundle import Bundle
from policy.compile import load
from policy.reports import BundleError

log = logging.getLogger("nextbest.archive")

#: After a failure the archiver waits so long at first, then twice as long each time.
PAUSE_S = 1.0
PAUSE_MAX_S = 60.0
#: When features that lack history are looked for.
WARN_AFTER_S, WARN_EVERY_S = 30.0, 3600.0


#: Does the archive's step of erasures that wait for it.
Erasures: TypeAlias = Callable[[], Awaitable[int]]


class CannotArchive(Exception):
    """Why there is no archiving, in words for the operator, with the remedy."""


def main() -> None:
    """Run with the settings of the environment, as a child of `serve`."""
    logs.configure()
    try:
        run(Settings())
    except CannotArchive as error:
        log.error("%s", error)
        raise SystemExit(1) from error


def run(settings: Settings, address_of_store: str | None = None, *, once: bool = False) -> int:
    """Archive until SIGINT or SIGTERM, or with `once` until all that is there is archived; how many rows. Raises
    CannotArchive."""
    address = settings.archive_address()
    if address is None:
        raise CannotArchive("no archive is set up: name a folder or a URL with NEXTBEST_ARCHIVE")
    try:
        folder = Folder.at(address)
        bundle = load(settings.bundle)
        with store_address(settings, address_of_store) as url:
            return asyncio.run(_run(settings, url, folder, bundle, once))
    except (NoLog, EmbeddedStoreError, BundleError, ValueError) as error:
        raise CannotArchive(str(error)) from error
    except RedisError as error:  # with `once`
        raise CannotArchive(f"the store failed (`{type(error).__name__}`)") from error
    except WrongArchive as error:
        raise CannotArchive(str(error)) from error
    except OSError as error:
        raise CannotArchive(f"the archive cannot be written: {error.strerror or type(error).__name__}") from error


def forget(settings: Settings, address_of_store: str | None) -> None:
    """Let the workers trim without an archive from now on; files stay. The next archiver begins anew, and knows that
    what was trimmed until then is missing. Raises CannotArchive."""

    async def work(url: str) -> None:
        async with open_client(url, client_name="nextbest-archive") as client:
            await ArchivePositions(client, Keys(await shards_of(client) or settings.shards)).forget(GROUPS)

    try:
        with store_address(settings, address_of_store) as url:
            asyncio.run(work(url))
    except (NoLog, EmbeddedStoreError, ValueError, TimeoutError) as error:
        raise CannotArchive(str(error)) from error
    except RedisError as error:
        raise CannotArchive(f"the store failed (`{type(error).__name__}`)") from error


async def _run(settings: Settings, url: str, folder: Folder, bundle: Bundle, once: bool) -> int:
    # Nothing here runs side by side, and each thread that ever wrote a file would keep memory of its own for it.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1, "archive"))
    async with open_client(url, client_name="nextbest-archive") as client:
        shards = await shards_of(client)
        if shards is None and once:
            raise NoLog("this store was never used by a server: nothing was collected here")
        store = ArchivePositions(client, Keys(shards or settings.shards))
        owner = f"{socket.gethostname()}:{os.getpid()}:{time.time_ns():x}"
        await _claimed(store, folder, once)
        tombstones = Tombstones(client, store.keys, FieldRegistry(client))

        def of(dataset: Dataset, prepare: Prepare, kept_s: int | None) -> Archiver:
            keep_ms = None if kept_s is None else kept_s * 1000
            allowed = partial(without_erased, store, tombstones, dataset=dataset)
            return Archiver(store, folder, owner, settings.archive_rows, keep_ms, allowed, dataset, prepare)

        bundles = BundleArchive(client, bundle)
        archiver = Archivers(
            [
                of(EVENT_SET, events_as_they_are, bundle.events_retention_s),
                of(DECISION_SET, partial(with_bundles, bundles), bundle.decisions_retention_s),
                of(OUTCOME_SET, outcomes_as_they_are, bundle.decisions_retention_s),
            ]
        )
        groups = min(GROUPS, store.keys.shards)
        erasures = partial(take_erasures_on, ErasureJobs(client), tombstones, store, folder)
        if once:
            return await _round(archiver, groups, erasures)
        warning = asyncio.create_task(keep_warning(FoldPlans(client, store.keys), FoldPlan.of(bundle)))
        try:
            await _until_stopped(lambda stopped: rounds(archiver, groups, settings.archive_flush_s, stopped, erasures))
        finally:
            await end_task(warning)
        return 0


async def _claimed(store: ArchivePositions, folder: Folder, once: bool) -> None:
    """Waits for a store or a folder that is away."""
    while True:
        try:
            return await claim(store, folder)
        except WrongArchive:
            raise
        except (OSError, RedisError) as error:
            if once:
                raise
            log.warning("the archive cannot be begun: it is tried again", extra={"why": _what(error)})
            await asyncio.sleep(PAUSE_MAX_S / 6)


async def keep_warning(plans: FoldPlans, plan: FoldPlan) -> None:
    """Say, now and then, which features of the bundle lack what passed before they were declared."""
    while True:
        await asyncio.sleep(WARN_AFTER_S)  # first the workers take over
        try:
            lacking = features_of(plan, await lacking_in(plans, plan))
        except CannotFill as error:
            log.warning("new features cannot be filled: %s", error)
        except RedisError:
            continue
        else:
            if lacking:
                log.warning(
                    "features lack what passed before: run `nextbest features backfill`", extra={"features": lacking}
                )
        await asyncio.sleep(WARN_EVERY_S)


async def _round(archiver: Archivers, groups: int, erasures: Erasures) -> int:
    await archiver.begin()
    await erasures()
    visits = [await archiver.visit(group) for group in range(groups)]
    return sum(visit.rows for visit in visits if visit is not None)


async def rounds(archiver: Archivers, groups: int, every_s: float, stopped: asyncio.Event, erasures: Erasures) -> None:
    """Visit one group after the other, each every `every_s` seconds, until it is stopped: between two visits.

    What goes wrong is logged and tried again, later each time: the streams keep everything until then, and when they
    are full the server refuses events (429).
    """
    trouble = logs.Summary(log, "the archive cannot be written: streams are kept, and nothing is lost", 60.0)
    pause_s = 0.0
    begun = False
    while not stopped.is_set():
        for group in range(groups):
            try:
                if not begun:
                    await archiver.begin()
                    begun = True
                await erasures()  # at every visit: mostly a look that finds none
                visit = await archiver.visit(group)
                pause_s = 0.0
                if visit is not None and visit.rows:
                    log.debug("archived", extra={"group": group, "rows": visit.rows, "files": visit.files})
            except (OSError, RedisError, ArchiveBusy, Problem) as error:
                trouble.note(_what(error))
                pause_s = min(PAUSE_MAX_S, max(PAUSE_S, 2 * pause_s))
            await _waited(stopped, max(pause_s, every_s / groups))
            if stopped.is_set():
                return


def _what(error: Exception) -> str:
    """An error by its kind: a path or an address is not repeated."""
    strerror = getattr(error, "strerror", None)
    return f"{type(error).__name__}: {strerror}" if strerror else type(error).__name__


async def _waited(stopped: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(stopped.wait(), seconds)


async def _until_stopped(work: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    await work(stopped)


if __name__ == "__main__":
    main()
