"""Kill switches and counts of variants in a real store: what is written, what is read, and what cannot be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import orjson
import pytest
from redis.asyncio import Redis

from app.core.features.watermarks import NO_WATERMARKS, Watermarks
from app.errors import Problem
from app.flows.control import ControlWatch
from app.store.clients import open_client
from app.store.control import HISTORY_MAX, SWITCHES_MAX, ControlStore, Polled
from app.store.keys import CTL_SWITCHES, CTL_SWITCHES_LOG, CTL_WATERMARKS, Keys
from app.store.link import Link
from policy.codes import SwitchKind
from policy.control import VariantKey
from tests.support.link import linked, soon
from tests.support.valkey import StartStore, skip_without_waitaof

MESSAGE, ALL = SwitchKind.MESSAGE, SwitchKind.ALL
COMPARED: tuple[VariantKey, ...] = (("mens", 3, "plain"), ("mens", 3, "urgent"))


@dataclass
class Deployment:
    link: Link
    client: Redis
    store: ControlStore

    async def poll(self) -> Polled:
        return await self.store.poll(soon())

    async def now_ms(self) -> int:
        seconds, micros = await self.client.time()
        return int(seconds * 1000 + micros // 1000)

    async def names_off(self) -> list[str]:
        polled = await self.poll()
        assert not polled.failure
        return [switch.name for switch in polled.switches]

    async def spoil(self, *values: bytes) -> None:
        for number, value in enumerate(values):
            await self.client.hset(CTL_SWITCHES, f"spoiled/{number}", value)


@pytest.fixture
async def deployment(store_url: str) -> AsyncIterator[Deployment]:
    client = open_client(store_url)
    async with linked(store_url) as link:
        yield Deployment(link, client, ControlStore(link, client, Keys(20), COMPARED))
    await client.aclose()


# Until when events are complete


async def test_watermarks_are_read_of_the_events_that_are_asked_for_and_of_all_shards(deployment: Deployment) -> None:
    marks = {"e:order_completed": 5, "e:product_viewed": 6, "s:3": 7, "s:19": 8, "s:20": 9}
    await deployment.client.hset(CTL_WATERMARKS, mapping=marks)
    store = ControlStore(deployment.link, deployment.client, Keys(20), (), ["order_completed", "product_added"])
    polled = await store.poll(soon())
    assert polled.watermarks == Watermarks({"order_completed": 5}, {3: 7, 19: 8})
    assert not polled.failure
    assert (await deployment.poll()).watermarks == NO_WATERMARKS, "who asks for no event asks for nothing"


async def test_watermarks_that_cannot_be_read_are_unknown_and_spoil_no_switch(deployment: Deployment) -> None:
    store = ControlStore(deployment.link, deployment.client, Keys(20), (), ["order_completed"])
    await deployment.store.turn_off(MESSAGE, "mens", "crm", "a wrong price", None)
    await deployment.client.hset(CTL_WATERMARKS, mapping={"e:order_completed": "noon", "s:0": 7})
    polled = await store.poll(soon())
    assert (polled.watermarks, polled.failure) == (Watermarks({}, {0: 7}), "")
    await deployment.client.set(CTL_WATERMARKS, "no hash")
    polled = await store.poll(soon())
    assert (polled.watermarks, polled.failure) == (NO_WATERMARKS, "")
    assert [switch.name for switch in polled.switches] == ["mens"]


async def test_nothing_is_off_in_a_new_deployment(deployment: Deployment) -> None:
    polled = await deployment.poll()
    assert (polled.switches, polled.failure) == ((), "")
    assert abs(polled.now_ms - await deployment.now_ms()) < 1000


async def test_what_is_turned_off_is_read_with_who_why_and_until_when(deployment: Deployment) -> None:
    until_ms = await deployment.now_ms() + 60_000
    turned = await deployment.store.turn_off(MESSAGE, "mens", "crm_oncall", "a wrong price", until_ms)
    assert (await deployment.poll()).switches == (turned,)
    assert (turned.kind, turned.name, turned.by, turned.why) == (MESSAGE, "mens", "crm_oncall", "a wrong price")
    assert turned.until_ms == until_ms
    assert abs(turned.at_ms - await deployment.now_ms()) < 1000


async def test_turning_off_again_says_anew_who_and_why(deployment: Deployment) -> None:
    await deployment.store.turn_off(MESSAGE, "mens", "first", "one", await deployment.now_ms() + 60_000)
    await deployment.store.turn_off(MESSAGE, "mens", "second", "two", None)
    (switch,) = (await deployment.poll()).switches
    assert (switch.by, switch.why, switch.until_ms) == ("second", "two", None)


async def test_what_is_turned_on_is_off_no_more_and_turning_on_what_is_on_is_no_change(deployment: Deployment) -> None:
    await deployment.store.turn_off(MESSAGE, "mens", "a", "b", None)
    for _ in range(2):
        await deployment.store.turn_on(MESSAGE, "mens", "c", "d")
        assert await deployment.names_off() == []
    changes = (await deployment.store.switchboard()).changes
    assert [(change.state, change.by, change.why) for change in changes] == [("on", "c", "d"), ("off", "a", "b")]


async def test_a_time_that_has_passed_turns_nothing_off(deployment: Deployment) -> None:
    with pytest.raises(Problem) as refused:
        await deployment.store.turn_off(MESSAGE, "mens", "a", "b", await deployment.now_ms())
    assert refused.value.code == "invalid_request"
    assert refused.value.errors == [{"path": "until", "detail": "expected a time that is still to come"}]
    assert await deployment.names_off() == []


async def test_there_are_never_more_switches_than_anybody_can_overlook_but_everything_can_always_be_turned_off(
    deployment: Deployment,
) -> None:
    for number in range(SWITCHES_MAX):
        await deployment.store.turn_off(MESSAGE, f"m{number}", "a", "b", None)
    with pytest.raises(Problem) as refused:
        await deployment.store.turn_off(MESSAGE, "one_more", "a", "b", None)
    assert refused.value.code == "invalid_request"
    await deployment.store.turn_off(MESSAGE, "m0", "a", "again", None)
    await deployment.store.turn_off(ALL, "*", "a", "b", None)
    assert len((await deployment.poll()).switches) == SWITCHES_MAX + 1


async def test_the_history_shows_the_last_changes_first_and_does_not_grow_for_ever(deployment: Deployment) -> None:
    await deployment.client.rpush(CTL_SWITCHES_LOG, *[b"{}"] * HISTORY_MAX)
    for number in range(3):
        await deployment.store.turn_off(MESSAGE, f"m{number}", "a", "b", None)
    changes = (await deployment.store.switchboard()).changes
    assert [change.name for change in changes] == ["m2", "m1", "m0"]
    assert await deployment.client.llen(CTL_SWITCHES_LOG) == HISTORY_MAX


async def test_a_switch_whose_time_is_over_is_taken_away_once_and_the_history_says_so(deployment: Deployment) -> None:
    switch = await deployment.store.turn_off(MESSAGE, "mens", "a", "b", await deployment.now_ms() + 50)
    polled = await deployment.poll()
    while polled.now_ms < (switch.until_ms or 0):
        polled = await deployment.poll()
    assert (await deployment.store.switchboard()).switches == ()  # over is over, taken away or not
    await asyncio.gather(*(deployment.store.end(switch, polled.now_ms, soon()) for _ in range(4)))
    assert await deployment.names_off() == []
    changes = (await deployment.store.switchboard()).changes
    assert [(change.state, change.by) for change in changes] == [("on", "nextbest"), ("off", "a")]


async def test_a_switch_that_was_turned_anew_is_not_taken_away_with_its_older_self(deployment: Deployment) -> None:
    older = await deployment.store.turn_off(MESSAGE, "mens", "a", "b", await deployment.now_ms() + 60_000)
    await deployment.poll()
    await deployment.store.turn_off(MESSAGE, "mens", "a", "longer", None)
    await deployment.store.end(older, older.until_ms or 0, soon())
    assert await deployment.names_off() == ["mens"]
    await deployment.store.end(older, older.until_ms or 0, soon())  # which no poll knows any more
    assert await deployment.names_off() == ["mens"]


GOOD = {"kind": "message", "name": "womens", "by": "a", "why": "b", "until_ms": None, "at_ms": 1}
SPOILED = [
    b"", b"x", b"[]", b"null", b"{}", b"\xff\xfe", b'"message/mens"', b"1",
    orjson.dumps(GOOD | {"kind": "mood"}), orjson.dumps(GOOD | {"name": 5}), orjson.dumps(GOOD | {"name": []}),
    orjson.dumps(GOOD | {"until_ms": "soon"}), orjson.dumps(GOOD | {"until_ms": 1.5}),
    orjson.dumps(GOOD | {"until_ms": True}), orjson.dumps(GOOD | {"until_ms": 10**17}),
    orjson.dumps(GOOD | {"by": {}}), orjson.dumps(GOOD | {"mood": 1}),
    orjson.dumps({key: value for key, value in GOOD.items() if key != "until_ms"}),
]  # fmt: skip


@pytest.mark.parametrize("spoiled", SPOILED)
async def test_an_entry_that_nobody_understands_makes_the_reading_incomplete_and_hides_no_other(
    deployment: Deployment, spoiled: bytes
) -> None:
    await deployment.store.turn_off(MESSAGE, "mens", "a", "b", None)
    await deployment.spoil(spoiled)
    for _ in range(2):  # what is remembered of the last reading says the same
        polled = await deployment.poll()
        assert polled.failure == "Garbled"
        assert [switch.name for switch in polled.switches] == ["mens"]
    board = await deployment.store.switchboard()
    assert (len(board.switches), board.unreadable) == (1, 1)


async def test_switches_of_another_type_of_key_cannot_be_read_or_turned(deployment: Deployment) -> None:
    await deployment.client.set(CTL_SWITCHES, "x")
    polled = await deployment.poll()
    assert (polled.switches, polled.failure) == ((), "WRONGTYPE")
    for asking in (
        deployment.store.switchboard(),
        deployment.store.turn_off(MESSAGE, "mens", "a", "b", None),
        deployment.store.turn_on(MESSAGE, "mens", "a", "b"),
    ):
        with pytest.raises(Problem) as refused:
            await asking
        assert refused.value.code == "store_unavailable"
    await deployment.client.delete(CTL_SWITCHES)
    assert await deployment.names_off() == []


async def test_a_user_who_may_not_read_control_keys_knows_nothing(deployment: Deployment, store_url: str) -> None:
    if not store_url.startswith("unix://"):
        pytest.skip("users are each server's own")
    await deployment.client.execute_command("ACL", "SETUSER", "narrow", "on", ">pw", "+@all", "~{s*")
    async with linked(store_url.replace("unix://", "unix://narrow:pw@")) as link:
        polled = await ControlStore(link, deployment.client, Keys(1)).poll(soon())
    assert (polled.switches, polled.failure) == ((), "NOPERM")
    await deployment.client.execute_command("ACL", "DELUSER", "narrow")


async def test_no_answer_and_no_connection_are_failures_and_not_an_empty_list(own_store: StartStore) -> None:
    store = own_store()
    client = open_client(store.url)
    async with linked(store.url) as link:
        control = ControlStore(link, client, Keys(1))
        store.freeze()
        assert (await control.poll(soon(0.05))).failure == "StoreTimeout"
        store.thaw()
        store.kill()
        assert (await control.poll(soon())).failure == "StoreDown"
        with pytest.raises(Problem) as refused:
            await control.turn_off(MESSAGE, "mens", "a", "b", None)
        assert refused.value.code == "store_unavailable"
    await client.aclose()


async def test_strict_durability_does_not_acknowledge_what_is_not_on_disk(own_store: StartStore) -> None:
    store = own_store()
    async with open_client(store.url) as client, linked(store.url) as link:
        await skip_without_waitaof(client)
        store.command("CONFIG", "SET", "appendonly", "no")
        control = ControlStore(link, client, Keys(1), strict=True)
        for turning in (
            control.turn_off(MESSAGE, "mens", "a", "b", None),
            control.turn_on(MESSAGE, "mens", "a", "b"),
        ):
            with pytest.raises(Problem) as refused:
                await turning
            assert refused.value.code == "durability_unmet"
        store.command("CONFIG", "SET", "appendonly", "yes")
        store.command("CONFIG", "SET", "appendfsync", "always")
        assert (await control.turn_off(MESSAGE, "mens", "a", "b", None)).name == "mens"


async def test_whatever_was_turned_before_a_poll_is_in_force_after_it_while_others_poll_and_turn(
    deployment: Deployment,
) -> None:
    """The process that turned something reads it back before it answers; its own rhythm of polling goes on."""
    watch = ControlWatch(deployment.store)
    watch.start()

    async def turn(name: str) -> None:
        for _ in range(20):
            await deployment.store.turn_off(MESSAGE, name, "a", "b", None)
            await watch.poll()
            assert name in {switch.name for switch in watch.current.switches}
            await deployment.store.turn_on(MESSAGE, name, "a", "b")
            await watch.poll()
            assert name not in {switch.name for switch in watch.current.switches}

    await asyncio.gather(*(turn(f"m{number}") for number in range(4)))
    await watch.close()


async def test_what_variants_earned_is_summed_over_shards_for_the_variants_asked_for(deployment: Deployment) -> None:
    keys, store = Keys(20), deployment.store
    plain, urgent = "mens@3.plain", "mens@3.urgent"
    for shard in (0, 7, 19):
        counts = {f"{plain}:n": 10, f"{plain}:r": shard, "mens@2.plain:n": 99, "womens@3.plain:r": 99}
        await deployment.client.hset(keys.variants(shard), mapping=counts)
    await deployment.client.hset(keys.variants(3), mapping={f"{urgent}:n": "many", f"{plain}:n": -1})
    groups = store.shard_groups()
    assert [shard for group in groups for shard in group] == list(range(20))
    assert await store.earned(range(20), soon()) == [26, 30, 0, 0]
    sums = [await store.earned(group, soon()) or [] for group in groups]
    assert [sum(counts) for counts in zip(*sums, strict=True)] == [26, 30, 0, 0]


async def test_counts_that_cannot_be_read_are_not_taken_for_none(deployment: Deployment) -> None:
    await deployment.client.set(Keys(20).variants(4), "x")
    assert await deployment.store.earned(range(16), soon()) is None
    assert await deployment.store.earned(range(16, 20), soon()) == [0, 0, 0, 0]
