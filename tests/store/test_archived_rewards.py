"""Decisions and what they earned as Parquet: each entry once, as the documentation's queries read them."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import orjson
import pyarrow.parquet as pq
import pytest

from app.archiving.archiver import Archiver, Archivers
from app.archiving.datasets import DECISION_SET, EVENT_SET, OUTCOME_SET, events_as_they_are, outcomes_as_they_are
from app.archiving.decision_rows import with_bundles
from app.archiving.erasures import without_erased
from app.archiving.folder import Folder
from app.archiving.rewrite import rewrite_without
from app.core.rewards import Earned
from app.store.archive_positions import ArchivePositions
from app.store.bundles import BundleArchive
from app.store.erasure import Tombstones
from tests.support.archive import append, collected
from tests.support.link import soon
from tests.support.outcomes import CUSTOMER, KEYS
from tests.support.rewards import WINDOW_MS, RewardDesk, bundle, closer_on, reward_desk

DOCS = Path(__file__).parents[2] / "docs" / "rewards.md"
OVER_MS = WINDOW_MS + 60_000


@pytest.fixture
async def desk(store_url: str) -> AsyncIterator[RewardDesk]:
    async with reward_desk(store_url) as desk:
        yield desk


def archivers(desk: RewardDesk, root: Path, owner: str = "one") -> Archivers:
    store, folder = ArchivePositions(desk.client, KEYS), Folder.at(str(root))
    tombstones = Tombstones(desk.client, KEYS, desk.fields)
    bundles = BundleArchive(desk.client, bundle())
    made = []
    for dataset, prepare in (
        (EVENT_SET, events_as_they_are),
        (DECISION_SET, partial(with_bundles, bundles)),
        (OUTCOME_SET, outcomes_as_they_are),
    ):
        allowed = partial(without_erased, store, tombstones, dataset=dataset)
        made.append(Archiver(store, folder, owner, allowed=allowed, dataset=dataset, prepare=prepare))
    return Archivers(made)


def rows(root: Path, name: str) -> list[dict[str, Any]]:
    tables = [pq.read_table(path, partitioning=None) for path in sorted((root / name).glob("day=*/**/*.parquet"))]
    return [row for table in tables for row in table.to_pylist()]


def files_of(root: Path) -> list[Path]:
    return list(root.rglob("*.parquet"))


async def outcome(desk: RewardDesk, decision: Any, kind: str, after_ms: int = 5_000, **more: Any) -> None:
    """An entry of the outcome stream, as `outcome.lua` writes it."""
    fields: dict[str, Any] = {"c": CUSTOMER, "t": kind, "a": decision.at_ms + after_ms, "d": str(decision), **more}
    await desk.client.xadd(KEYS.outcome_stream(0), fields)


async def test_a_decision_is_a_row_with_names_and_what_it_may_have_read(desk: RewardDesk, tmp_path: Path) -> None:
    sent = await desk.send()
    visit = await archivers(desk, tmp_path).visit(0)
    assert visit is not None
    assert (visit.rows, visit.files) == (1, 1)
    (row,) = rows(tmp_path, "decisions")
    expected = {
        "decision_id": str(sent), "request": sent.base, "customer": CUSTOMER, "placement": "once", "channel": "email",
        "action": "send", "message": "only", "version": 4, "variant": "a", "category": "red", "arm": "treatment",
        "aborted": False, "bundle": bundle().digest, "release": "rel_test", "propensity": 1.0, "unreadable": None,
    }  # fmt: skip
    assert {name: row[name] for name in expected} == expected
    assert round(row["decided_at"].timestamp() * 1000) == sent.at_ms
    assert orjson.loads(row["features"]) == {}  # the bundle declares no facts: nothing was read


async def test_what_was_taken_back_is_known_by_its_request_alone(desk: RewardDesk, tmp_path: Path) -> None:
    intent, decision = desk.intent("once", await desk.now_ms())
    intent = intent._replace(commit_by_ms=await desk.now_ms() + 20)
    await desk.decisions.commit(intent, soon())
    archive = archivers(desk, tmp_path)
    await archive.visit(0)  # it is in a file before it is taken back
    await desk.take_back(intent)
    await archive.visit(0)
    record, mark = rows(tmp_path, "decisions")
    assert (record["decision_id"], record["aborted"]) == (str(decision), False)
    assert (mark["request"], mark["aborted"], mark["customer"]) == (decision.base, True, None)


async def test_a_record_whose_bundle_is_gone_keeps_its_bytes_and_whose_it_is(desk: RewardDesk, tmp_path: Path) -> None:
    other = b"\x0b" * 32
    intent, _ = desk.intent("once", await desk.now_ms())
    raw = intent.record.replace(bytes.fromhex(bundle().digest.removeprefix("sha256:")), other)
    await desk.decisions.commit(intent._replace(record=raw), soon())
    await desk.client.xadd(KEYS.decisions(0), {"r": b"rubbish"})
    await archivers(desk, tmp_path).visit(0)
    gone, rubbish = rows(tmp_path, "decisions")
    assert (gone["customer"], gone["unreadable"], gone["decision_id"]) == (CUSTOMER, raw, None)
    assert (rubbish["customer"], rubbish["unreadable"]) == (None, b"rubbish")


async def test_archivers_that_are_broken_off_and_begun_again_write_each_entry_once(
    desk: RewardDesk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decisions = [await desk.send(ago_ms=OVER_MS + number) for number in range(30)]
    for each in decisions:
        await outcome(desk, each, "delivered", s="delivered")
    acknowledge = ArchivePositions.acknowledge

    class Died(Exception):
        pass

    async def dying(self: ArchivePositions, positions: Any) -> None:
        raise Died

    with monkeypatch.context() as patched:
        patched.setattr(ArchivePositions, "acknowledge", dying)
        with pytest.raises(Died):
            await archivers(desk, tmp_path).visit(0)
    assert ArchivePositions.acknowledge is acknowledge
    for name in ("decisions", "outcomes"):
        await desk.client.hset(f"ctl:archive:{name}:0", "until", 0)
    await archivers(desk, tmp_path, "two").visit(0)
    assert sorted(row["decision_id"] for row in rows(tmp_path, "decisions")) == sorted(map(str, decisions))
    assert sorted(row["decision_id"] for row in rows(tmp_path, "outcomes")) == sorted(map(str, decisions))
    ends = {b"archived_decisions": KEYS.decisions(0), b"archived_outcomes": KEYS.outcome_stream(0)}
    for field, stream in ends.items():
        last = (await desk.client.xrevrange(stream, count=1))[0][0]
        assert await desk.client.hget(KEYS.worker(0), field) in (last, b"0-0")


async def test_erasing_a_customer_takes_its_decisions_and_outcomes_out(desk: RewardDesk, tmp_path: Path) -> None:
    sent = await desk.send()
    await outcome(desk, sent, "delivered", s="delivered")
    await desk.client.xadd(KEYS.outcome_stream(0), {"c": "cus_2", "t": "unsubscribed", "a": sent.at_ms})
    await desk.client.xadd(KEYS.outcome_stream(0), {"c": "cus_2", "t": "unsubscribed", "a": "no time"})
    await archivers(desk, tmp_path).visit(0)
    store, folder = ArchivePositions(desk.client, KEYS), Folder.at(str(tmp_path))
    assert (await rewrite_without(store, folder, {CUSTOMER: sent.at_ms - 1})).rows == 0  # it came back since
    done = await rewrite_without(store, folder, {CUSTOMER: sent.at_ms})
    assert (done.files, done.rows) == (2, 2)
    left = rows(tmp_path, "outcomes")
    assert [row["customer"] for row in left] == ["cus_2", None]
    assert orjson.loads(left[1]["unreadable"])["a"] == "no time"
    assert rows(tmp_path, "decisions") == []
    for path in files_of(tmp_path):
        assert CUSTOMER.encode() not in path.read_bytes()


async def test_the_queries_of_the_documentation_make_training_rows(
    desk: RewardDesk, store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, bounced = await desk.send(ago_ms=OVER_MS), await desk.send(ago_ms=OVER_MS + 1)
    intent, _ = desk.intent("once", await desk.now_ms() - OVER_MS)
    intent = intent._replace(commit_by_ms=await desk.now_ms() + 20)
    await desk.decisions.commit(intent, soon())
    await desk.take_back(intent)
    await desk.told(seen, "delivered", "converted=20")
    await desk.told(bounced, "bounced_hard")
    async with closer_on(store_url) as (closer, counted):
        await closer.look([0])
    assert counted == {"rewarded": 1, "unexposed": 1, "dropped": 1}
    await outcome(desk, seen, "complained", s="complained")
    await append(desk.client, KEYS, [collected(CUSTOMER, 1, "order_completed", at_ms=seen.at_ms + 60_000)])
    for number in range(2):
        await archivers(desk, tmp_path / "archive", str(number)).visit(0)
    monkeypatch.chdir(tmp_path)
    answers: list[list[Any]] = []
    with duckdb.connect() as db:
        for query in re.findall(r"```sql\n(.*?)```", DOCS.read_text(), re.DOTALL):
            if "CREATE" in query:
                db.execute(query)
            else:
                answers.append(db.sql(query).fetchall())
        trained = db.sql("SELECT decision_id, propensity, reward, unexposed, converted FROM training").fetchall()
    assert sorted(trained) == sorted([(str(seen), 1.0, 20.0, None, True), (str(bounced), 1.0, None, "bounced", False)])
    rows_of_seen, by_message, late, why, lift = answers
    assert rows_of_seen == [("only", 20.0, 1.0, None)]
    assert by_message == [("once", "only", 2, 1, 20.0, 20.0)]
    assert late == [("complained", 1)]
    assert why == [("bounced", 1)]
    assert lift == [("treatment", 1, 1, 1.0)]


def test_what_a_reward_is_made_of_has_columns_of_the_same_names() -> None:
    assert set(Earned._fields) - {"reward"} <= set(OUTCOME_SET.schema.names)
