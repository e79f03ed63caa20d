"""Who trims, and when: a stream keeps what is not archived, whatever becomes of the archive, until the door is shut."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pyarrow import fs
from redis.asyncio import Redis

from app.archiving.archiver import Archiver
from app.archiving.folder import Folder
from app.archiving.history import Replay, Wanted, vectors
from app.archiving.reading import snapshot
from app.core.features.codec import state_of
from app.core.features.read import read
from app.store.archive_positions import ArchivePositions
from app.store.clients import open_client
from app.store.events import EventStore
from app.store.keys import CTL_EVENTS_CONSUMED
from tests.support.archive import archiver_of, in_files, visit_all
from tests.support.folding import EVERYTHING, plan_of
from tests.support.link import linked
from tests.support.working import (
    DAY_MS,
    KEYS,
    NOW_MS,
    all_states,
    collected,
    happened,
    left_in,
    viewed,
    work_off,
    worker_on,
)


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
    assert len(elsewhere.below("events").parts()) == 16


def _full(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_an_address_that_cannot_be_used_is_refused_without_repeating_it() -> None:
    with pytest.raises(ValueError, match="the archive's address cannot be used") as refused:
        Folder.at("ftp://user:secret@example.com/x")
    assert "secret" not in str(refused.value)


async def test_vectors_of_now_are_what_the_worker_keeps(client: Redis, store_url: str, tmp_path: Path) -> None:
    """Repeats, events that cannot be folded, late ones, customers who became others; half of it in files."""
    rng, plan, told = random.Random(11), plan_of(EVERYTHING), []
    for number in range(400):
        if told and rng.random() < 0.15:
            told.append(rng.choice(told))
            continue
        kind = rng.choice(["viewed", "added", "bought", "other"])
        known = {"product": f"p{rng.randint(1, 30)}", "category": rng.choice("abc"), "price": rng.random() * 50}
        if kind == "bought":
            known = {"revenue": rng.choice([1e30, rng.random() * 90]), "items": rng.randint(1, 4)}
        at_ms = NOW_MS - rng.randint(0, 40 * DAY_MS)
        told.append(happened(kind, f"cus_{rng.randint(1, 12)}", number, at_ms, **known))
    told.insert(150, happened("$carry", "cus_1", 9001, to="cus_2"))
    told.insert(250, happened("$carry", "cus_2", 9002, to="cus_3"))
    archiver = archiver_of(client, KEYS, tmp_path)
    for half, archived in ((told[:200], True), (told[200:], False)):
        await collected(client, half)
        async with worker_on(store_url, plan=plan, keys=KEYS) as (worker, _):
            await worker.tend()
            await work_off(worker)
        for shard in range(KEYS.shards):
            await client.hset(KEYS.worker(shard), "until", 0)
        if archived:
            await visit_all(archiver, KEYS.shards)
    store = ArchivePositions(client, KEYS)
    seen = await snapshot(store, Folder.at(str(tmp_path)))
    rows = {row.customer: row.values for row in vectors(Replay(plan, seen), Wanted(NOW_MS))}
    online = {
        name: read(plan, state_of(plan, decoded(raw)), NOW_MS) for name, raw in (await all_states(client)).items()
    }
    kept = {name: values for name, values in online.items() if name not in ("cus_1", "cus_2")}
    assert rows == kept
    assert len(rows) == 10


def decoded(raw: dict[bytes, bytes]) -> dict[str, bytes]:
    return {key.decode(): value for key, value in raw.items()}
