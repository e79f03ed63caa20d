"""Vectors from the archive are those that the live fold had: at any instant, wherever the rows lie by now."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from app.archiving.folder import Folder
from app.archiving.history import Replay, Vector, Wanted
from app.archiving.history import vectors as vectors_of
from app.archiving.reading import Snapshot, snapshot
from app.archiving.states import States
from app.core.events.event import Collected
from app.core.features.fold import fold
from app.core.features.history import Arrival
from app.core.features.history import vectors as vectors_of_one
from app.core.features.lanes import UnfoldableEvent
from app.core.features.plan import new_state
from app.core.features.read import read
from app.store.archive_positions import ArchivePositions
from app.store.clients import open_client
from app.store.keys import Keys
from tests.support.archive import HOUR_MS, START_MS, append, archiver_of, collected, visit_all
from tests.support.folding import EVERYTHING, plan_of

PLAN = plan_of(EVERYTHING)
KEYS = Keys(20)


@pytest.fixture
async def client(store_url: str) -> Any:
    async with open_client(store_url) as client:
        yield client


def story(rng: random.Random, customers: int = 30, events: int = 300) -> list[Collected]:
    """Events of a day in the order in which they came in: late ones, repeats, some that cannot be folded, and types
    that nothing is folded from."""
    told: list[Collected] = []
    at_ms = START_MS
    for number in range(events):
        at_ms += rng.randint(1, 240_000)
        if told and rng.random() < 0.1:
            again = rng.choice(told[-50:])
            told.append(again._replace(received_at_ms=at_ms))
            continue
        kind = rng.choice(["viewed", "viewed", "added", "bought", "other", ""])
        properties: dict[str, Any] = {"product": f"p{rng.randint(1, 9)}", "category": rng.choice("abc")}
        properties["price"] = rng.random()
        if kind == "bought":
            revenue = 1e30 if rng.random() < 0.2 else round(rng.random() * 90, 2)
            properties = {"revenue": revenue, "items": rng.randint(1, 4)}
        late_ms = rng.choice([0, 0, 1_000, rng.randint(0, 3 * 24 * HOUR_MS)])
        event = collected(f"cus_{rng.randint(1, customers)}", number, kind, at_ms - late_ms, properties=properties)
        told.append(event._replace(received_at_ms=at_ms))
    return told


def vectors(seen: Snapshot, wanted: Wanted) -> Iterator[Vector]:
    return vectors_of(Replay(PLAN, seen, wanted.at_ms), wanted)


def online(told: list[Collected], customer: str, at_ms: int) -> dict[str, Any]:
    """What the live fold knew: of one customer, whose events are in one stream."""
    arrivals = []
    for each in told:
        if each.customer == customer:
            try:
                fold(PLAN, new_state(PLAN), each.event)
            except UnfoldableEvent:
                continue
            arrivals.append(Arrival(each.received_at_ms, each.event))
    (row,) = vectors_of_one(PLAN, arrivals, [at_ms])
    return row


async def seen(client: Redis, root: Path) -> Any:
    return await snapshot(ArchivePositions(client, KEYS), Folder.at(str(root)))


async def archived_in_part(client: Redis, told: list[Collected], root: Path) -> None:
    """A third in files of hours that were tidied, a third in single batches, the last in the streams alone."""
    third = len(told) // 3
    archiver = archiver_of(client, KEYS, root, rows_max=200)
    await append(client, KEYS, told[:third])
    await visit_all(archiver, KEYS.shards)
    await append(client, KEYS, told[third : 2 * third])
    for group in range(16):
        await archiver.visit(group, tidy=False)
    await append(client, KEYS, told[2 * third :])


@pytest.mark.parametrize("seed", range(2))
async def test_vectors_at_an_instant_are_those_that_were_online(client: Redis, tmp_path: Path, seed: int) -> None:
    told = story(random.Random(seed))
    await archived_in_part(client, told, tmp_path)
    found = await seen(client, tmp_path)
    for at_ms in (told[100].received_at_ms, told[-1].received_at_ms + 1):
        rows = {row.customer: row.values for row in vectors(found, Wanted(at_ms))}
        assert rows == {name: online(told, name, at_ms) for name in rows}
        assert len(rows) == len({e.customer for e in told if e.received_at_ms <= at_ms and e.type in PLAN.routes})


async def test_each_customer_may_have_instants_of_its_own(client: Redis, tmp_path: Path) -> None:
    rng = random.Random(7)
    told = story(rng)
    await archived_in_part(client, told, tmp_path)
    instants = {f"cus_{n}": sorted(rng.choice(told).received_at_ms for _ in range(4)) for n in range(1, 40)}
    wanted = Wanted(max(max(each) for each in instants.values()), instants=instants)
    rows = list(vectors(await seen(client, tmp_path), wanted))
    assert sorted((row.customer, row.at_ms) for row in rows) == sorted((n, at) for n in instants for at in instants[n])
    assert [row.values for row in rows] == [online(told, row.customer, row.at_ms) for row in rows]


async def test_what_could_not_be_folded_counts_when_it_comes_again_mended(client: Redis, tmp_path: Path) -> None:
    """It went to quarantine, where somebody mended it: it has the id that it had."""
    bad = collected("cus_1", 1, "bought", properties={"revenue": 1e30})
    await append(client, KEYS, [bad, bad._replace(received_at_ms=START_MS + 9, properties={"revenue": 5.0})])
    (row,) = vectors(await seen(client, tmp_path), Wanted(START_MS + 10))
    assert row.values["spend"] == 5.0


async def test_who_is_named_and_did_nothing_has_a_row_too(client: Redis, tmp_path: Path) -> None:
    await append(client, KEYS, [collected("cus_1", 1)])
    rows = list(vectors(await seen(client, tmp_path), Wanted(START_MS + 10, ["cus_1", "cus_2"])))
    assert {row.customer: row.values["views_7d"] for row in rows} == {"cus_1": 1, "cus_2": 0}


async def test_who_became_another_counts_for_them_from_then_on(client: Redis, tmp_path: Path) -> None:
    """cus_1 became cus_2, who became cus_3; what came for them later was handed on into the other one's stream."""

    def views(customer: str, number: int, at_ms: int) -> Collected:
        return collected(customer, number, at_ms=at_ms, properties={"product": f"p{number}"})

    def carry(loser: str, winner: str, at_ms: int) -> Collected:
        return collected(loser, 1000 + int(loser[-1]), "$carry", at_ms, properties={"to": winner})

    hour = HOUR_MS
    told = [
        views("cus_1", 1, START_MS),
        views("cus_1", 2, START_MS + 1),
        views("cus_2", 3, START_MS + 2),
        views("cus_3", 4, START_MS + 3),
        carry("cus_1", "cus_2", START_MS + hour),
        collected("cus_2", 2001, "$take_in", START_MS + hour + 1, properties={"viewed": "AAAA"}),
        views("cus_1", 5, START_MS + 2 * hour),  # forwarded:
        views("cus_2", 5, START_MS + 2 * hour + 1),
        carry("cus_2", "cus_3", START_MS + 3 * hour),
        collected("cus_3", 2002, "$take_in", START_MS + 3 * hour + 1, properties={"viewed": "AAAA"}),
        views("cus_3", 6, START_MS + 4 * hour),
    ]
    await append(client, KEYS, told)
    await visit_all(archiver_of(client, KEYS, tmp_path), KEYS.shards)
    found = await seen(client, tmp_path)

    def counted(at_ms: int, customers: list[str] | None = None) -> dict[str, Any]:
        return {row.customer: row.values["views"] for row in vectors(found, Wanted(at_ms, customers))}

    assert counted(START_MS + 100) == {"cus_1": 2, "cus_2": 1, "cus_3": 1}
    assert counted(START_MS + hour + 100) == {"cus_2": 3, "cus_3": 1}
    assert counted(START_MS + 2 * hour + 100) == {"cus_2": 4, "cus_3": 1}
    assert counted(START_MS + 5 * hour) == {"cus_3": 6}
    assert counted(START_MS + 5 * hour, ["cus_3"]) == {"cus_3": 6}
    assert counted(START_MS + 5 * hour, ["cus_1"]) == {}
    instants = {"cus_1": [START_MS + 100, START_MS + 5 * hour], "cus_3": [START_MS + 100, START_MS + 5 * hour]}
    rows = list(vectors(found, Wanted(START_MS + 5 * hour, instants=instants)))
    assert {Vector(row.customer, row.at_ms, row.values["views"]) for row in rows} == {
        Vector("cus_1", START_MS + 100, 2),
        Vector("cus_3", START_MS + 100, 1),
        Vector("cus_3", START_MS + 5 * hour, 6),
    }


async def test_more_customers_than_are_held_unpacked_make_no_difference(
    client: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = story(random.Random(3))
    await archived_in_part(client, told, tmp_path)
    found = await seen(client, tmp_path)
    whole = {row.customer: row.values for row in vectors(found, Wanted(told[-1].received_at_ms))}
    monkeypatch.setattr("app.archiving.states.UNPACKED_MAX", 2)
    monkeypatch.setattr("app.archiving.reading.BYTES_A_SLICE", 5)
    assert {row.customer: row.values for row in vectors(found, Wanted(told[-1].received_at_ms))} == whole


def test_a_state_may_be_folded_into_until_the_next_one_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.archiving.states.UNPACKED_MAX", 1)
    states, counts = States(PLAN), defaultdict[str, int](int)
    for number, customer in enumerate("abcabca"):
        fold(PLAN, states.get(customer), collected(customer, number).event)
        counts[customer] += 1
    assert {name: read(PLAN, state, START_MS)["views"] for name, state in states.drain()} == counts


async def test_a_file_that_is_made_of_others_while_they_are_read_is_read_instead(
    client: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archiver = archiver_of(client, KEYS, tmp_path)
    for number in range(3):
        await append(client, KEYS, [collected("cus_1", number, at_ms=START_MS + number * 10)])
        for group in range(16):
            await archiver.visit(group, tidy=False)
    found = await seen(client, tmp_path)
    whole = Folder.table
    calls = []

    def vanishing(self: Folder, path: str, **how: Any) -> Any:
        calls.append(path)
        if len(calls) == 2:
            raise FileNotFoundError(path)
        return whole(self, path, **how)

    monkeypatch.setattr(Folder, "table", vanishing)
    assert [row.values["views"] for row in vectors(found, Wanted(START_MS + 1000))] == [3]
    assert len(calls) > 3


async def test_what_is_archived_and_trimmed_while_it_is_looked_at_is_not_lost(
    client: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archiver = archiver_of(client, KEYS, tmp_path)
    await append(client, KEYS, [collected(f"cus_{number}", number) for number in range(50)])
    ends, calls = ArchivePositions.ends, 0

    async def ends_late(self: ArchivePositions, shards: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 1:
            await visit_all(archiver, KEYS.shards)
            for shard in range(KEYS.shards):
                await client.xtrim(KEYS.events(shard), maxlen=0, approximate=False)
        return await ends(self, shards)

    monkeypatch.setattr(ArchivePositions, "ends", ends_late)
    rows = list(vectors(await seen(client, tmp_path), Wanted(START_MS + 10)))
    assert len(rows) == 50


async def test_files_that_cannot_tell_who_became_whom_are_not_read_for_it(
    client: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await append(client, KEYS, [collected(f"cus_{number}", number) for number in range(50)])
    await append(client, KEYS, [collected("cus_1", 99, "$carry", START_MS + 1, properties={"to": "cus_2"})])
    await visit_all(archiver_of(client, KEYS, tmp_path), KEYS.shards)
    found, read_files = await seen(client, tmp_path), []
    whole = Folder.table

    def noting(self: Folder, path: str, **how: Any) -> Any:
        read_files.append(path)
        return whole(self, path, **how)

    monkeypatch.setattr(Folder, "table", noting)
    assert list(found.carries()) == ["cus_1"]
    assert len(read_files) == 1


async def test_what_is_archived_after_the_look_is_read_once(client: Redis, tmp_path: Path) -> None:
    archiver = archiver_of(client, KEYS, tmp_path)
    await append(client, KEYS, [collected(f"cus_{number}", number) for number in range(50)])
    await visit_all(archiver, KEYS.shards)
    await append(client, KEYS, [collected(f"cus_{number}", 100 + number, at_ms=START_MS + 9) for number in range(50)])
    found = await seen(client, tmp_path)
    await visit_all(archiver, KEYS.shards)
    rows = [row for piece in found.slices() for row in found.rows(piece, lambda _: None)]
    assert len(rows) == len({(row.shard, row.position) for row in rows}) == 100
