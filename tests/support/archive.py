"""Streams to archive, and what the archive then holds."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import duckdb
from redis.asyncio import Redis

from app.archiving.archiver import Archiver
from app.archiving.folder import Folder
from app.archiving.layout import GROUPS
from app.core.events.entry import encode
from app.core.events.event import Collected
from app.store.archive_positions import ArchivePositions
from app.store.keys import Keys

START_MS = 1_795_507_200_000  # 2026-11-24T08:00:00Z
MINUTE_MS = 60_000
HOUR_MS = 3_600_000


def collected(customer: str, number: int, kind: str = "viewed", at_ms: int = START_MS, **more: Any) -> Collected:
    """An event with a message id of its own."""
    properties = more.pop("properties", {"product": f"p{number % 7}", "price": number / 4})
    once = more.pop("once", b"")
    return Collected(customer, kind, 1, at_ms, at_ms + 5, number.to_bytes(8, "big"), once, properties, **more)


async def append(client: Redis, keys: Keys, events: Iterable[Collected]) -> None:
    """Append events as the door does, each at the time it was received: so tests need no clock of their own. Those of
    one shard come in the order of time."""
    pipeline = client.pipeline(transaction=False)
    for event in events:
        shard = keys.shard_of(event.customer)
        pipeline.xadd(keys.events(shard), {"e": encode(event)}, id=f"{event.received_at_ms}-*")
    await pipeline.execute()


async def visit_all(archiver: Archiver, shards: int) -> int:
    """How many rows were archived."""
    visits = [await archiver.visit(group) for group in range(min(GROUPS, shards))]
    return sum(visit.rows for visit in visits if visit is not None)


def archiver_of(client: Redis, keys: Keys, root: Path, owner: str = "one", **more: Any) -> Archiver:
    return Archiver(ArchivePositions(client, keys), Folder.at(str(root)), owner, **more)


async def in_streams(client: Redis, keys: Keys) -> set[tuple[int, str]]:
    """(shard, id) of every entry of all streams."""
    found = set()
    for shard in range(keys.shards):
        entries: Any = await client.xrange(keys.events(shard))
        found |= {(shard, entry.decode()) for entry, _ in entries}
    return found


def in_files(root: Path) -> Counter[tuple[int, str]]:
    """(shard, id) of every row, and how often it is there, as somebody sees it who reads every file."""
    if not list(root.glob("events/day=*/**/*.parquet")):
        return Counter()
    found = duckdb.sql(f"SELECT shard, position FROM read_parquet('{root}/events/day=*/**/*.parquet')")
    assert found is not None  # None is for statements that are no query
    return Counter(found.fetchall())


def files_in(root: Path) -> list[Path]:
    """Every Parquet file of an archive, those of early hours first."""
    return sorted(root.glob("events/day=*/**/*.parquet"))


def days_in(root: Path) -> list[str]:
    return sorted(path.name for path in root.glob("events/day=*"))


def half_written(root: Path) -> list[Path]:
    return list(root.glob("events/.staging/**/*.tmp"))


def bytes_of(path: Path) -> bytes:
    return path.read_bytes()


def put_back(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def lie_by_days_in_the_root(root: Path) -> None:
    """As archives were that held events alone."""
    for day in (root / "events").glob("day=*"):
        day.rename(root / day.name)
    shutil.rmtree(root / "events")
