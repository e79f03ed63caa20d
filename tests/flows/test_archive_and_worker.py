"""Who trims, and when: a stream keeps what is not archived, whatever becomes of the archive, until the door is shut."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pyarrow import fs
from redis.asyncio import Redis

from app.archiving.archiver import Archiver
from app.archiving.folder import Folder
from app.store.archive_positions import ArchivePositions
from app.store.clients import open_client
from app.store.events import EventStore
from app.store.keys import CTL_EVENTS_CONSUMED
from tests.support.archive import archiver_of, in_files, visit_all
from tests.support.link import linked
from tests.support.working import KEYS, collected, left_in, viewed, work_off, worker_on


@pytest.fixture
async def client(store_url: str) -> AsyncIterator[Redis]:
    async with open_client(store_url) as opened:
        yield opened


async def worked_off_and_trimmed(url: str) -> None:
    async with worker_on(url, keys=KEYS) as (worker, _):
        await worker.tend()
        await work_off(worker)
        await worker.tend()


async def test_streams_are_trimmed_only_after_the_archive_is_safe(
    client: Redis, store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archiver = archiver_of(client, KEYS, tmp_path)
    await archiver.begin()
    await client.set(CTL_EVENTS_CONSUMED, 1)
    await collected(client, [viewed(f"cus_{each}", each, price=1.0) for each in range(3000)])
    with monkeypatch.context() as patched:
        patched.setattr(Folder, "stage", _full)
        with pytest.raises(OSError, match="No space"):
            await visit_all(archiver, KEYS.shards)
        await worked_off_and_trimmed(store_url)
        assert len(await left_in(client)) == 3000
        async with linked(store_url) as link:
            door = EventStore(link, KEYS, 50_000, strict=False)
            await door.look()
            assert door.shut is not None
            assert door.shut.reason == "events come faster than they are worked off"
    await visit_all(archiver, KEYS.shards)
    assert sum(in_files(tmp_path).values()) == 3000
    for shard in range(KEYS.shards):
        await client.hset(KEYS.worker(shard), "until", 0)
    await worked_off_and_trimmed(store_url)
    assert len(await left_in(client)) < 1000
    async with linked(store_url) as link:
        door = EventStore(link, KEYS, 50_000, strict=False)
        await door.look()
        assert door.shut is None


async def test_an_object_store_gets_the_same_files(client: Redis, tmp_path: Path) -> None:
    elsewhere = Folder(fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem()), "bucket/archive")
    assert not elsewhere.local
    archiver = Archiver(ArchivePositions(client, KEYS), elsewhere, "one")
    for number in range(2):
        await collected(client, [viewed(f"cus_{each}", number * 100 + each) for each in range(60)])
        for group in range(KEYS.shards):
            await archiver.visit(group, tidy=False)
    assert sum(in_files(tmp_path / "bucket" / "archive").values()) == 120
    assert len(elsewhere.parts()) == 16


def _full(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_an_address_that_cannot_be_used_is_refused_without_repeating_it() -> None:
    with pytest.raises(ValueError, match="the archive's address cannot be used") as refused:
        Folder.at("ftp://user:secret@example.com/x")
    assert "secret" not in str(refused.value)
