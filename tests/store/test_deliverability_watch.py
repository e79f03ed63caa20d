"""What is counted of outcomes, in a real store: read over all shards, and braked once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from redis.asyncio import Redis

from app.core.deliverability import HOUR_MS
from app.errors import Problem
from app.flows.watch_deliverability import DeliverabilityWatch
from app.store.clients import open_client
from app.store.control import ControlStore
from app.store.keys import CTL_DELIVERABILITY, Keys
from app.store.watch import SHARDS_AT_ONCE, WatchStore
from policy.codes import SwitchKind
from policy.control import Switch
from policy.watch import WATCH, Cell, Counts, Kind
from tests.support.link import linked, until
from tests.support.valkey import StartStore
from tests.support.watching import count, watch

SHARDS = SHARDS_AT_ONCE + 4
MENS = SwitchKind.MESSAGE, "mens"


@dataclass
class House:
    """A deployment with its counts, its switches and a watch."""

    client: Redis
    switches: ControlStore
    store: WatchStore
    keys: Keys

    def watch(self, owner: str = "one", spared: frozenset[str] = frozenset()) -> DeliverabilityWatch:
        return DeliverabilityWatch(self.store, self.switches, watch(), spared, owner, list[str]().append)

    async def count(self, path: str = "weekly/mens/gmail", shard: int = 0, hours_ago: int = 0, **counts: int) -> None:
        at_ms = await self.store.now_ms() - hours_ago * HOUR_MS
        await count(self.client, self.keys, at_ms, path, shard, **counts)

    async def ill(self, path: str = "weekly/mens/gmail", hours_ago: int = 0) -> None:
        """Twice as many complaints as may be."""
        await self.count(path, hours_ago=hours_ago, sent=1_000, delivered=950, complained=6)

    async def off(self) -> list[Switch]:
        return list((await self.switches.board())[0])

    async def lift(self) -> None:
        await self.switches.turn_on(*MENS, "crm_oncall", "the list was cleaned", "key_1")


@pytest.fixture
async def house(store_url: str) -> AsyncIterator[House]:
    client, keys = open_client(store_url), Keys(SHARDS)
    async with linked(store_url) as link:
        yield House(client, ControlStore(link, client, keys), WatchStore(client, keys), keys)
    await client.aclose()


async def test_an_hour_is_read_over_all_shards_and_what_is_no_number_is_passed_over(house: House) -> None:
    for shard in range(SHARDS):
        await house.count(shard=shard, sent=2)
    now_ms = await house.store.now_ms()
    await house.client.hset(house.keys.watch(0, now_ms // HOUR_MS), mapping={"a/b/c:s": "many", b"\xff": 4})
    found = await house.store.hour(now_ms // HOUR_MS)
    assert found["weekly/mens/gmail:s"] == 2 * SHARDS
    assert "a/b/c:s" not in found


async def test_complaints_above_the_limit_switch_the_message_off_with_the_reason(house: House) -> None:
    await house.count(shard=1, hours_ago=5, sent=600, delivered=590, complained=2)
    await house.count(shard=SHARDS - 1, sent=400, delivered=360, complained=4)
    await house.watch().look()
    (switch,) = await house.off()
    assert (switch.kind, switch.name, switch.by, switch.until_ms) == (*MENS, WATCH, None)
    assert switch.why.startswith("complaint rate 0.63 % [0.29–1.37 %] of 950 delivered to gmail in 24 h, limit 0.30 %")
    board = await house.switches.switchboard()
    assert [(each.name, each.state, each.key) for each in board.changes] == [("mens", "off", "")]


async def test_what_lies_before_the_window_stops_nothing(house: House) -> None:
    await house.ill(hours_ago=26)
    judgement = await house.watch().look()
    assert judgement.rows == ()
    assert not await house.off()


async def test_what_was_found_is_kept_for_whoever_asks(house: House) -> None:
    await house.ill()
    judgement = await house.watch().look()
    assert await house.store.last() == judgement
    (row,) = judgement.rows
    assert row.cell == Cell("weekly", "mens", "gmail")
    assert row.counts == Counts(sent=1_000, delivered=950, complained=6)
    assert row.alerts == (Kind.COMPLAINED,)


async def test_a_judgement_of_another_version_is_as_good_as_none(house: House) -> None:
    assert await house.store.last() is None
    for kept in ("no json", "[]", '{"rows": []}'):
        await house.client.set(CTL_DELIVERABILITY, kept)
        assert await house.store.last() is None
    await house.watch().look()
    assert await house.store.last() is not None


# Lifting


async def test_whoever_lifts_a_brake_is_not_overruled_for_the_same_evidence(house: House) -> None:
    await house.ill()
    await house.watch().look()
    await house.lift()
    for owner in ("one", "another"):  # nor by a process that starts anew
        await house.watch(owner).look()
    assert not await house.off()


async def test_new_evidence_brakes_again(house: House) -> None:
    await house.ill()
    await house.watch().look()
    await house.lift()
    await house.watch().look()
    await house.count(sent=150, delivered=150, complained=10)
    await house.watch().look()
    assert not await house.off(), "150 mails since the lift are no rate"
    await house.count(sent=150, delivered=150)
    await house.watch("after a restart").look()
    (switch,) = await house.off()
    assert "10" not in switch.why.split(" of ")[1]
    assert "300 delivered" in switch.why


async def test_a_lift_is_remembered_when_the_history_is_cut(house: House) -> None:
    await house.ill()
    await house.watch().look()
    await house.lift()
    await house.watch().look()
    await house.client.delete("{ctl:switches}:log")
    await house.watch().look()
    assert not await house.off()


async def test_a_slow_process_does_not_brake_what_was_lifted_meanwhile(house: House) -> None:
    """It counted and judged before the lift; its brake comes after."""
    await house.ill()
    _, _, newest = await house.switches.board()
    await house.watch().look()
    await house.lift()
    assert await house.switches.brake("mens", WATCH, "old news", newest, await house.store.now_ms()) is None
    assert not await house.off()


async def test_what_somebody_else_turned_off_keeps_its_reason(house: House) -> None:
    await house.switches.turn_off(*MENS, "crm_oncall", "the price is wrong", None, "key_1")
    await house.ill()
    await house.watch().look()
    (switch,) = await house.off()
    assert switch.why == "the price is wrong"
    await house.switches.turn_on(*MENS, "crm_oncall", "corrected", "key_1")
    await house.watch().look()
    (switch,) = await house.off()
    assert switch.by == WATCH, "nobody has looked at its rates"


async def test_several_messages_are_braked_in_one_look_and_those_that_are_spared_are_not(house: House) -> None:
    for name in ("mens", "womens", "receipt"):
        await house.ill(f"weekly/{name}/gmail")
    judgement = await house.watch(spared=frozenset({"receipt"})).look()
    assert sorted(switch.name for switch in await house.off()) == ["mens", "womens"]
    assert all(row.alerts for row in judgement.rows)


async def test_two_looks_at_once_brake_once(house: House) -> None:
    await house.ill()
    await asyncio.gather(*(house.watch(owner).look() for owner in "abcd"))
    assert len((await house.switches.switchboard()).changes) == 1


# Turns


async def test_one_process_looks_at_a_time_and_the_next_one_takes_over(house: House) -> None:
    assert await house.store.take_turn("one", 60_000)
    assert not await house.store.take_turn("another", 60_000)
    await house.client.delete("ctl:deliverability_turn")
    assert await house.store.take_turn("another", 60_000)


async def test_it_looks_until_it_is_stopped_and_goes_on_when_the_store_comes_back(own_store: StartStore) -> None:
    store = own_store()
    client, keys, stopped, trouble = open_client(store.url), Keys(2), asyncio.Event(), list[str]()
    async with linked(store.url) as link:
        made = WatchStore(client, keys)
        watching = DeliverabilityWatch(
            made, ControlStore(link, client, keys), watch(), frozenset(), "one", trouble.append
        )
        watching.look_every_s = 0.02
        store.stop()
        task = asyncio.create_task(watching.run(stopped))
        await until(lambda: bool(trouble))
        store.start()
        await until(lambda: bool(watching.looks))
        stopped.set()
        await task
        assert await made.last() is not None
        store.stop()
        with pytest.raises(Problem):
            await made.last()
    await client.aclose()


async def test_earlier_hours_are_read_again_in_turn(house: House) -> None:
    watching = house.watch()
    await house.count(hours_ago=9, sent=5)
    assert (await watching.look()).rows[0].counts.sent == 5
    await house.count(hours_ago=9, sent=5)
    for _ in range(25):
        sent = (await watching.look()).rows[0].counts.sent
        if sent == 10:
            break
    assert sent == 10
