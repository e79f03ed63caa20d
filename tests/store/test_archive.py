"""The archive holds every entry of the streams, each once, whatever becomes of those who write it."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from redis.asyncio import Redis

from app.archiving import archiver, tidy
from app.archiving.belonging import claim
from app.archiving.columns import SCHEMA
from app.archiving.columns import collected as event_of
from app.archiving.folder import Folder, published
from app.archiving.layout import Part, parse, standing
from app.core.events.entry import encode
from app.core.events.event import Edge
from app.core.identity import KINDS
from app.store import archive_positions
from app.store.archive_positions import ARCHIVED, ArchivePositions, Taken
from app.store.clients import open_client
from app.store.keys import Keys
from tests.support.archive import (
    HOUR_MS,
    START_MS,
    append,
    archiver_of,
    bytes_of,
    collected,
    days_in,
    files_in,
    half_written,
    in_files,
    in_streams,
    lie_by_days_in_the_root,
    visit_all,
)

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


async def test_every_entry_is_a_row_once_and_the_workers_may_trim(client: Redis, tmp_path: Path) -> None:
    await append(client, KEYS, some())
    assert await visit_all(archiver_of(client, KEYS, tmp_path), 32) == 400
    assert set(in_files(tmp_path)) == await in_streams(client, KEYS)
    assert set(in_files(tmp_path).values()) == {1}
    for shard in range(32):
        last = await client.xrevrange(KEYS.events(shard), count=1)
        assert await client.hget(KEYS.worker(shard), ARCHIVED) == (last[0][0] if last else b"0-0")


async def test_what_came_since_goes_into_files_of_its_own(client: Redis, tmp_path: Path) -> None:
    archiver = archiver_of(client, KEYS, tmp_path)
    await append(client, KEYS, some())
    await visit_all(archiver, 32)
    await append(client, KEYS, some(since_ms=START_MS + HOUR_MS))
    assert await visit_all(archiver, 32) == 400
    assert await visit_all(archiver, 32) == 0
    assert set(in_files(tmp_path)) == await in_streams(client, KEYS)
    assert set(in_files(tmp_path).values()) == {1}


async def test_a_row_holds_all_that_the_entry_did(client: Redis, tmp_path: Path) -> None:
    event = collected(
        "cus_1",
        7,
        once=b"12345678",
        source="shop",
        properties={"text": "é", "whole": -(2**63), "number": 1.5, "one": 1.0, "yes": True},
        edges=(Edge(KINDS[0], b"0123456789abcdef"), Edge(KINDS[1], b"fedcba9876543210")),
        previous=(Edge(KINDS[2], b"0123456789abcdef"),),
        known=True,
        previous_customer="cus_2",
    )
    assert all(event)  # every field that there is holds something
    await append(client, KEYS, [event])
    await visit_all(archiver_of(client, KEYS, tmp_path), 32)
    (path,) = files_in(tmp_path)
    table = pq.read_table(path, partitioning=None)
    assert table.schema.equals(SCHEMA)
    (row,) = table.to_pylist()
    times = {name: round(row[name].timestamp() * 1000) for name in ("occurred_at", "received_at", "appended_at")}
    found = event_of(row | times)
    assert found == event
    assert [type(value) for value in found.properties.values()] == [str, int, float, float, bool]
    assert path.relative_to(tmp_path).parts[:3] == ("events", "day=2026-11-24", "hour=08")


async def test_an_entry_that_cannot_be_read_is_kept_as_it_is(client: Redis, tmp_path: Path) -> None:
    await client.xadd(KEYS.events(3), {"e": b"\xff rubbish"})
    await client.xadd(KEYS.events(3), {"other": b"x"})
    await client.xadd(KEYS.events(3), {"e": encode(collected("cus_1", 1))})
    assert await visit_all(archiver_of(client, KEYS, tmp_path), 32) == 3
    (path,) = files_in(tmp_path)
    assert pq.read_table(path, partitioning=None)["unreadable"].to_pylist() == [b"\xff rubbish", b"", None]


async def test_batches_are_bounded_and_nothing_is_left_behind(client: Redis, tmp_path: Path) -> None:
    await append(client, KEYS, some(customers=20, each=100))
    await visit_all(archiver_of(client, KEYS, tmp_path, rows_max=50), 32)
    assert set(in_files(tmp_path)) == await in_streams(client, KEYS)


@pytest.mark.parametrize("dies_at", range(18))
async def test_an_archiver_that_dies_anywhere_loses_nothing_and_doubles_nothing(
    client: Redis, tmp_path: Path, dies_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is stopped before the n-th time that it tells the store something or puts a file in its place; meanwhile more
    events come, and the next one reads other pages."""
    keys = Keys(2)
    await append(client, keys, some(customers=6, each=40) + some(customers=6, each=3, since_ms=START_MS + HOUR_MS))
    steps = 0

    class Died(BaseException):
        pass

    async def step(*_: Any) -> None:
        nonlocal steps
        steps += 1
        if steps > dies_at:
            raise Died

    monkeypatch.setattr(archive_positions, "PAGE", 10)  # so that batches are as large as they may be
    with monkeypatch.context() as patched:
        for owner, name in ((ArchivePositions, "acknowledge"), (ArchivePositions, "read"), (Taken, "keep")):
            whole = getattr(owner, name)

            async def dying(*args: Any, whole: Any = whole) -> Any:
                await step()
                return await whole(*args)

            patched.setattr(owner, name, dying)

        async def publishing(taken: Any, staged: Any) -> None:
            await step()
            await published(taken, staged)

        for module in (archiver, tidy):
            patched.setattr(module, "published", publishing)
        with pytest.raises(Died):
            await visit_all(archiver_of(client, keys, tmp_path, "one", rows_max=1000), 2)
    await client.hset("ctl:archive:0", "until", 0)  # its lease ends
    await client.hset("ctl:archive:1", "until", 0)
    await append(client, keys, some(customers=6, each=3, since_ms=START_MS + 2 * HOUR_MS))
    await visit_all(archiver_of(client, keys, tmp_path, "two", rows_max=30), 2)
    rows = in_files(tmp_path)
    assert set(rows) == await in_streams(client, keys)
    assert set(rows.values()) == {1}


async def test_of_two_archivers_one_has_a_group(client: Redis, tmp_path: Path) -> None:
    store = ArchivePositions(client, KEYS)
    taken = await store.take(3, "one")
    assert taken is not None
    assert await archiver_of(client, KEYS, tmp_path, "two").visit(3) is None
    await taken.give_back()
    assert await archiver_of(client, KEYS, tmp_path, "two").visit(3) is not None


async def test_one_that_was_frozen_with_a_file_in_its_hands_cannot_put_it_down_any_more(
    client: Redis, tmp_path: Path
) -> None:
    await append(client, KEYS, some(each=1))
    folder = Folder.at(str(tmp_path)).below("events")
    await visit_all(archiver_of(client, KEYS, tmp_path), 32)
    (path, *_) = files_in(tmp_path)
    part = parse(str(path.relative_to(tmp_path / "events")))
    assert part is not None
    before = bytes_of(path)
    staged = folder.stage(part.path, SCHEMA.empty_table(), part.group)
    assert await archiver_of(client, KEYS, tmp_path, "two").visit(part.group) is not None
    with pytest.raises(FileNotFoundError):
        staged.publish()
    assert bytes_of(path) == before


async def test_a_full_disk_keeps_the_streams_and_the_next_visit_goes_on(
    client: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await append(client, KEYS, some())

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("app.archiving.draft.pq.ParquetWriter.write_table", full)
        with pytest.raises(OSError, match="No space"):
            await visit_all(archiver_of(client, KEYS, tmp_path), 32)
    assert half_written(tmp_path) == []
    assert await client.hget(KEYS.worker(0), ARCHIVED) == b"0-0"  # nothing may be trimmed
    await visit_all(archiver_of(client, KEYS, tmp_path), 32)
    assert set(in_files(tmp_path)) == await in_streams(client, KEYS)


async def test_hours_that_are_over_become_one_file_a_group(client: Redis, tmp_path: Path) -> None:
    archiver = archiver_of(client, KEYS, tmp_path)
    for minutes in range(4):
        await append(client, KEYS, some(each=2, since_ms=START_MS + minutes * 60_000))
        for group in range(16):
            await archiver.visit(group, tidy=False)
    assert len(files_in(tmp_path)) == 64
    before = in_files(tmp_path)
    await visit_all(archiver, 32)
    files = files_in(tmp_path)
    assert len(files) == 16
    assert in_files(tmp_path) == before
    for file in files:
        rows = pq.read_table(file, partitioning=None)
        assert rows.schema.equals(SCHEMA)
        keys = list(zip(rows["shard"].to_pylist(), rows["position"].to_pylist(), strict=True))
        assert keys == sorted(keys)


async def test_an_hour_becomes_one_file_run_by_run_and_a_shards_rows_keep_their_order(
    client: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archiver = archiver_of(client, KEYS, tmp_path)
    for minutes in range(4):
        await append(client, KEYS, some(each=2, since_ms=START_MS + minutes * 60_000))
        await archiver.visit(0, tidy=False)
    folder = Folder.at(str(tmp_path)).below("events")
    parts = standing(folder.parts())
    batches = [folder.table(part.path).num_rows for part in parts]
    assert len(parts) == 4
    rows = [(row["shard"], row["position"]) for part in parts for row in folder.table(part.path).to_pylist()]
    monkeypatch.setattr("app.archiving.tidy.RUN_BYTES", 1)
    assert [run.num_rows for run in tidy.runs(folder, parts, SCHEMA)] == batches  # never two row groups in memory
    await archiver.visit(0)
    (whole,) = folder.parts()
    merged = [(row["shard"], row["position"]) for row in folder.table(whole.path).to_pylist()]
    for shard in (0, 16):
        assert [row for row in merged if row[0] == shard] == [row for row in rows if row[0] == shard]
    assert len(merged) == len(rows)


async def test_a_disk_that_fills_up_while_an_hour_becomes_one_file_leaves_its_files_as_they_are(
    client: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archiver = archiver_of(client, KEYS, tmp_path)
    for minutes in range(2):
        await append(client, KEYS, some(each=1, since_ms=START_MS + minutes * 60_000))
        await archiver.visit(0, tidy=False)
    before = files_in(tmp_path)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("app.archiving.draft.pq.ParquetWriter.write_table", full)
        with pytest.raises(OSError, match="No space"):
            await archiver.visit(0)
    assert (half_written(tmp_path), files_in(tmp_path)) == ([], before)
    await archiver.visit(0)
    assert len(files_in(tmp_path)) == 1


def test_of_a_file_and_those_that_it_was_made_of_one_counts() -> None:
    narrow = [Part(0, 1, number, number) for number in range(4)]
    wide, other = Part(0, 1, 0, 2), Part(HOUR_MS, 1, 1, 1)
    assert standing([*narrow, wide, other]) == [wide, narrow[3], other]
    assert [parse(part.path) for part in (wide, other)] == [wide, other]


async def test_days_that_are_older_than_events_are_kept_go(client: Redis, tmp_path: Path) -> None:
    day_ms = 24 * HOUR_MS
    await append(client, KEYS, some(since_ms=START_MS - 3 * day_ms))
    await append(client, KEYS, some(since_ms=START_MS))
    store = ArchivePositions(client, KEYS)
    keep_ms = await store.now_ms() - START_MS + day_ms
    await visit_all(archiver_of(client, KEYS, tmp_path, keep_ms=keep_ms), 32)
    assert days_in(tmp_path) == ["day=2026-11-24"]
    whole = {(await store.known(group)).whole_from_ms for group in range(16)}
    assert whole == {START_MS - 8 * HOUR_MS - 2 * day_ms}


async def test_what_was_trimmed_before_the_first_archiver_came_is_known_to_be_missing(
    client: Redis, tmp_path: Path
) -> None:
    await append(client, Keys(1), some(customers=1, each=10))
    await client.xtrim(Keys(1).events(0), maxlen=4, approximate=False)
    await archiver_of(client, Keys(1), tmp_path).visit(0)
    known = await ArchivePositions(client, Keys(1)).known(0)
    assert known.whole_from_ms == START_MS + 6_005


async def test_an_archive_that_held_events_alone_keeps_them(client: Redis, tmp_path: Path) -> None:
    await append(client, KEYS, some(each=1))
    store, folder = ArchivePositions(client, KEYS), Folder.at(str(tmp_path))
    await claim(store, folder)
    await visit_all(archiver_of(client, KEYS, tmp_path), 32)
    before = in_files(tmp_path)
    lie_by_days_in_the_root(tmp_path)
    assert in_files(tmp_path) == {}
    for _ in range(2):
        await claim(store, folder)
        assert in_files(tmp_path) == before
    assert folder.folders() == ["events"]
