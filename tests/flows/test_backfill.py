"""A feature that a later bundle declares is filled from what passed before, by the workers, while events go on."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from app import archive
from app.archive_commands import Estate
from app.archiving import filling
from app.archiving.folder import Folder
from app.backfill_command import Filling
from app.command_context import Trouble
from app.core.events.event import Collected
from app.core.features.history import folded
from app.core.features.plan import FoldPlan
from app.core.features.read import read
from app.store.archive_positions import ArchivePositions
from app.store.clients import open_client
from app.store.fold_plans import FoldPlans
from app.store.keys import Keys
from tests.support.archive import archiver_of, visit_all
from tests.support.folding import EVERYTHING, plan_of
from tests.support.link import until
from tests.support.working import (
    DAY_MS,
    NOW_MS,
    all_states,
    by_customer,
    collected,
    features_in,
    happened,
    running,
    without_repeats,
    work_off,
    worker_on,
)

KEYS = Keys(8)
OLD = plan_of(
    """
views_7d:  {on: viewed, count: 1, window: 7d}
spend:     {on: bought, sum: revenue}
dearest:   {on: [viewed, added], max: price, window: 24h}
"""
)
NEW = plan_of(EVERYTHING)


@dataclass
class Shop:
    """A store, an archive, and who works on both."""

    client: Redis
    url: str
    root: Path

    async def events(self, told: list[Collected]) -> None:
        await collected(self.client, told, KEYS)

    async def worked_off(self, plan: FoldPlan) -> None:
        async with worker_on(self.url, plan=plan, keys=KEYS) as (worker, _):
            await worker.tend()
            await work_off(worker)
            await worker.tend()  # trims what is archived
        for shard in range(KEYS.shards):  # the next one need not wait for its leases to end
            await self.client.hset(KEYS.worker(shard), "until", 0)

    async def archived(self) -> None:
        await visit_all(archiver_of(self.client, KEYS, self.root, rows_max=50), KEYS.shards)

    @asynccontextmanager
    async def working(self, plan: FoldPlan) -> AsyncIterator[None]:
        async with worker_on(self.url, plan=plan, keys=KEYS) as (worker, _), running(worker):
            yield

    def filling(self, plan: FoldPlan = NEW, *, partly: bool = False) -> Filling:
        estate = Estate(ArchivePositions(self.client, KEYS), Folder.at(str(self.root)))
        return Filling(estate, plan, partly=partly)

    async def features(self, customers: set[str], plan: FoldPlan = NEW) -> dict[str, Any]:
        return {name: await features_in(self.client, name, NOW_MS, plan, KEYS) for name in customers}


@pytest.fixture
async def shop(store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Shop]:
    monkeypatch.setattr("app.flows.work_events.LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(filling, "LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(filling, "CUSTOMERS_AT_ONCE", 7)
    async with open_client(store_url) as client:
        made = Shop(client, store_url, tmp_path)
        await made.archived()  # from now on nothing is trimmed that is not archived
        yield made


def story(seed: int, first: int = 0, events: int = 200, customers: int = 25) -> list[Collected]:
    rng = random.Random(seed)
    told = []
    for number in range(first, first + events):
        kind = rng.choice(["viewed", "viewed", "added", "bought", "other"])
        ago = rng.choice([rng.randint(0, DAY_MS), rng.randint(0, 100 * DAY_MS)])
        known: dict[str, Any] = {"product": f"p{rng.randint(1, 30)}", "category": rng.choice("abcd")}
        known["price"] = round(rng.random() * 50, 2)
        if kind == "bought":
            known = {"revenue": round(rng.random() * 90, 2), "items": rng.randint(1, 4)}
        told.append(happened(kind, f"cus_{rng.randint(1, customers)}", number, NOW_MS - ago, **known))
        if rng.random() < 0.1:
            told.append(rng.choice(told))
    return told


def customers_of(told: list[Collected]) -> set[str]:
    return {each.customer for each in told}


async def always_folded(shop: Shop, told: list[Collected], customers: set[str]) -> dict[str, Any]:
    """What the features would be if the new bundle had been there from the beginning."""
    events = by_customer(without_repeats(told))
    return {name: read(NEW, folded(NEW, [each.event for each in events.get(name, [])]), NOW_MS) for name in customers}


async def filled_while_events_go_on(shop: Shop, later: list[Collected], *, archived: bool) -> Any:
    async with shop.working(NEW):
        await wait_until_noted(shop)
        half = len(later) // 2
        await shop.events(later[:half])
        if archived:
            await shop.archived()
        filling_now = asyncio.create_task(shop.filling().fill())
        await shop.events(later[half:])
        return await filling_now


async def wait_until_noted(shop: Shop) -> None:
    plans = FoldPlans(shop.client, KEYS)
    for _ in range(1000):
        if all(len(each) == 2 for each in (await plans.changes()).values()):
            return
        await asyncio.sleep(0.01)
    raise AssertionError("the worker noted no plan")


@pytest.mark.parametrize("archived", ["nothing", "before", "twice"])
async def test_filled_features_are_as_if_they_had_always_been_declared(shop: Shop, archived: str) -> None:
    before, between, later = story(1), story(2, 1000, 100), story(3, 2000, 100)
    await shop.events(before)
    if archived != "nothing":
        await shop.archived()
    await shop.worked_off(OLD)
    await shop.events(between)
    if archived == "twice":
        await shop.archived()
    await shop.worked_off(OLD)
    if archived != "nothing":
        assert await shop.client.xlen(KEYS.events(0)) < len(before) + len(between)  # some were trimmed
    done = await filled_while_events_go_on(shop, later, archived=archived == "twice")
    await shop.worked_off(NEW)
    told = before + between + later
    assert await shop.features(customers_of(told)) == await always_folded(shop, told, customers_of(told))
    assert done.customers > 20
    assert (await shop.filling().fill()) == ((), 0)
    assert "visits_7d@1" in await FoldPlans(shop.client, KEYS).features()


@pytest.mark.parametrize("breaks_after", [0, 1, 3])
async def test_a_filling_that_broke_off_is_finished_by_running_it_again(
    shop: Shop, breaks_after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = story(5)
    await shop.events(before)
    await shop.worked_off(OLD)
    appended = ArchivePositions.append
    calls = 0

    async def breaking(self: ArchivePositions, events: Any) -> Any:
        nonlocal calls
        done = await appended(self, events)
        calls += 1
        if calls > breaks_after:
            raise ConnectionError
        return done

    async with shop.working(NEW):
        await wait_until_noted(shop)
        with monkeypatch.context() as patched:
            patched.setattr(ArchivePositions, "append", breaking)
            with pytest.raises(ConnectionError):
                await shop.filling().fill()
        await shop.filling().fill()
    await shop.worked_off(NEW)
    assert await shop.features(customers_of(before)) == await always_folded(shop, before, customers_of(before))


async def test_another_filling_may_not_come_between(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    await shop.events(story(5))
    await shop.worked_off(OLD)

    async def breaking(*_: Any) -> Any:
        raise ConnectionError

    async with shop.working(NEW):
        await wait_until_noted(shop)
        with monkeypatch.context() as patched:
            patched.setattr(ArchivePositions, "append", breaking)
            with pytest.raises(ConnectionError):
                await shop.filling().fill()
        fewer = plan_of("views_1h: {on: viewed, count: 1, window: 1h}")
        with pytest.raises(Trouble, match="another bundle broke off"):
            await shop.filling(fewer).fill()


async def test_nothing_is_filled_while_workers_run_with_another_bundle(shop: Shop) -> None:
    await shop.events(story(1))
    await shop.worked_off(OLD)
    with pytest.raises(Trouble, match="start the worker with it"):
        await shop.filling().fill()


async def test_where_nobody_works_it_says_so(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filling, "PATIENCE_S", 0.1)
    await shop.events(story(1))
    await shop.worked_off(OLD)
    await shop.worked_off(NEW)
    with pytest.raises(Trouble, match="no worker works off shard"):
        await shop.filling().fill()


async def test_what_is_not_archived_any_more_is_not_passed_over_in_silence(shop: Shop) -> None:
    """Streams were trimmed before there was an archive: values would be too small, and nobody would know."""
    await ArchivePositions(shop.client, KEYS).forget(16)
    await shop.events(story(1))
    await shop.worked_off(OLD)
    await shop.archived()
    async with shop.working(NEW):
        await wait_until_noted(shop)
        with pytest.raises(Trouble, match=r"`views_1h` would be whole from .*no window") as told:
            await shop.filling().fill()
        assert "--partly" in str(told.value)
        assert (await shop.filling(partly=True).fill()).features


async def test_who_became_another_has_what_was_filled_counted_there(shop: Shop) -> None:
    """Before and after the workers began to fold the new features."""

    def carry(loser: str, winner: str, number: int) -> Collected:
        return happened("$carry", loser, number, NOW_MS, to=winner)

    before, between, later = story(8, customers=10), story(9, 1000, 50, customers=10), story(10, 2000, 50, customers=10)
    await shop.events(before)
    await shop.events([carry("cus_1", "cus_2", 9001)])
    await shop.worked_off(OLD)
    await shop.events(between)  # of cus_1 too: handed on
    await shop.archived()
    await shop.worked_off(OLD)
    async with shop.working(NEW):
        await wait_until_noted(shop)
        await shop.events([carry("cus_3", "cus_4", 9002)])
        await shop.events(later)
        await shop.filling().fill()
    await shop.worked_off(NEW)
    became = {"cus_1": "cus_2", "cus_3": "cus_4"}
    told = [each._replace(customer=became.get(each.customer, each.customer)) for each in before + between + later]
    kept = customers_of(told)
    assert await shop.features(kept) == await always_folded(shop, told, kept)
    states = await all_states(shop.client, KEYS)
    assert states["cus_1"] == {b">": b"cus_2"}


async def test_the_archiver_says_which_features_lack_history(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(archive, "WARN_AFTER_S", 0.0)
    await shop.events(story(1))
    await shop.worked_off(OLD)
    more = plan_of("views_7d: {on: viewed, count: 1, window: 7d}\nsales: {on: bought, count: 1, window: 7d}")
    await shop.worked_off(more)
    warning = asyncio.create_task(archive.keep_warning(FoldPlans(shop.client, KEYS), more))
    try:
        await until(lambda: "features lack what passed before" in caplog.text)
    finally:
        warning.cancel()
    (record,) = [each for each in caplog.records if each.name == "nextbest.archive"]
    assert vars(record)["features"] == ("sales@1",)
