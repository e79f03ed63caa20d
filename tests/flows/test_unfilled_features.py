"""A release that declares a feature anew does not use it before it is filled, on a real store with real workers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast

import orjson
import pytest

from app.archive_commands import Estate
from app.archiving import filling
from app.archiving.folder import Folder
from app.backfill_command import Filling
from app.core.decision.ids import parse_id
from app.core.decision.record import Record, decode
from app.core.decision.replay import replay
from app.core.features.live import all_features
from app.core.features.plan import FoldPlan
from app.flows import watch_features
from app.flows.watch_features import FeatureWatch
from app.http.auth import Authenticator
from app.http.feature_view import features_view
from app.services import Services
from app.settings import Settings
from app.store.archive_positions import ArchivePositions
from app.store.customer_reads import CustomerReader
from app.store.fold_notes import FoldNotes
from app.store.keys import Keys
from app.store.link import open_link
from app.wiring import open_services
from tests.flows.conftest import Flow
from tests.support.archive import archiver_of, visit_all
from tests.support.contract import EVERYTHING_ALLOWED
from tests.support.features import DAY_MS, FOLDER, MINUTE_MS, feature_bundle, plan
from tests.support.link import until
from tests.support.valkey import Store
from tests.support.working import collected, happened, running, worked_off, worker_on

CUSTOMER = "cus_1"
NEW = plan()
#: The release before: it counted no views.
OLD = FoldPlan.of_rules(rule for rule in NEW.features if rule.name not in ("views_7d", "visits_30d"))
SHARDS = 8


class Shop(Flow):
    """What a deployment of two releases does to one customer's features."""

    root: Path

    @property
    def shard(self) -> int:
        return self.services.keys.shard_of(CUSTOMER)

    @property
    def lacking(self) -> frozenset[str]:
        """What the server believes to lack events, of the customer."""
        return self.services.features.lacking.get(self.shard, frozenset())

    async def look_around(self, first: int, times: int = 1) -> None:
        client, keys = self.services.client, self.services.keys
        seconds, micros = await client.time()
        now_ms = int(seconds * 1000 + micros // 1000)
        told = [happened("product_viewed", CUSTOMER, first + n, now_ms - MINUTE_MS) for n in range(times)]
        await collected(client, told, keys)

    async def worked_off(self, store_url: str, with_plan: FoldPlan) -> None:
        await worked_off(store_url, plan=with_plan, keys=self.services.keys)

    async def filled(self, store_url: str, *, partly: bool = False) -> tuple[str, ...]:
        """As `nextbest features backfill`, while a worker of the release runs."""
        estate = Estate(ArchivePositions(self.services.client, self.services.keys), Folder.at(str(self.root)))
        async with worker_on(store_url, plan=NEW, keys=self.services.keys) as (worker, _), running(worker):
            return (await Filling(estate, NEW, partly=partly).fill()).features

    async def decision(self, placement: str = "looks") -> tuple[dict[str, Any], Record]:
        answered = await self.decide(CUSTOMER, placement, explain=True)
        (decision,) = orjson.loads(answered.body)["decisions"]
        parsed = parse_id(decision["decision_id"])
        assert parsed is not None
        logged = await self.services.decision_log.find(parsed)
        assert logged is not None
        return decision, decode(logged.raw, feature_bundle())


@asynccontextmanager
async def serving(store_url: str) -> AsyncIterator[Services]:
    async with AsyncExitStack() as stack:
        settings = Settings(bundle=FOLDER, redis_url=store_url, shards=SHARDS, trace_exporter="none")
        services = await open_services(settings, Authenticator(None), stack)
        assert await services.link.wait_connected(5), services.link.last_error
        yield services


@pytest.fixture
async def shop(
    store_server: Store, store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Shop]:
    monkeypatch.setattr(watch_features, "ROUND_S", 0.02)
    monkeypatch.setattr("app.flows.work_events.LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(filling, "LOOK_EVERY_S", 0.01)
    async with serving(store_url) as services:
        made = Shop(services, store_server)
        made.root = tmp_path
        await visit_all(archiver_of(services.client, services.keys, tmp_path), SHARDS)  # nothing is trimmed before
        await made.know(CUSTOMER, consent=EVERYTHING_ALLOWED)
        yield made


async def test_a_new_feature_is_used_when_it_is_filled_and_not_before(shop: Shop, store_url: str) -> None:
    await shop.look_around(0, times=3)
    await shop.worked_off(store_url, OLD)
    await until(lambda: shop.lacking == {"views_7d", "visits_30d"})  # nobody folds them yet
    await shop.look_around(10)
    await shop.worked_off(store_url, NEW)
    for _ in range(2):
        decision, record = await shop.decision()
        assert (decision["message"]["id"], decision["degraded"]) == ("welcome", ["features_missing"])
        (said,) = decision["excluded"]
        assert "`customer.views_7d` is not_filled" in said["detail"]
        assert not record.facts.values
        assert record.facts.not_filled == {"views_7d"}
        assert [again.same for again in replay(record)] == [True]
        await shop.services.features.look()  # folded by now: it still lacks three
    assert "views_7d@1" in await shop.filled(store_url)
    await until(lambda: not shop.services.features.lacking)
    decision, record = await shop.decision()
    assert (decision["message"]["id"], decision["degraded"]) == ("looked", [])
    assert (record.facts.values, record.facts.not_filled) == ({"views_7d": 4}, frozenset())


async def test_the_release_before_goes_on_with_its_own_features(shop: Shop, store_url: str) -> None:
    """Both are served side by side: what one of them lacks does not concern the other."""
    await shop.look_around(0)
    await shop.worked_off(store_url, OLD)
    services = shop.services
    before = FeatureWatch(OLD.features, FoldNotes(services.keys), services.link)
    assert await before.look()
    assert not before.lacking
    await shop.worked_off(store_url, NEW)
    assert await before.look()
    assert not before.lacking
    await until(lambda: shop.lacking == {"views_7d", "visits_30d"})


async def test_a_worker_of_the_release_before_that_has_a_shard_again_ends_the_use(shop: Shop, store_url: str) -> None:
    await shop.look_around(0)
    await shop.worked_off(store_url, NEW)
    assert await shop.services.features.look()
    assert not shop.lacking
    await shop.worked_off(store_url, OLD)
    await until(lambda: "views_7d" in shop.lacking)
    await shop.look_around(10)
    await shop.worked_off(store_url, OLD)  # this one it does not count
    await shop.worked_off(store_url, NEW)
    assert await shop.services.features.look()
    assert "views_7d" in shop.lacking, "it was folded with a gap"


async def test_a_server_that_starts_knows_it_before_its_first_decision(
    shop: Shop, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shop.look_around(0)
    await shop.worked_off(store_url, OLD)
    monkeypatch.setattr(watch_features, "ROUND_S", 3600.0)
    async with serving(store_url) as services:
        assert "views_7d" in services.features.lacking[shop.shard]


async def test_shards_where_nothing_passed_use_the_feature_at_once(shop: Shop, store_url: str) -> None:
    await shop.look_around(0)
    await shop.worked_off(store_url, OLD)
    await until(lambda: set(shop.services.features.lacking) == {shop.shard})


async def test_what_is_filled_partly_is_used(shop: Shop, store_url: str) -> None:
    """Streams were trimmed before there was an archive: whoever fills what there is says that it is enough."""
    await ArchivePositions(shop.services.client, shop.services.keys).forget(16)
    await shop.look_around(0, times=2)
    await shop.worked_off(store_url, OLD)  # trims them
    await visit_all(archiver_of(shop.services.client, shop.services.keys, shop.root), SHARDS)
    await shop.look_around(10)
    await shop.worked_off(store_url, NEW)
    await until(lambda: "views_7d" in shop.lacking)
    assert "views_7d@1" in await shop.filled(store_url, partly=True)
    await until(lambda: not shop.lacking)
    _, record = await shop.decision()
    assert record.facts.values == {"views_7d": 1}


async def test_what_cannot_be_read_stays_as_it_was(shop: Shop, store_url: str) -> None:
    await shop.look_around(0)
    await shop.worked_off(store_url, OLD)
    await until(lambda: bool(shop.lacking))
    known = shop.services.features.lacking
    features = shop.services.features
    away = open_link("redis://127.0.0.1:1")  # never started: each call fails at once
    assert not await features.look(away)
    assert features.lacking == known
    for field, value in (("plans", b"what?"), ("plans", b"0123@x-y")):
        await shop.services.client.hset(shop.services.keys.worker(shop.shard), field, value)
        assert not await features.look()
        assert features.lacking == known


async def test_of_a_store_that_never_answered_every_feature_is_used() -> None:
    """Features are scores, and scores fail open; nothing else is decided by them."""
    watch = FeatureWatch(NEW.features, FoldNotes(Keys(SHARDS)), open_link("redis://127.0.0.1:1"))
    assert not await watch.look()
    assert not watch.lacking


async def test_people_see_which_features_are_not_used(
    shop: Shop, store_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    await shop.look_around(0)
    await shop.worked_off(store_url, OLD)
    await until(lambda: bool(shop.services.features.names))
    services = shop.services
    reader = CustomerReader(services.client, services.keys, services.fields, all_features(feature_bundle()))
    known = await reader.read(CUSTOMER)
    shown = features_view(known.features, known.now_ms, feature_bundle(), services.features.lacking)["features"]
    assert {name for name, feature in shown.items() if feature.get("not_filled")} == {"views_7d", "visits_30d"}
    services.refresh_gauges()
    assert b'nextbest_features_not_filled{worker="0"} 2\n' in services.metrics.render()
    await until(lambda: "features lack events that passed" in caplog.text)


async def test_a_window_that_has_passed_needs_no_filling(shop: Shop, store_url: str) -> None:
    await shop.look_around(0)
    await shop.worked_off(store_url, OLD)
    await shop.worked_off(store_url, NEW)
    await until(lambda: shop.lacking == {"views_7d", "visits_30d"})
    key = shop.services.keys.worker(shop.shard)
    before, since = cast("bytes", await shop.services.client.hget(key, "plans")).split()
    digest, _, position = since.partition(b"@")
    estate = Estate(ArchivePositions(shop.services.client, shop.services.keys), Folder.at(str(shop.root)))
    for days, left in ((6, {"views_7d", "visits_30d"}), (8, {"visits_30d"}), (40, set[str]())):
        taken_over_ms = int(position.partition(b"-")[0]) - days * DAY_MS
        await shop.services.client.hset(key, "plans", b"%s %s@%d-0" % (before, digest, taken_over_ms))
        await until(partial(is_lacking, shop, left))
        checked = await Filling(estate, NEW, partly=False).unused()
        assert {name.removesuffix("@1") for name in checked} == left, "`--check` says what decisions do"


def is_lacking(shop: Shop, names: set[str]) -> bool:
    return shop.lacking == names
