"""The archive in an object store: over the S3 protocol, against a server that speaks it (moto)."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from moto.server import ThreadedMotoServer
from pyarrow import fs
from redis.asyncio import Redis

from app.archiving.archiver import Archiver
from app.archiving.folder import Folder
from app.archiving.rewrite import rewrite_without
from app.store.archive_positions import ARCHIVED, ArchivePositions
from app.store.clients import open_client
from app.store.keys import Keys
from tests.support.archive import HOUR_MS, START_MS, append, collected, in_streams, visit_all

KEYS = Keys(32)


@pytest.fixture(scope="module")
def object_store() -> Iterator[str]:
    """Its address."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    yield f"127.0.0.1:{port}"
    server.stop()


@pytest.fixture
def address(object_store: str) -> str:
    """An archive's URL, in a bucket of its own."""
    bucket = f"archive-{uuid4().hex}"
    where = {"scheme": "http", "region": "us-east-1", "endpoint_override": object_store}
    fs.S3FileSystem(access_key="key", secret_key="secret", allow_bucket_creation=True, **where).create_dir(bucket)
    host = object_store.replace(":", "%3A")
    return f"s3://key:secret@{bucket}/nextbest?scheme=http&region=us-east-1&endpoint_override={host}"


@pytest.fixture
async def client(store_url: str) -> Any:
    async with open_client(store_url) as client:
        yield client


def rows_in(address: str) -> Counter[tuple[int, str]]:
    """(shard, id) of every row, and how often it is there."""
    events = Folder.at(address).below("events")
    tables = [events.table(part.path).to_pylist() for part in events.parts()]
    return Counter((row["shard"], row["position"]) for rows in tables for row in rows)


def some(customers: int, since_ms: int) -> list[Any]:
    return [
        collected(f"cus_{customer}", customer * 100 + number, at_ms=since_ms + number * 1000)
        for number in range(5)
        for customer in range(customers)
    ]


async def test_every_entry_is_an_object_s_row_once_and_only_then_may_workers_trim(client: Redis, address: str) -> None:
    archiver = Archiver(ArchivePositions(client, KEYS), Folder.at(address), "one")
    await append(client, KEYS, some(20, START_MS))
    await visit_all(archiver, 32)
    await append(client, KEYS, some(20, START_MS + HOUR_MS))
    await visit_all(archiver, 32)
    assert await visit_all(archiver, 32) == 0
    found = rows_in(address)
    assert set(found) == await in_streams(client, KEYS)
    assert set(found.values()) == {1}
    for shard in range(32):
        last = await client.xrevrange(KEYS.events(shard), count=1)
        assert await client.hget(KEYS.worker(shard), ARCHIVED) == (last[0][0] if last else b"0-0")


async def test_whoever_is_erased_is_in_no_object_and_nobody_else_loses_a_row(client: Redis, address: str) -> None:
    positions = ArchivePositions(client, KEYS)
    await append(client, KEYS, some(20, START_MS))
    await visit_all(Archiver(positions, Folder.at(address), "one"), 32)
    assert (await rewrite_without(positions, Folder.at(address), ["cus_1"])).rows == 5
    events = Folder.at(address).below("events")
    customers = Counter(row["customer"] for part in events.parts() for row in events.table(part.path).to_pylist())
    assert customers == {f"cus_{customer}": 5 for customer in range(20) if customer != 1}


async def test_where_the_object_store_takes_nothing_nothing_counts_as_archived(client: Redis, address: str) -> None:
    await append(client, KEYS, some(5, START_MS))
    elsewhere = address.replace("@archive-", "@nobodys-")  # a bucket that there is not
    with pytest.raises(OSError, match="bucket"):
        await visit_all(Archiver(ArchivePositions(client, KEYS), Folder.at(elsewhere), "one"), 32)
    assert all([await client.hget(KEYS.worker(shard), ARCHIVED) in (None, b"0-0") for shard in range(32)])
