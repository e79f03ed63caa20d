"""The whole decision log: every entry of every shard once, the newest first, as it was at one moment."""

from __future__ import annotations

import random
import shutil
import tempfile
import zlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from app.copy_log import NoLog, copy_log, store_address
from app.errors import Problem
from app.records_file import contents, records_of
from app.settings import Settings
from app.store import embedded, keys, whole_log
from app.store.clients import open_blocking, open_client
from app.store.embedded import EmbeddedStore, running_store
from app.store.keys import Keys
from app.store.whole_log import LogEntry, WholeLog
from policy.compile import load
from tests.support.contract import FOLDER
from tests.support.deciding import decide, facts_of

SHARDS = 7
NOW_MS = 2_000_000_000_000


@pytest.fixture
async def client(store_url: str) -> AsyncIterator[Redis]:
    client = open_client(store_url)
    yield client
    await client.aclose()


async def fill(client: Redis, entries: int, seed: int = 1) -> list[bytes]:
    """Entries of rising times, several at one millisecond, in shards by chance; every ninth is an abort. Returns what
    they hold, the newest first."""
    chance, keys_of = random.Random(seed), Keys(SHARDS)
    made: list[tuple[tuple[int, int, int], bytes]] = []
    sequences: dict[tuple[int, int], int] = {}
    for number in range(entries):
        at_ms, shard = NOW_MS - 10_000 + number // 3, chance.choice([0, 1, 1, 1, 1, 4, 6])
        sequence = sequences[shard, at_ms] = sequences.get((shard, at_ms), -1) + 1
        field = "aborted" if number % 9 == 0 else "r"
        await client.xadd(keys_of.decisions(shard), {field: b"%d" % number, "x": b"met"}, f"{at_ms}-{sequence}")
        made.append(((-at_ms, -sequence, shard), b"%d" % number))
    return [what for _, what in sorted(made)]


async def read(log: WholeLog, since_ms: int = 0, until_ms: int = NOW_MS) -> list[LogEntry]:
    return [entry async for entry in log.entries(since_ms, until_ms)]


def held(entry: LogEntry) -> bytes:
    found = entry.record if entry.record is not None else entry.aborted
    assert found is not None
    return found


@pytest.mark.parametrize("page", [1, 2, 5, 1_000])
async def test_every_entry_comes_once_the_newest_first(
    client: Redis, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    monkeypatch.setattr(whole_log, "PAGE_MIN", page)
    monkeypatch.setattr(whole_log, "PAGE_MAX", page)
    monkeypatch.setattr(whole_log, "PIPELINE", 3)
    made = await fill(client, 400)
    log = WholeLog(client, SHARDS)
    entries = await read(log)
    assert [held(entry) for entry in entries] == made
    assert await log.records_at_most() == 400
    assert sum(entry.aborted is not None for entry in entries) == 45


async def test_both_ends_of_the_time_belong_to_it(client: Redis) -> None:
    await fill(client, 90)
    entries = await read(WholeLog(client, SHARDS), NOW_MS - 9_990, NOW_MS - 9_980)
    assert {entry.at_ms for entry in entries} == set(range(NOW_MS - 9_990, NOW_MS - 9_980 + 1))


async def test_what_is_decided_meanwhile_is_not_part_of_it(client: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whole_log, "PAGE_MAX", 4)
    made = await fill(client, 60)
    seen = []
    async for entry in WholeLog(client, SHARDS).entries(0, NOW_MS):
        seen.append(held(entry))
        await client.xadd(Keys(SHARDS).decisions(1), {"r": b"later"}, f"{NOW_MS + len(seen)}-0")
    assert seen == made


async def test_an_empty_log_has_no_entries(client: Redis) -> None:
    log = WholeLog(client, 256)
    assert (await read(log), await log.records_at_most()) == ([], 0)


async def test_a_store_that_fails_is_one_problem() -> None:
    log = WholeLog(open_client("unix:///nowhere/store.sock"), 3)
    with pytest.raises(Problem, match="store_unavailable"):
        await read(log)


# From the store into a file


def unwatched(done: int, of: int) -> None:
    """Nobody looks how far it has got."""


def fill_like_a_server(url: str, *, keep_bundle: bool = True) -> tuple[bytes, list[bytes]]:
    """Four records of the contract bundle, as a server with three shards would leave them; one is aborted."""
    bundle = load(FOLDER)
    raws = [decide(bundle, facts_of({"recency": 3}), ["ruled"], seed=number).record for number in range(4)]
    client = open_blocking(url, timeout_s=5)
    client.set(keys.CTL_SHARDS, 3)
    if keep_bundle:
        client.set(keys.bundle(bundle.digest), zlib.compress(bundle.canonical))
    for number, raw in enumerate(raws):
        client.xadd(Keys(3).decisions(number % 3), {"r": raw}, f"{1_000 + number}-0")
    client.xadd(Keys(3).decisions(0), {"aborted": bytes(13)}, "9000-0")
    client.close()
    return bundle.canonical, raws


def test_a_copy_holds_records_bundle_and_what_was_taken_back(store_url: str, tmp_path: Path) -> None:
    canonical, raws = fill_like_a_server(store_url)
    seen: list[tuple[int, int]] = []
    copied = copy_log(store_url, tmp_path / "file", None, None, lambda done, of: seen.append((done, of)))
    assert copied == (4, 1, 0, ())
    found = contents(tmp_path / "file")
    assert (list(found.bundles.values()), found.records, found.aborted) == ([canonical], 4, {"00" * 13})
    assert [raw for chunk in found.chunks for raw in records_of(tmp_path / "file", chunk)] == raws[::-1]
    assert seen[-1][0] == 4


def test_the_last_records_are_the_newest(store_url: str, tmp_path: Path) -> None:
    _, raws = fill_like_a_server(store_url)
    copied = copy_log(store_url, tmp_path / "file", None, 2, unwatched)
    assert copied.records == 2
    (chunk,) = contents(tmp_path / "file").chunks
    assert list(records_of(tmp_path / "file", chunk)) == [raws[3], raws[2]]
    assert copy_log(store_url, tmp_path / "file", 3_600, None, unwatched).records == 0, "older than an hour"


def test_a_bundle_that_the_store_forgot_is_told(store_url: str, tmp_path: Path) -> None:
    fill_like_a_server(store_url, keep_bundle=False)
    assert copy_log(store_url, tmp_path / "file", None, None, unwatched).bundles_missing == 1


def test_a_store_that_no_server_ever_used_has_no_log(store_url: str, tmp_path: Path) -> None:
    with pytest.raises(NoLog):
        copy_log(store_url, tmp_path / "file", None, None, unwatched)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def deep(tmp_path: Path) -> Path:
    """A data folder whose socket must lie elsewhere, for the length of its path."""
    return tmp_path / ("d" * 60) / ("e" * 60)


@pytest.mark.parametrize("length", ["short", "deep"])
def test_the_store_of_a_running_server_is_found_by_its_data_folder(
    length: str, deep: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = deep if length == "deep" else Path(tempfile.mkdtemp(prefix="nb-"))
    assert running_store(data) is None
    with EmbeddedStore(data, strict=False) as url:
        assert running_store(data) == url
        with store_address(Settings(data=data, redis_url=None), None) as address:
            assert address == url
    assert running_store(data) is None
    with store_address(Settings(data=data, redis_url=None), None) as address:  # started for the time being
        fill_like_a_server(address)
    assert running_store(data) is None
    if length == "short":
        shutil.rmtree(data)


def test_no_store_is_made_where_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(NoLog, match="NEXTBEST_DATA"), store_address(Settings(data=tmp_path, redis_url=None), None):
        pass
    assert list(tmp_path.iterdir()) == []
    assert embedded.running_store(tmp_path) is None
