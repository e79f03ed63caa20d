"""`nextbest records`: copies the decision log of a deployment into one file, and finds the store that holds it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, cast

from redis.asyncio import Redis

from app.core.decision.record import UnreadableRecord, bundle_digest_of
from app.records_file import RecordsWriter
from app.settings import Settings
from app.store import keys
from app.store.bundles import DamagedBundle, verified
from app.store.clients import open_client
from app.store.decision_log import reading_the_store
from app.store.embedded import EmbeddedStore, running_store
from app.store.whole_log import WholeLog, shards_of

Progress = Callable[[int, int], None]  # records so far, records at most


class NoLog(Exception):
    """There is nothing to copy; the message says why and what to do."""


class Copied(NamedTuple):
    """What went into the file."""

    records: int
    aborted: int
    bundles_missing: int  # bundles of records that the store no longer holds
    damaged: tuple[str, ...]  # in words: bundles that it holds and nobody can read


@contextmanager
def store_address(settings: Settings, address: str | None) -> Iterator[str]:
    """The address of the store: the one that is named; else that of the data folder's own, which is started for the
    time being where no server runs on it. Raises `NoLog` and `EmbeddedStoreError`."""
    if address is None and settings.redis_url is not None:
        address = settings.redis_url.get_secret_value()
    if address is None:
        address = running_store(settings.data)
    if address is not None:
        yield address
        return
    if not (settings.data / "store").is_dir():
        raise NoLog(
            f"there is no store in `{settings.data}`: name its folder with NEXTBEST_DATA, or its address with "
            "`--url-of-store` or NEXTBEST_REDIS_URL"
        )
    with EmbeddedStore(settings.data, strict=False) as started:
        yield started


def copy_log(address: str, path: Path, since_s: int | None, last: int | None, progress: Progress) -> Copied:
    """Copy the log into `path`: what was decided within the last `since_s` seconds, at most the `last` records.

    Raises `NoLog`, `Problem` where the store fails, ValueError for an address that cannot be understood.
    """
    return asyncio.run(_copy(address, path, since_s, last, progress))


async def _copy(address: str, path: Path, since_s: int | None, last: int | None, progress: Progress) -> Copied:
    client = open_client(address, client_name="nextbest-records")
    try:
        shards = await shards_of(client)
        if shards is None:
            raise NoLog("this store was never used by a server: nothing was decided here")
        log = WholeLog(client, shards)
        until_ms = await log.now_ms()
        since_ms = 0 if since_s is None else until_ms - since_s * 1000
        at_most = await log.records_at_most()
        at_most = at_most if last is None else min(at_most, last)
        with RecordsWriter(path) as writer:
            return await _write(client, log, writer, since_ms, until_ms, at_most, progress)
    finally:
        await client.aclose()


async def _write(
    client: Redis, log: WholeLog, writer: RecordsWriter, since_ms: int, until_ms: int, at_most: int, progress: Progress
) -> Copied:
    held: dict[str, bool] = {}  # digest → whether the store still has that bundle
    damaged: list[str] = []
    aborted = 0
    async for entry in log.entries(since_ms, until_ms):
        if entry.aborted is not None:
            aborted += 1
            writer.aborted(entry.aborted)
        elif entry.record is not None:
            if writer.records == at_most:
                break
            digest = _digest(entry.record)
            if digest is not None and digest not in held:
                try:
                    held[digest] = await _bundle(client, digest, writer)
                except DamagedBundle as error:  # the others' records can still be decided again
                    held[digest] = True
                    damaged.append(error.detail)
            writer.record(entry.record)
            progress(writer.records, at_most)
    return Copied(writer.records, aborted, sum(not each for each in held.values()), tuple(damaged))


def _digest(record: bytes) -> str | None:
    """None for one that is damaged: it is copied, so that whoever decides again counts it."""
    try:
        return bundle_digest_of(record)
    except UnreadableRecord:
        return None


async def _bundle(client: Redis, digest: str, writer: RecordsWriter) -> bool:
    """Whether the store holds it. Raises DamagedBundle."""
    with reading_the_store():
        raw = cast("bytes | None", await client.get(keys.bundle(digest)))
    if raw is None:
        return False
    writer.bundle(digest, verified(digest, raw))
    return True
