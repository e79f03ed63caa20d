"""Conversions on their way: from the event to the decision, once, whatever goes wrong in between."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from itertools import permutations
from typing import Any

import pytest
from redis.asyncio import Redis

from app.core.attribution import read_claims
from app.core.decision.ids import parse_id
from app.core.events.commands import carrying
from app.core.events.event import Collected
from app.core.heard import Heard, Take, Taken
from app.core.outcome_events import outcome_event, wanted
from app.core.outcomes import Outcome
from app.flows.attribute import Attribution
from app.store.clients import open_client
from app.store.conversions import CLAIM_CONVERSIONS, MOVE_CONVERSION, ConversionStore
from app.store.link import Caller
from app.store.outcomes import Told
from app.store.resp import pack
from app.worker import load_scripts
from policy.codes import OutcomeType
from policy.compile import load
from policy.facts import ContactKind
from tests.support.conversions import DAY_MS, HOUR_MS, NOW_MS, bought, decided, packed, returned, rules, told
from tests.support.link import linked, soon
from tests.support.working import KEYS, collected, work_off, worker_on

WHO = Told("events", "worker")
D1, D2 = decided(1), decided(2, NOW_MS - 12 * HOUR_MS)
KIND = ContactKind("weekly", "email", "marketing", "mens", "fashion", "spring")


class Ledger:
    """A taker that counts each outcome once, and may fail when it is told to."""

    def __init__(self) -> None:
        self.taken: dict[tuple[str, str], Heard] = {}
        self.calls = 0
        self.fails = 0
        self.counted: Counter[tuple[str, str]] = Counter()

    async def take(self, heard: Sequence[Heard], told: Told) -> list[Taken]:
        self.calls += 1
        for each in heard:
            self.taken[str(each.decision), str(each.outcome.event_id)] = each
        if self.fails:
            self.fails -= 1
            raise ConnectionError("the answer did not come")
        return [Taken(Take.ACCEPTED) for _ in heard]

    def count(self, conversion: str, attribution: str) -> None:
        self.counted[conversion, attribution] += 1

    @property
    def earned(self) -> set[tuple[str, float | None]]:
        return {(decision, each.outcome.value) for (decision, _), each in self.taken.items()}


async def prepared(wire: Caller) -> None:
    await load_scripts(wire)
    packed_scripts = [pack("SCRIPT", "LOAD", each.source) for each in (CLAIM_CONVERSIONS, MOVE_CONVERSION)]
    await wire.call(b"".join(packed_scripts), len(packed_scripts), soon())


@asynccontextmanager
async def attribution(url: str, *ways: str) -> AsyncIterator[tuple[Attribution, Ledger]]:
    async with linked(url, on_connect=prepared) as link:
        taker, troubles = Ledger(), list[str]()
        store = ConversionStore(link, KEYS)
        yield Attribution(rules(*ways), store, taker, WHO, troubles.append, taker.count), taker
        assert troubles == []


@pytest.fixture
async def client(store_url: str) -> AsyncIterator[Redis]:
    async with open_client(store_url) as opened:
        yield opened


async def sent(client: Redis, customer: str, *decisions: str) -> None:
    """Contacts of a customer."""
    names = KEYS.of(customer)
    await client.zadd(names.ledger, {packed(each) + b"1,0,s": NOW_MS - DAY_MS for each in decisions})


async def looked(client: Redis, customer: str, decision: str, *looks: tuple[bytes, bytes]) -> None:
    shard = KEYS.shard_of(customer)
    await client.hset(KEYS.outcomes(shard, decision.encode()), mapping=dict(looks))


def look(customer: str, kind: str = "clicked", hours_before: float = 1) -> Collected:
    outcome = Outcome(OutcomeType(kind), int(NOW_MS - hours_before * HOUR_MS), event_id="esp:1")
    made = outcome_event(outcome, KIND, customer, outcome.at_ms or 0, NOW_MS, packed(D1))
    assert made is not None
    return made


CLICK = told("clicked", NOW_MS - HOUR_MS)


async def kept(client: Redis, customer: str) -> list[tuple[str, bool]]:
    held: Any = await client.hgetall(KEYS.mail(customer))
    claims = read_claims(held)
    return [(each.decision, each.done) for each in claims]


async def test_an_order_after_a_click_is_told_of_the_decision_that_was_clicked(client: Redis, store_url: str) -> None:
    await sent(client, "cus_1", D1, D2)
    await looked(client, "cus_1", D1, CLICK)
    async with attribution(store_url) as (flow, taker):
        await flow.apply([bought()])
        assert taker.earned == {(D1, 80.0)}
        (heard,) = taker.taken.values()
        assert heard.outcome.type is OutcomeType.CONVERTED
        assert heard.outcome.at_ms == NOW_MS
        assert (heard.customer, heard.decision) == ("cus_1", parse_id(D1))
        assert await kept(client, "cus_1") == [(D1, True)]


async def test_an_order_that_is_told_before_the_click_is_attributed_when_the_click_is(
    client: Redis, store_url: str
) -> None:
    await sent(client, "cus_1", D1)
    async with attribution(store_url) as (flow, taker):
        await flow.apply([bought()])
        assert taker.earned == set()
        await looked(client, "cus_1", D1, CLICK)
        await flow.apply([look("cus_2")])
        assert taker.earned == set()
        await flow.apply([look("cus_1")])
        assert taker.earned == {(D1, 80.0)}
        ttl_ms = await client.pttl(KEYS.mail("cus_1"))
        assert ttl_ms > 89 * DAY_MS


async def test_conversions_are_counted_by_what_led_to_their_decision_and_once(client: Redis, store_url: str) -> None:
    await sent(client, "cus_1", D1)
    async with attribution(store_url) as (flow, taker):
        await flow.apply([bought(), bought(7, order_id="A-2", decision_id=D1)])
        await flow.apply([bought()])
        assert taker.counted == {("purchase", "waits"): 1, ("purchase", "decision_id"): 1}
        await looked(client, "cus_1", D1, CLICK)
        await flow.apply([look("cus_1"), bought(), returned()])
        assert taker.counted - Counter({("purchase", "waits"): 1, ("purchase", "decision_id"): 1}) == {
            ("purchase", "last_click"): 1,
            ("purchase", "refund"): 1,
        }


async def test_what_waits_is_tried_again_for_whoever_asks(client: Redis, store_url: str) -> None:
    """Before a reward is worked out: the event of the click may still be on its way."""
    await sent(client, "cus_1", D1)
    async with attribution(store_url) as (flow, taker):
        await flow.apply([bought()])
        await looked(client, "cus_1", D1, CLICK)
        assert not await flow.again(["cus_2"])
        assert not await flow.again([])
        assert taker.earned == set()
        assert await flow.again(["cus_1", "cus_2"])
        assert taker.earned == {(D1, 80.0)}
        assert not await flow.again(["cus_1"])


@pytest.mark.parametrize("order", list(permutations(["click", "order", "refund"])))
async def test_any_order_of_click_order_and_refund_ends_the_same(
    client: Redis, store_url: str, order: tuple[str, ...]
) -> None:
    await sent(client, "cus_1", D1)
    async with attribution(store_url) as (flow, taker):
        for what in (*order, *order):
            if what == "click":
                await looked(client, "cus_1", D1, CLICK)
                await flow.apply([look("cus_1")])
            else:
                await flow.apply([bought(), bought(9)] if what == "order" else [returned(total=30.0)])
        assert taker.earned == {(D1, 80.0), (D1, -30.0)}
        assert len(taker.taken) == 2


async def test_an_order_never_goes_to_a_decision_of_somebody_else(client: Redis, store_url: str) -> None:
    await sent(client, "cus_1", D1)
    await sent(client, "cus_2", D2)
    await looked(client, "cus_2", D2, CLICK)
    async with attribution(store_url) as (flow, taker):
        await flow.apply([bought(decision_id=D2)])
        assert taker.earned == set()


async def test_what_was_begun_is_finished_the_same_way_after_a_failure(client: Redis, store_url: str) -> None:
    """The outcome was told, and the answer did not come; meanwhile a click is told that would be the better match."""
    await sent(client, "cus_1", D1, D2)
    await looked(client, "cus_1", D1, CLICK)
    async with attribution(store_url) as (flow, taker):
        taker.fails = 1
        with pytest.raises(ConnectionError):
            await flow.apply([bought()])
        assert await kept(client, "cus_1") == [(D1, False)]
        await looked(client, "cus_1", D2, told("clicked", NOW_MS - HOUR_MS // 2))
        await flow.apply([bought()])
        assert taker.earned == {(D1, 80.0)}
        assert await kept(client, "cus_1") == [(D1, True)]
        calls = taker.calls
        await flow.apply([bought(), look("cus_1")])
        assert taker.calls == calls


class Dying:
    """A store, or a taker, that dies before or after its nth call."""

    def __init__(self, dies_at: int) -> None:
        self.left = dies_at

    def mortal(self, of: Any, name: str) -> None:
        does = getattr(of, name)

        async def until_then(*args: Any) -> Any:
            self._step()
            done = await does(*args)
            self._step()
            return done

        setattr(of, name, until_then)

    def _step(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise ConnectionError("killed")


@pytest.mark.parametrize("dies_at", range(1, 11))
async def test_a_worker_that_dies_at_any_step_loses_nothing_and_doubles_nothing(
    client: Redis, store_url: str, dies_at: int
) -> None:
    await sent(client, "cus_1", D1, D2)
    await looked(client, "cus_1", D1, CLICK)
    entries = [bought(), returned(total=30.0)]
    async with attribution(store_url) as (flow, taker):
        dying = Dying(dies_at)
        for name in ("keep", "contacts", "move"):
            dying.mortal(flow._store, name)
        dying.mortal(taker, "take")
        with pytest.raises(ConnectionError):
            await flow.apply(entries)
    async with attribution(store_url) as (flow, other):
        await flow.apply(entries)
        assert taker.earned | other.earned == {(D1, 80.0), (D1, -30.0)}
        assert await kept(client, "cus_1") == [(D1, True), (D1, True)]


async def test_two_workers_at_once_attribute_an_order_once(client: Redis, store_url: str) -> None:
    """One whose lease has ended does not know it yet."""
    await sent(client, "cus_1", D1, D2)
    async with attribution(store_url) as (first, taker), attribution(store_url) as (second, other):
        await first.apply([bought()])
        store = second._store
        read = store.contacts

        async def slowly(customers: Sequence[str]) -> Any:
            contacts = await read(customers)
            await looked(client, "cus_1", D2, told("clicked", NOW_MS - 60_000))
            await first.apply([look("cus_1")])
            return contacts

        await looked(client, "cus_1", D1, CLICK)
        store.contacts = slowly  # type: ignore[method-assign]  # a stand-in
        await second.apply([look("cus_1")])
        assert taker.earned | other.earned == {(D2, 80.0)}


async def test_the_order_of_a_customer_who_became_another_one_is_the_other_ones(client: Redis, store_url: str) -> None:
    winner = next(name for name in map("cus_w{}".format, range(99)) if KEYS.shard_of(name) != KEYS.shard_of("cus_1"))
    decision = decided(5, shard=KEYS.shard_of("cus_1"))
    await client.hset(KEYS.profile("cus_1"), "!m", f">{winner}")
    await sent(client, winner, decision)
    await looked(client, "cus_1", decision, CLICK)  # what was told before lies there still
    async with attribution(store_url) as (flow, taker):
        await flow.apply([bought()])
        assert taker.earned == {(decision, 80.0)}
        assert await kept(client, "cus_1") == []
        assert await kept(client, winner) == [(decision, True)]


async def test_whoever_takes_over_a_customer_has_its_orders_tried_again(client: Redis, store_url: str) -> None:
    async with attribution(store_url) as (flow, taker):
        await flow.apply([bought(customer="cus_w")])
        await sent(client, "cus_w", D1)
        await looked(client, "cus_w", D1, CLICK)
        carry = carrying("cus_1", "cus_w", NOW_MS)
        assert flow.concerns(carry)
        await flow.apply([carry])
        assert taker.earned == {(D1, 80.0)}


async def test_nothing_is_kept_of_an_erased_customer(client: Redis, store_url: str) -> None:
    await client.hset(KEYS.profile("cus_1"), "!e", f"{NOW_MS},1")
    async with attribution(store_url) as (flow, taker):
        await flow.apply([bought()])
        assert await kept(client, "cus_1") == []
        assert taker.earned == set()


async def test_a_customer_with_more_orders_than_a_person_has_is_bounded(client: Redis, store_url: str) -> None:
    async with attribution(store_url) as (flow, _):
        await flow.apply([bought(number, order_id=f"A-{number}") for number in range(260)])
        assert len(await kept(client, "cus_1")) == 200


class Counting:
    """What a worker hands on."""

    def __init__(self, flow: Attribution) -> None:
        self._flow = flow
        self.applied: list[str] = []

    def concerns(self, entry: Collected) -> bool:
        return self._flow.concerns(entry)

    async def apply(self, entries: Iterable[Collected]) -> None:
        entries = list(entries)
        self.applied += [each.type for each in entries]
        await self._flow.apply(entries)


async def test_a_worker_attributes_orders_and_hands_on_nothing_else(client: Redis, store_url: str) -> None:
    await sent(client, "cus_1", D1)
    await looked(client, "cus_1", D1, CLICK)
    async with attribution(store_url) as (flow, taker):
        counting = Counting(flow)
        async with worker_on(store_url, conversions=counting) as (worker, _):
            viewed = bought(5)._replace(type="viewed")
            await collected(client, [viewed, bought(), bought(), returned(total=5.0)])
            await worker.tend()
            await work_off(worker)
            await collected(client, [bought(), viewed._replace(message_id=b"12345678")])  # seen before
            await work_off(worker)
            await worker.leave()
        assert sorted(counting.applied) == ["bought", "bought", "returned"]
        assert taker.earned == {(D1, 80.0), (D1, -5.0)}


async def test_a_worker_whose_attribution_fails_does_the_chunk_again(client: Redis, store_url: str) -> None:
    await sent(client, "cus_1", D1)
    await looked(client, "cus_1", D1, CLICK)
    async with attribution(store_url) as (flow, taker), worker_on(store_url, conversions=flow) as (worker, counted):
        taker.fails = 1
        await collected(client, [bought()])
        await worker.tend()
        with pytest.raises(ConnectionError):
            await worker.look()
        assert counted == {}
        await work_off(worker)
        await worker.leave()
        assert taker.earned == {(D1, 80.0)}
        assert sum(counted.values()) == 1


def test_only_outcomes_that_somebody_reads_become_events(tmp_path: Any) -> None:
    from app.settings import DEMO_BUNDLE

    assert wanted(load(DEMO_BUNDLE)) == frozenset()
    shop = load(DEMO_BUNDLE.parent / "shop_demo")
    assert wanted(shop) == {OutcomeType.CLICKED}
