"""The archiver as a process: killed at any instant, with a full disk, stopped in order."""

from __future__ import annotations

import asyncio
import os
import random
import resource
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from redis.asyncio import Redis

from app.store.archive_positions import ARCHIVED
from app.store.clients import open_client
from app.store.keys import CTL_SHARDS, Keys
from tests.support.archive import append, collected, in_files, in_streams
from tests.support.link import until
from tests.support.valkey import store_server, store_url

__all__ = ["store_server", "store_url"]

KEYS = Keys(4)


@pytest.fixture
async def client(store_url: str) -> AsyncIterator[Redis]:
    async with open_client(store_url) as opened:
        await opened.set(CTL_SHARDS, KEYS.shards)
        yield opened


@contextmanager
def archiver(url: str, root: Path, log: Path, file_bytes_max: int | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """`python -m app.archive`; with a limit on files, which stands for a disk that is full."""
    settings = {"REDIS_URL": url, "ARCHIVE": str(root), "ARCHIVE_FLUSH_S": "0.05", "ARCHIVE_ROWS": "1000"}
    environment = {**os.environ, **{f"NEXTBEST_{name}": value for name, value in settings.items()}}

    def limit() -> None:
        if file_bytes_max is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes_max, file_bytes_max))

    with log.open("ab") as stream:
        command = [sys.executable, "-m", "app.archive"]
        process = subprocess.Popen(command, env=environment, stderr=stream, preexec_fn=limit)  # noqa: PLW1509  # a limit
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def _open_shop(client: Redis, told: list[int], closed: asyncio.Event) -> None:
    """A shop that is open, and a worker that trims what is archived."""
    while not closed.is_set():
        number = len(told)
        told.append(number)
        event = collected(f"cus_{number % 50}", number, at_ms=await _now_ms(client))
        shard = KEYS.shard_of(event.customer)
        await append(client, KEYS, [event])
        archived = await client.hget(KEYS.worker(shard), ARCHIVED)
        if archived is not None:
            await client.xtrim(KEYS.events(shard), minid=archived, approximate=False)


async def _now_ms(client: Redis) -> int:
    seconds, microseconds = await client.time()
    return int(seconds) * 1000 + int(microseconds) // 1000


async def _until_archived(client: Redis) -> None:
    for _ in range(5000):  # a busy machine starts it in seconds
        done = [await client.hget(KEYS.worker(shard), ARCHIVED) for shard in range(KEYS.shards)]
        last = [await client.xrevrange(KEYS.events(shard), count=1) for shard in range(KEYS.shards)]
        if all(not entries or at == entries[0][0] for at, entries in zip(done, last, strict=True)):
            return
        await asyncio.sleep(0.02)
    raise AssertionError("the archive did not get to the end of the streams")


async def test_killed_again_and_again_it_loses_nothing_and_doubles_nothing(
    client: Redis, store_url: str, tmp_path: Path
) -> None:
    rng, told, root = random.Random(4), list[int](), tmp_path / "archive"
    closed = asyncio.Event()
    shop = asyncio.create_task(_open_shop(client, told, closed))
    for _ in range(2):
        with archiver(store_url, root, tmp_path / "log"):
            before = len(in_files(root))
            await until(lambda: len(in_files(root)) > before, 20)  # noqa: B023  # it has begun
            await asyncio.sleep(rng.random() * 0.3)
        for group in range(KEYS.shards):
            await client.hset(f"ctl:archive:{group}", "until", 0)  # its lease ends, without waiting for that
    closed.set()
    await shop
    with archiver(store_url, root, tmp_path / "log") as process:
        await _until_archived(client)
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, 10) == 0
    rows = in_files(root)
    assert set(rows.values()) == {1}
    assert await in_streams(client, KEYS) <= set(rows)
    assert len(rows) == len(told) > 100


async def test_with_a_full_disk_it_says_so_and_goes_on_when_there_is_room(
    client: Redis, store_url: str, tmp_path: Path
) -> None:
    root, log = tmp_path / "archive", tmp_path / "log"
    await append(client, KEYS, [collected(f"cus_{number}", number) for number in range(400)])
    with archiver(store_url, root, log, file_bytes_max=1000):
        await until(lambda: "the archive cannot be written" in _text(log), 20)
        assert "File too large" in _text(log)
        assert str(root) not in _text(log)
    assert in_files(root) == {}
    assert await client.hget(KEYS.worker(0), ARCHIVED) == b"0-0"  # nothing is trimmed
    for group in range(KEYS.shards):
        await client.hset(f"ctl:archive:{group}", "until", 0)
    with archiver(store_url, root, log):
        await _until_archived(client)
    assert set(in_files(root)) == await in_streams(client, KEYS)


def _text(log: Path) -> str:
    return log.read_text()
