"""Features in decisions on a real store: what is asked of it and how often, what lies in its way, what is recorded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack
from typing import Any

import orjson
import pytest

from app.core.decision.ids import parse_id
from app.core.decision.record import Record, decode
from app.core.decision.replay import replay
from app.core.events import native
from app.core.events.event import Event
from app.http.auth import Authenticator
from app.settings import Settings
from app.store.decisions import idempotency_of
from app.store.keys import CTL_WATERMARKS
from app.wiring import open_services
from tests.flows.conftest import Flow, Interrupting
from tests.support.contract import EVERYTHING_ALLOWED, consent
from tests.support.features import FOLDER, MINUTE_MS, added, feature_bundle, plan, stored, viewed
from tests.support.link import until
from tests.support.valkey import Store
from tests.support.working import work_off, worker_on

CUSTOMER = "cus_1"


class Shop(Flow):
    """A decider that serves the bundle with features."""

    @property
    def shard(self) -> int:
        return self.services.keys.shard_of(CUSTOMER)

    async def now_ms(self) -> int:
        seconds, micros = await self.services.client.time()
        return int(seconds * 1000 + micros // 1000)

    async def has_done(self, events: Iterable[Event]) -> None:
        """As a worker would have written it."""
        await self.services.client.hset(self.services.keys.of(CUSTOMER).features, mapping=stored(events))

    async def complete_until(self, ms: int) -> None:
        """Everything is applied until then, as far as this process knows."""
        marks = {f"e:{name}": ms for name in feature_bundle().events.by_name} | {f"s:{self.shard}": ms}
        await self.services.client.hset(CTL_WATERMARKS, mapping=marks)
        await self.services.control.poll()

    async def decision(self, placement: str, **more: Any) -> dict[str, Any]:
        answered = await self.decide(CUSTOMER, placement, **more)
        (decision,) = orjson.loads(answered.body)["decisions"]
        return decision  # type: ignore[no-any-return]  # JSON has no types

    async def record(self, decision: dict[str, Any]) -> Record:
        parsed = parse_id(decision["decision_id"])
        assert parsed is not None
        logged = await self.services.decision_log.find(parsed)
        assert logged is not None
        return decode(logged.raw, feature_bundle())


@pytest.fixture
async def shop(store_server: Store, store_url: str) -> AsyncIterator[Shop]:
    async with AsyncExitStack() as stack:
        settings = Settings(bundle=FOLDER, redis_url=store_url, trace_exporter="none")  # type: ignore[arg-type]  # pydantic reads a text
        services = await open_services(settings, Authenticator(None), stack)
        assert await services.link.wait_connected(5), services.link.last_error
        made = Shop(services, store_server)
        services.decider._models = Interrupting(made)  # type: ignore[assignment]  # a stand-in
        await made.know(CUSTOMER, consent=EVERYTHING_ALLOWED)
        yield made
        await asyncio.sleep(0)


async def cart(shop: Shop) -> None:
    await shop.has_done([added(await shop.now_ms() - 40 * MINUTE_MS)])


async def test_a_decision_reads_what_a_worker_wrote(shop: Shop, store_url: str) -> None:
    """The whole way: collected at the door, folded by a worker, read by a decision."""
    said = [
        {"event": "product_viewed", "customer": CUSTOMER, "id": f"v{number}", "properties": {"category": "kitchen"}}
        for number in range(3)
    ]
    await shop.services.collector.collect(said, native.message, "key_1")
    assert (await shop.decision("looks"))["message"]["id"] == "welcome"
    async with worker_on(store_url, plan=plan(), keys=shop.services.keys) as (worker, _):
        await worker.tend()
        await work_off(worker)
    assert (await shop.decision("looks"))["message"]["id"] == "looked"
    assert (await shop.decision("weekly"))["message"]["id"] == "kitchen"


async def test_features_come_with_the_read_of_a_decision(shop: Shop) -> None:
    await cart(shop)
    await shop.complete_until(await shop.now_ms())
    asked = listening(shop)
    assert (await shop.decision("reminder"))["message"]["id"] == "cart"
    read, commit = asked
    assert b"HMGET" in read, "the read asks for features"
    assert b"HMGET" not in commit


async def test_only_what_the_placements_of_a_request_read_is_asked_for(shop: Shop) -> None:
    asked = listening(shop)
    await shop.decision("receipt")
    assert not any(b"HMGET" in each for each in asked)
    asked.clear()
    await shop.decision("looks")
    assert b"$14\r\nproduct_viewed\r\n" in asked[0]
    assert b"product_added" not in asked[0]


def listening(shop: Shop) -> list[bytes]:
    """What decisions ask of the store from now on."""
    asked: list[bytes] = []
    call = shop.services.link.call

    def heard(packed: bytes, replies: int, deadline: float) -> Any:
        if b"ctl:" not in packed:  # what the process asks by the clock
            asked.append(packed)
        return call(packed, replies, deadline)

    shop.services.link.call = heard  # type: ignore[method-assign]  # a stand-in
    return asked


async def test_after_a_conflict_the_same_features_are_read_without_asking_again(shop: Shop) -> None:
    await cart(shop)
    await shop.complete_until(await shop.now_ms())
    services = shop.services
    asked, commit = listening(shop), services.store.commit

    async def late(intent: Any, deadline: float) -> Any:
        services.store.commit = commit  # type: ignore[method-assign]  # a stand-in
        await shop.know(CUSTOMER, consent=EVERYTHING_ALLOWED, region="DE")  # moves the general version
        return await commit(intent, deadline)

    services.store.commit = late  # type: ignore[method-assign]  # a stand-in
    answered = await shop.decide(CUSTOMER, "reminder")
    assert answered.conflicts == 1
    assert answered.decisions[0].message is not None
    assert answered.decisions[0].message.id == "cart"
    assert [b"HMGET" in each for each in asked] == [True, False, False], (
        "a read, a commit that met a newer version, a commit"
    )


async def test_a_repeat_of_an_idempotency_key_gets_its_answer(shop: Shop) -> None:
    await cart(shop)
    await shop.complete_until(await shop.now_ms())
    key = idempotency_of("k", b"body")
    first, again = [await shop.decide(CUSTOMER, "reminder", idempotency=key) for _ in range(2)]
    assert again.replayed
    assert again.body == first.body


@pytest.mark.parametrize("spoil", ["hset", "set"])
async def test_features_that_cannot_be_read_stop_no_decision(shop: Shop, spoil: str) -> None:
    name = shop.services.keys.of(CUSTOMER).features
    if spoil == "hset":
        await shop.services.client.hset(name, "product_viewed", b"?")
    else:
        await shop.services.client.set(name, b"no hash")
    decision = await shop.decision("weekly")
    assert decision["message"]["id"] == "welcome"
    assert decision["degraded"] == ["features_missing"]
    record = await shop.record(decision)
    assert [again.same for again in replay(record)] == [True]


async def test_what_is_stale_becomes_fresh_with_the_next_poll(shop: Shop) -> None:
    await cart(shop)
    assert (await shop.decision("reminder"))["degraded"] == ["features_stale"], "nobody told of anything"
    await shop.complete_until(await shop.now_ms() - 3 * MINUTE_MS)
    assert (await shop.decision("reminder"))["degraded"] == ["features_stale"]
    await shop.complete_until(await shop.now_ms())
    decision = await shop.decision("reminder")
    assert (decision["message"]["id"], decision["degraded"]) == ("cart", [])


async def test_watermarks_come_by_themselves(shop: Shop) -> None:
    now_ms = await shop.now_ms()
    await shop.services.client.hset(CTL_WATERMARKS, mapping={"e:product_added": now_ms, f"s:{shop.shard}": now_ms})
    await until(lambda: shop.services.control.watermarks.as_of_ms(("product_added",), shop.shard) == now_ms)


async def test_a_heartbeat_keeps_features_of_a_silent_source_fresh(shop: Shop) -> None:
    await cart(shop)
    now_ms = await shop.now_ms()
    await shop.complete_until(now_ms - 3 * MINUTE_MS)
    await shop.services.client.hset(CTL_WATERMARKS, f"s:{shop.shard}", now_ms)
    tally = await shop.services.collector.collect([{"type": "heartbeat"}], native.message, "key_1")
    assert tally.accepted == 1
    await shop.services.control.poll()
    assert (await shop.decision("reminder"))["message"]["id"] == "cart"


async def test_a_heartbeat_never_lowers_a_watermark(shop: Shop) -> None:
    ahead_ms = await shop.now_ms() + 60_000
    await shop.complete_until(ahead_ms)
    await shop.services.collector.collect([{"type": "heartbeat", "events": ["product_added"]}], native.message, "key_1")
    assert int(await shop.services.client.hget(CTL_WATERMARKS, "e:product_added")) == ahead_ms


async def test_the_record_holds_what_was_read_and_until_when_it_was_complete(shop: Shop) -> None:
    now_ms = await shop.now_ms()
    await shop.has_done([viewed(now_ms), added(now_ms - 40 * MINUTE_MS, 1)])
    await shop.complete_until(now_ms)
    record = await shop.record(await shop.decision("reminder"))
    assert record.facts.values == {"cart_open": True}, "features that this placement does not read are not recorded"
    assert record.facts.as_of_ms == {"events:order_completed+product_added": now_ms}
    assert [again.same for again in replay(record)] == [True]


async def test_without_leave_to_personalise_no_personal_feature_is_recorded(shop: Shop) -> None:
    now_ms = await shop.now_ms()
    await shop.has_done([viewed(now_ms, number) for number in range(4)])
    await shop.know(CUSTOMER, consent=[consent("personalisation", "denied", at="2026-02-01T00:00:00Z")])
    decision = await shop.decision("weekly")
    assert (decision["rung"], decision["message"]["id"]) == ("generic", "welcome")
    record = await shop.record(decision)
    assert record.facts.values == {"views_7d": 4}
    assert (await shop.decision("looks"))["message"]["id"] == "looked", "a count that is not personal may be used"
