"""`nextbest customers erase` and `receipt`: erases a customer in the store of a deployment, beside its servers, and
does at once what they would do within the hour."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TypeVar

from redis.asyncio import Redis

from app.archiving.layout import GROUPS
from app.copy_log import NoLog, store_address
from app.core.erasure import Job
from app.core.identity import customer_hash, key_refusal
from app.errors import Problem
from app.flows.erase import Archive, Erasures
from app.flows.merge import Merges
from app.settings import Durability, Settings
from app.store.append_only_file import write_anew
from app.store.clients import open_client
from app.store.deployment import shared_hash_key
from app.store.embedded import EmbeddedStoreError
from app.store.erasure import Tombstones
from app.store.erasure_jobs import ErasureJobs, new_erasure
from app.store.erasure_sweeps import Sweeps
from app.store.fields import FieldRegistry
from app.store.keys import Keys
from app.store.merge import MergeStore
from app.store.whole_log import shards_of
from policy.compile import load
from policy.reports import BundleError

#: Who the receipt names.
WHO = "command_line"
T = TypeVar("T")


class CannotErase(Exception):
    """The customer is not erased, or not wholly; the message says why and what to do."""


def erase(settings: Settings, address: str | None, customer: str) -> Job:
    """Erase, and do all that follows, the archive included; how far it is. `address`: of the store; None: of the
    settings, or the data folder's own. Raises CannotErase."""
    refusal = key_refusal(customer)
    if refusal is not None:
        raise CannotErase(refusal.detail)

    async def work(client: Redis, keys: Keys, hash_key: bytes) -> Job:
        erasures = _erasures(settings, client, keys, hash_key)
        return await erasures.finish(await erasures.erase(customer, WHO))

    return _with_store(settings, address, work)


def receipt_of(settings: Settings, address: str | None, erasure: str, of: str | None) -> tuple[Job, bool]:
    """A receipt, and whether it is that of the customer `of` (or nobody asked). Raises CannotErase."""

    async def work(client: Redis, _: Keys, hash_key: bytes) -> tuple[Job, bool]:
        job = await ErasureJobs(client).get(erasure)
        if job is None:
            raise CannotErase("there is no erasure of this id")
        return job, of is None or customer_hash(of, hash_key) in job.hashes

    return _with_store(settings, address, work)


def _erasures(settings: Settings, client: Redis, keys: Keys, hash_key: bytes) -> Erasures:
    strict = settings.durability is Durability.STRICT
    fields = FieldRegistry(client)
    return Erasures(
        Tombstones(client, keys, fields, strict=strict),
        ErasureJobs(client),
        Sweeps(client, keys),
        Merges(MergeStore(client, keys, fields, load(settings.bundle), strict=strict)),
        lambda customer: customer_hash(customer, hash_key),
        new_erasure,
        GROUPS,
        partial(write_anew, client),
        _archive(settings, client, keys),
    )


def _archive(settings: Settings, client: Redis, keys: Keys) -> Archive | None:
    address = settings.archive_address()
    if address is None:
        return None

    async def rewrite(names: Mapping[str, int]) -> int:
        from app.archiving.folder import Folder
        from app.archiving.rewrite import ArchiveBusy, rewrite_without
        from app.store.archive_positions import ArchivePositions

        try:
            return (await rewrite_without(ArchivePositions(client, keys), Folder.at(address), names)).rows
        except (ArchiveBusy, OSError) as error:
            said = error if isinstance(error, ArchiveBusy) else type(error).__name__
            raise CannotErase(
                f"the customer is erased, but the archive could not be rewritten ({said}): the archiver will do it, "
                "or say it again"
            ) from error

    return rewrite


def _with_store(settings: Settings, address: str | None, work: Callable[[Redis, Keys, bytes], Awaitable[T]]) -> T:
    async def run(url: str) -> T:
        async with open_client(url, client_name="nextbest-erase") as client:
            shards = await shards_of(client)
            if shards is None:
                raise CannotErase("this store was never used by a server: nobody is known here")
            configured = settings.hash_key.get_secret_value() if settings.hash_key else None
            return await work(client, Keys(shards), await shared_hash_key(client, configured))

    try:
        with store_address(settings, address) as url:
            return asyncio.run(run(url))
    except (NoLog, EmbeddedStoreError, BundleError, ValueError) as error:
        raise CannotErase(str(error)) from error
    except Problem as problem:
        raise CannotErase(problem.detail) from problem
