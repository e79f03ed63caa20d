"""What the demo sees in the store: live features of customers, and how the event worker fares."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import redis

from app.core.events.event import Event
from app.core.features.codec import encode
from app.core.features.fold import fold
from app.core.features.plan import FoldPlan, new_state
from app.demo_shop.deeds import views
from app.demo_shop.goods import PRODUCTS
from app.demo_shop.house import BUNDLE, CannotPlay
from app.demo_shop.sight import StoreSight
from app.store.clients import open_blocking
from app.store.keys import CTL_SHARDS, CTL_WATERMARKS, Keys
from policy.compile import load

SHARDS = 4
KEYS = Keys(SHARDS)


@pytest.fixture
def store(store_url: str) -> Iterator[redis.Redis]:
    client = open_blocking(store_url, timeout_s=5)
    client.flushall()
    client.set(CTL_SHARDS, SHARDS)
    yield client
    client.flushall()
    client.close()


@pytest.fixture
def sight(store: redis.Redis, store_url: str) -> Iterator[StoreSight]:
    assert store.ping()
    found = StoreSight(store_url)
    yield found
    found.close()


def looked(store: redis.Redis, customer: str, count: int) -> None:
    """What the worker would have written after some views."""
    plan, now_ms = FoldPlan.of(load(BUNDLE)), round(time.time() * 1000)
    state = new_state(plan)
    for number in range(count):
        deed = views(customer, PRODUCTS["garden"][number])
        fold(plan, state, Event(deed.event, now_ms, deed.properties, b""))
    groups = zip(plan.groups, state, strict=True)
    fields = {group.key: encode(group, held) for group, held in groups if held is not None}
    store.hset(KEYS.of(customer).features, mapping=fields)


def test_live_features_are_seen_as_decisions_read_them(store: redis.Redis, sight: StoreSight) -> None:
    looked(store, "ada", 3)
    ada, nobody = sight.features(["ada", "nobody"])
    assert ada is not None
    assert nobody is not None
    assert (ada["product_views_1h"], ada["favourite_category"], ada["favourites"]) == (3, "garden", ("garden",))
    assert (nobody["product_views_1h"], nobody.get("favourite_category")) == (0, None)


def test_features_that_cannot_be_read_are_not_guessed(store: redis.Redis, sight: StoreSight) -> None:
    looked(store, "ada", 1)
    key = KEYS.of("ada").features
    for field in store.hkeys(key):
        store.hset(key, field, b"\xc1")
    assert sight.features(["ada"]) == [None]


def test_the_worker_is_told_by_living_leases_and_the_shard_that_is_farthest_behind(
    store: redis.Redis, sight: StoreSight
) -> None:
    assert sight.worker() == (SHARDS, 0, 0, None)
    seconds, _ = store.time()
    for shard in range(SHARDS):
        until_ms = seconds * 1000 + (60_000 if shard else -60_000)  # the first one's has ended
        store.hset(KEYS.worker(shard), mapping={"owner": f"w{shard % 2}", "until": until_ms})
        store.hset(CTL_WATERMARKS, f"s:{shard}", seconds * 1000 - 5_000 * shard)
    worker = sight.worker()
    assert (worker.held, worker.owners) == (SHARDS - 1, 2)
    assert worker.behind_ms is not None
    assert 15_000 <= worker.behind_ms < 20_000


def test_an_event_waits_until_its_shards_position_is_there(store: redis.Redis, sight: StoreSight) -> None:
    assert sight.waiting() == 0
    newest = store.xadd(KEYS.events(2), {"e": b"-"})
    assert sight.waiting() == 1
    store.hset(KEYS.worker(2), "position", newest)
    assert sight.waiting() == 0


def test_a_store_that_no_server_used_is_refused(store: redis.Redis, store_url: str) -> None:
    store.delete(CTL_SHARDS)
    with pytest.raises(CannotPlay, match="no server has ever used this store"):
        StoreSight(store_url)


def test_a_wrong_address_is_refused_without_being_repeated() -> None:
    with pytest.raises(CannotPlay, match="the store cannot be read") as refused:
        StoreSight("redis://:secret@127.0.0.1:9/0")
    assert "secret" not in str(refused.value)
