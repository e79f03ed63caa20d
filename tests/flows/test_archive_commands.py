"""The archive as users meet it: the queries of the documentation, files of vectors, and what commands say."""

from __future__ import annotations

import asyncio
import csv
import json
import re
import shutil
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
from redis.asyncio import Redis
from typer.testing import CliRunner

from app import cli
from app.archiving.belonging import WrongArchive
from app.archiving.folder import Folder
from app.archiving.rewrite import rewrite_without
from app.core.features.history import folded
from app.core.features.plan import FoldPlan
from app.core.features.read import read
from app.store.archive_positions import ArchivePositions
from app.store.clients import open_client
from app.store.keys import CTL_SHARDS, Keys
from policy.compile import load
from tests.support.archive import START_MS, append, archiver_of, collected, days_in, visit_all

KEYS = Keys(4)
DOCS = Path(__file__).parents[2] / "docs" / "archive.md"
FEATURES = """
features:
  views_7d: {on: product_viewed, count: 1, window: 7d, owner: growth, purposes: [personalisation]}
  spend:    {on: order_completed, sum: revenue, owner: growth, purposes: [personalisation]}
  latest:   {on: product_viewed, last: category, owner: growth, purposes: [personalisation]}
"""
AT = "2026-11-24T09:00:00Z"


@pytest.fixture
async def client(store_url: str) -> AsyncIterator[Redis]:
    async with open_client(store_url) as opened:
        await opened.set(CTL_SHARDS, KEYS.shards)
        yield opened


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    shutil.copytree(Path(__file__).parents[1] / "support" / "event_bundle", folder)
    (folder / "features.yaml").write_text(FEATURES)
    return folder


TOLD = [
    collected("cus_1", 1, "product_viewed", properties={"product_id": "p1", "category": "shoes"}),
    collected("cus_1", 2, "order_completed", START_MS + 1000, properties={"order_id": "o1", "revenue": 12.5}),
    collected("cus_1", 2, "order_completed", START_MS + 1000, properties={"order_id": "o1", "revenue": 12.5}),
    collected("cus_2", 3, "order_completed", START_MS + 2000, properties={"order_id": "o2", "revenue": 7.25}),
]


def run(store_url: str, bundle: Path, *arguments: str) -> Any:
    environment = {
        "NEXTBEST_REDIS_URL": store_url,
        "NEXTBEST_BUNDLE": str(bundle),
        "NEXTBEST_ARCHIVE": str(bundle.parent / "archive"),
        "NEXTBEST_SHARDS": str(KEYS.shards),
    }
    return CliRunner().invoke(cli.app, arguments, env=environment)


async def test_the_queries_of_the_documentation_find_what_happened(
    client: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await append(client, KEYS, TOLD)
    await visit_all(archiver_of(client, KEYS, tmp_path / "archive"), KEYS.shards)
    monkeypatch.chdir(tmp_path)
    queries = re.findall(r"```sql\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert len(queries) == 6
    with duckdb.connect() as db:
        answers = [db.sql(query) if "CREATE" not in query else db.execute(query) and None for query in queries]
        views, by_day, once, sold, late, one = [None if each is None else each.fetchall() for each in answers]
        assert (views, once) == (None, None)
        assert [(str(day), *rest) for day, *rest in by_day or ()] == [
            ("2026-11-24", "order_completed", 3, 2),
            ("2026-11-24", "product_viewed", 1, 1),
        ]
        assert [(str(day), revenue) for day, revenue in sold or ()] == [("2026-11-24", 19.75)]
        assert [kind for kind, _ in late or ()] == ["order_completed", "product_viewed"]
        assert [(at, kind) for at, kind, _ in one or ()] == [
            ("08:00:00", "product_viewed"),
            ("08:00:01", "order_completed"),
        ]


async def test_an_archiver_writes_all_its_files_in_one_thread_since_each_would_keep_memory_of_its_own(
    client: Redis, store_url: str, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage, threads = Folder.stage, []

    def staged(*args: Any) -> Any:
        threads.append(threading.current_thread().name)
        return stage(*args)

    monkeypatch.setattr(Folder, "stage", staged)
    await append(client, KEYS, [collected(f"cus_{number}", number) for number in range(40)])
    assert (await asyncio.to_thread(run, store_url, bundle, "archive", "--once")).exit_code == 0
    assert len(threads) == KEYS.shards
    assert set(threads) == {"archive_0"}


@pytest.mark.parametrize("suffix", ["parquet", "csv", "ndjson"])
async def test_vectors_are_those_of_the_fold_and_say_what_they_mean(
    client: Redis, store_url: str, bundle: Path, tmp_path: Path, suffix: str
) -> None:
    await append(client, KEYS, TOLD)
    out = tmp_path / f"rows.{suffix}"
    assert (await asyncio.to_thread(run, store_url, bundle, "archive", "--once")).stdout == "4 rows archived\n"
    done = await asyncio.to_thread(run, store_url, bundle, "features", "vectors", "--at", AT, "--out", str(out))
    assert (done.exit_code, done.stdout) == (0, f"2 rows in {out}\n"), done.stderr
    plan = FoldPlan.of(load(bundle))
    at_ms = START_MS + 3_600_000
    mine = {name: [e.event for e in (*TOLD[:2], TOLD[3]) if e.customer == name] for name in ("cus_1", "cus_2")}
    expected = {name: read(plan, folded(plan, events), at_ms) for name, events in mine.items()}
    assert rows_of(out) == expected
    description = json.loads(out.with_name(out.name + ".json").read_text())
    views = next(each for each in description["features"] if each["name"] == "views_7d")
    rule = next(rule for rule in load(bundle).features if rule.name == "views_7d")
    assert (views["definition"], views["version"], views["owner"]) == (rule.definition, 1, "growth")
    assert (views["folded_from"], views["window_s"]) == (["product_viewed"], 7 * 86_400)
    assert (description["rows"], description["bundle_digest"]) == (2, load(bundle).digest)
    if suffix == "parquet":
        told = json.loads(pq.read_schema(out).metadata[b"nextbest"])
        assert told == {name: value for name, value in description.items() if name not in ("file", "rows")}


def rows_of(file: Path) -> dict[str, dict[str, Any]]:
    if file.suffix == ".parquet":
        rows = pq.read_table(file).to_pylist()
    elif file.suffix == ".csv":
        with file.open(newline="") as lines:
            rows = list(csv.DictReader(lines))
        for row in rows:
            row["views_7d"], row["spend"] = int(row["views_7d"]), float(row["spend"])
    else:
        rows = [json.loads(line) for line in file.read_text().splitlines()]
    return {
        row["customer"]: {name: row[name] for name in ("views_7d", "spend", "latest") if row[name] not in (None, "")}
        for row in rows
    }


async def test_each_line_of_a_file_may_name_its_instant(
    client: Redis, store_url: str, bundle: Path, tmp_path: Path
) -> None:
    await append(client, KEYS, TOLD)
    labels, out = tmp_path / "labels.csv", tmp_path / "rows.parquet"
    labels.write_text("customer,at\ncus_1,2026-11-24T08:00:00.500Z\ncus_1,2026-11-24T08:01:00Z\ncus_9,2026-11-24\n")
    words = ("features", "vectors", "--customers", str(labels), "--out", str(out))
    done = await asyncio.to_thread(run, store_url, bundle, *words)
    assert (done.exit_code, done.stdout) == (0, f"3 rows in {out}\n"), done.stderr
    spent = [(row["customer"], row["spend"]) for row in pq.read_table(out).to_pylist()]
    assert spent == [("cus_1", 0.0), ("cus_1", 12.5), ("cus_9", 0.0)]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--out", "rows.parquet"), "name an instant with `--at`"),
        (("--at", "yesterday", "--out", "rows.parquet"), "`yesterday` is no instant"),
        (("--at", "2999-01-01", "--out", "rows.parquet"), "in the future"),
        (("--at", AT, "--out", "rows.xlsx"), "ends in none of"),
        (("--at", AT, "--out", "rows.csv", "--customers", "nowhere"), "`nowhere` cannot be read"),
    ],
)
async def test_a_command_that_cannot_be_done_says_what_to_do(
    client: Redis, store_url: str, bundle: Path, words: tuple[str, ...], told: str
) -> None:
    done = await asyncio.to_thread(run, store_url, bundle, "features", "vectors", *words)
    assert done.exit_code == 2
    assert told in done.stderr


async def test_filling_says_that_workers_must_run_with_the_bundle(client: Redis, store_url: str, bundle: Path) -> None:
    done = await asyncio.to_thread(run, store_url, bundle, "features", "backfill", "--check")
    assert done.exit_code == 2
    assert "start the worker with it" in done.stderr


async def test_an_archive_that_is_given_up_holds_no_stream_any_more(
    client: Redis, store_url: str, bundle: Path
) -> None:
    await append(client, KEYS, TOLD)
    await asyncio.to_thread(run, store_url, bundle, "archive", "--once")
    held = [await client.hexists(KEYS.worker(shard), "archived") for shard in range(KEYS.shards)]
    done = await asyncio.to_thread(run, store_url, bundle, "archive", "--forget")
    assert done.exit_code == 0, done.stderr
    assert all(held)
    assert not any([await client.hexists(KEYS.worker(shard), "archived") for shard in range(KEYS.shards)])
    assert days_in(bundle.parent / "archive") == ["day=2026-11-24"]


async def test_a_command_that_looks_in_another_folder_is_told_so(
    client: Redis, store_url: str, bundle: Path, tmp_path: Path
) -> None:
    await append(client, KEYS, TOLD)
    await asyncio.to_thread(run, store_url, bundle, "archive", "--once")
    elsewhere = shutil.copytree(bundle, tmp_path / "elsewhere" / "bundle")
    words = (
        ("features", "vectors", "--at", AT, "--out", str(tmp_path / "rows.csv")),
        ("archive", "--once"),
    )
    for each in words:
        done = await asyncio.to_thread(run, store_url, elsewhere, *each)
        assert done.exit_code != 0
        assert "this store's archive is not where NEXTBEST_ARCHIVE points to" in done.stderr
    with pytest.raises(WrongArchive):
        await rewrite_without(ArchivePositions(client, KEYS), Folder.at(str(tmp_path / "elsewhere")), ["cus_1"])


async def test_an_archive_that_was_lost_is_begun_anew_elsewhere_once_it_is_forgotten(
    client: Redis, store_url: str, bundle: Path, tmp_path: Path
) -> None:
    await append(client, KEYS, TOLD[:1])
    await asyncio.to_thread(run, store_url, bundle, "archive", "--once")
    elsewhere = shutil.copytree(bundle, tmp_path / "elsewhere" / "bundle")
    await asyncio.to_thread(run, store_url, elsewhere, "archive", "--forget")
    await append(client, KEYS, TOLD[1:])
    done = await asyncio.to_thread(run, store_url, elsewhere, "archive", "--once")
    assert done.stdout == "4 rows archived\n", done.stderr  # the streams hold all of them still


async def test_a_store_does_not_write_over_the_archive_of_another_one(
    client: Redis, store_url: str, bundle: Path
) -> None:
    await append(client, KEYS, TOLD)
    await asyncio.to_thread(run, store_url, bundle, "archive", "--once")
    await client.flushall()
    await client.set(CTL_SHARDS, KEYS.shards)
    done = await asyncio.to_thread(run, store_url, bundle, "archive", "--once")
    assert done.exit_code == 1
    assert "holds the archive of another store" in done.stderr
