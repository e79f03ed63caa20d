"""`nextbest customers erase` and `receipt`: erases a customer in the store of a deployment, beside its servers, and
does at once what they would do within the hour."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TypeVar

from redis.asyncio import Redis

from app.archiving.layout import GROUPS
from app.command_context import Trouble, hash_key_of, with_store
from app.core.erasure import Job
from app.core.identity import customer_hash, key_refusal
from app.flows.erase import Archive, Erasures
from app.flows.merge import Merges
from app.settings import Durability, Settings
from app.store.append_only_file import write_anew
from app.store.erasure import Tombstones
from app.store.erasure_jobs import ErasureJobs, new_erasure
from app.store.erasure_sweeps import Sweeps
from app.store.fields import FieldRegistry
from app.store.keys import Keys
from app.store.merge import MergeStore
from policy.compile import load

#: Who the receipt names.
WHO = "command_line"
T = TypeVar("T")


def erase(settings: Settings, address: str | None, customer: str) -> Job:
    """Erase, and do all that follows, the archive included; how far it is. `address`: of the store; None: of the
    settings, or the data folder's own. Raises Trouble."""
    refusal = key_refusal(customer)
    if refusal is not None:
        raise Trouble(refusal.detail)

    async def work(client: Redis, keys: Keys, hash_key: bytes) -> Job:
        erasures = _erasures(settings, client, keys, hash_key)
        return await erasures.finish(await erasures.erase(customer, WHO))

    return _with_store(settings, address, work)


def receipt_of(settings: Settings, address: str | None, erasure: str, of: str | None) -> tuple[Job, bool]:
    """A receipt, and whether it is that of the customer `of` (or nobody asked). Raises Trouble."""

    async def work(client: Redis, _: Keys, hash_key: bytes) -> tuple[Job, bool]:
        job = await ErasureJobs(client).get(erasure)
        if job is None:
            raise Trouble("there is no erasure of this id")
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
            raise Trouble(
                f"the customer is erased, but the archive could not be rewritten ({said}): the archiver will do it, "
                "or say it again"
            ) from error

    return rewrite


def _with_store(settings: Settings, address: str | None, work: Callable[[Redis, Keys, bytes], Awaitable[T]]) -> T:
    async def run(client: Redis, keys: Keys) -> T:
        return await work(client, keys, await hash_key_of(settings, client))

    return with_store(settings, address, run, client_name="nextbest-erase", unused="nobody is known here")
