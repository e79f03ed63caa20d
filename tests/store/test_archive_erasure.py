"""Whoever is erased is in no file of the archive, and comes into none."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from redis.asyncio import Redis

from app.archiving.columns import SCHEMA
from app.archiving.erasures import take_erasures_on, without_erased
from app.archiving.folder import Folder
from app.archiving.history import Replay, Wanted, vectors
from app.archiving.reading import snapshot
from app.archiving.rewrite import rewrite_without
from app.core.erasure import Erased, Step, Taken
from app.store.archive_positions import ARCHIVED, ArchivePositions
from app.store.clients import open_client
from app.store.erasure import Tombstones
from app.store.erasure_jobs import ErasureJobs
from app.store.fields import FieldRegistry
from app.store.keys import Keys
from tests.support.archive import (
    HOUR_MS,
    START_MS,
    append,
    archiver_of,
    bytes_of,
    collected,
    files_in,
    in_files,
    put_back,
    visit_all,
)
from tests.support.customers import give_ids
from tests.support.folding import EVERYTHING, plan_of

KEYS = Keys(32)


@pytest.fixture
async def client(store_url: str) -> Any:
    async with open_client(store_url) as client:
        yield client


def some(customers: int = 80, each: int = 5, since_ms: int = START_MS) -> list[Any]:
    return [
        collected(f"cus_{customer}", customer * 1000 + number, at_ms=since_ms + number * 1000)
        for number in range(each)
        for customer in range(customers)
    ]


async def test_whoever_is_erased_is_in_no_file_and_nobody_else_loses_a_row(client: Redis, tmp_path: Path) -> None:
    archiver = archiver_of(client, KEYS, tmp_path)
    gone = {"cus_1", "cus_2"}
    await append(client, KEYS, some())
    await visit_all(archiver, 32)
    await append(client, KEYS, [collected("cus_9", 1, "$carry", START_MS + HOUR_MS, properties={"to": "cus_2"})])
    await append(client, KEYS, [collected("cus_8", 2, at_ms=START_MS + HOUR_MS, previous_customer="cus_1")])
    await append(client, KEYS, [collected("cus_7", 3, "$carry", START_MS + HOUR_MS, properties={"to": "cus_6"})])
    await visit_all(archiver, 32)
    before = in_files(tmp_path)
    done = await rewrite_without(ArchivePositions(client, KEYS), Folder.at(str(tmp_path)), gone)
    assert done.rows == 11
    tables = [pq.read_table(file, partitioning=None) for file in files_in(tmp_path)]
    rows = [row for table in tables for row in table.to_pylist()]
    assert all(table.schema.equals(SCHEMA) for table in tables)
    assert not any(name in str(row) for row in rows for name in ("'cus_1'", "'cus_2'", '"cus_2"'))
    assert sum(before.values()) - len(rows) == 11
    assert {"cus_6", "cus_7", "cus_8"} <= {row["customer"] for row in rows}
    again = await rewrite_without(ArchivePositions(client, KEYS), Folder.at(str(tmp_path)), gone)
    assert again == (0, 0)


async def test_a_file_that_does_not_count_any_more_keeps_nobody_who_is_erased(client: Redis, tmp_path: Path) -> None:
    archiver = archiver_of(client, KEYS, tmp_path)
    for number in range(2):
        await append(client, KEYS, [collected("cus_1", number, at_ms=START_MS + number)])
        for group in range(16):
            await archiver.visit(group, tidy=False)
    narrow = {file: bytes_of(file) for file in files_in(tmp_path)}
    await visit_all(archiver, 32)
    for file, content in narrow.items():
        put_back(file, content)
    await rewrite_without(ArchivePositions(client, KEYS), Folder.at(str(tmp_path)), ["cus_1"])
    assert sum(in_files(tmp_path).values()) == 0


async def test_what_came_after_a_later_consent_stays(client: Redis, tmp_path: Path) -> None:
    await append(client, KEYS, some())
    await visit_all(archiver_of(client, KEYS, tmp_path), 32)
    until_ms = {"cus_1": START_MS + 2_005, "cus_2": START_MS - 1}
    assert (await rewrite_without(ArchivePositions(client, KEYS), Folder.at(str(tmp_path)), until_ms)).rows == 3


@dataclass
class Erasing:
    """Erasures without the servers that would go on with them."""

    client: Redis
    store: ArchivePositions
    jobs: ErasureJobs
    tombstones: Tombstones

    async def erased(self, customer: str, *steps: Step) -> str:
        erasure = f"ers_{customer}"
        job = await self.jobs.begin(erasure, customer, "hash", "somebody")
        gone = await self.tombstones.erase(customer, erasure)
        assert isinstance(gone, Erased)
        await self.jobs.erased(job, gone.at_ms, [customer], ["hash"])
        for step in steps:
            await self.jobs.record([erasure], {erasure: Taken(step, 1, gone.at_ms)})
        return erasure


@pytest.fixture
async def erasing(client: Redis) -> Erasing:
    await give_ids(client)
    await client.hset("ctl:fields", mapping={"s:erasure": "zz"})
    tombstones = Tombstones(client, KEYS, FieldRegistry(client))
    return Erasing(client, ArchivePositions(client, KEYS), ErasureJobs(client), tombstones)


async def test_an_erasure_that_waits_for_the_archive_is_taken_on_by_the_archiver(
    client: Redis, tmp_path: Path, erasing: Erasing
) -> None:
    folder = Folder.at(str(tmp_path))
    on = partial(take_erasures_on, erasing.jobs, erasing.tombstones, erasing.store, folder)
    await append(client, KEYS, some())
    await visit_all(archiver_of(client, KEYS, tmp_path), 32)
    erasure = await erasing.erased("cus_1")
    assert await on() == 0  # its entries are in the streams still
    for step in (Step.IDENTITIES, Step.DECISIONS, Step.RECEIPTS, Step.EVENTS):
        await erasing.jobs.record([erasure], {erasure: Taken(step, 1, START_MS)})
    assert await on() == 1
    (job,) = await erasing.jobs.open()
    assert (job.next_step, job.steps[-1].step, job.steps[-1].number) == (Step.APPEND_ONLY_FILE, Step.ARCHIVE, 5)
    assert await on() == 0


async def test_nothing_of_a_customer_who_was_erased_is_archived(
    client: Redis, tmp_path: Path, erasing: Erasing
) -> None:
    await append(client, KEYS, some())
    await erasing.erased("cus_1")
    allowed = partial(without_erased, erasing.store, erasing.tombstones)
    await client.xadd(KEYS.events(KEYS.shard_of("cus_1")), {"e": b"rubbish"})
    await visit_all(archiver_of(client, KEYS, tmp_path, allowed=allowed), 32)
    customers = [name for file in files_in(tmp_path) for name in pq.read_table(file)["customer"].to_pylist()]
    assert "cus_1" not in customers
    assert len(customers) == 396
    for shard in range(32):  # and its stream may be trimmed all the same
        last = await client.xrevrange(KEYS.events(shard), count=1)
        assert await client.hget(KEYS.worker(shard), ARCHIVED) == (last[0][0] if last else b"0-0")


async def test_who_is_being_erased_is_in_no_vector_though_files_still_name_them(
    client: Redis, tmp_path: Path, erasing: Erasing
) -> None:
    plan, folder = plan_of(EVERYTHING), Folder.at(str(tmp_path))
    await append(client, KEYS, some())
    await visit_all(archiver_of(client, KEYS, tmp_path), 32)
    await erasing.erased("cus_1")
    seen = await snapshot(erasing.store, folder)
    rows = {row.customer for row in vectors(Replay(plan, seen), Wanted(START_MS + HOUR_MS))}
    assert len(rows) == 79
    assert "cus_1" not in rows
