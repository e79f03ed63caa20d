"""What decisions earn is written down once, whoever closes them, and whatever becomes of those who do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from app.core import rewards
from app.core.decision.ids import pack_id
from app.core.due_rewards import Closing
from app.core.events.event import Collected
from app.core.outcomes import Outcome
from app.core.rewards import FIELD, Earned
from app.core.standing import Known as Contact
from app.flows import close_rewards
from app.flows.attribute import Attribution
from app.outcome_taking import outcome_taker
from app.store import keys as key_names
from app.store.bundles import BundleArchive
from app.store.conversions import ConversionStore
from app.store.keys import Keys
from app.store.link import open_link
from app.store.outcomes import OutcomeStore, Told
from app.store.resp import pack
from app.store.rewards import CLOSE_REWARD, RewardStore
from app.store.round_trips import asked
from app.worker import load_scripts
from policy.codes import OutcomeType
from tests.support.link import linked, soon
from tests.support.outcomes import CUSTOMER, KEYS, tell
from tests.support.rewards import DAY_MS, WINDOW_MS, RewardDesk, bundle, closer_on, reward_desk

OVER_MS = WINDOW_MS + 60_000  # since the decision, so that its window is over


@pytest.fixture
async def desk(store_url: str) -> AsyncIterator[RewardDesk]:
    async with reward_desk(store_url) as desk:
        yield desk


async def close(store_url: str) -> dict[str, int]:
    async with closer_on(store_url) as (closer, counted):
        while await closer.look([0]):
            pass
        return dict(counted)


async def test_when_the_window_closes_the_reward_is_in_the_stream_and_beside_the_outcomes(
    desk: RewardDesk, store_url: str
) -> None:
    decision = await desk.send(ago_ms=OVER_MS)
    await desk.told(decision, "delivered", "converted=12.5", "converted=-2.5", "unsubscribed")
    assert await close(store_url) == {"rewarded": 1}
    assert await desk.rewards() == [
        {
            "decision": str(decision), "customer": CUSTOMER, "reward": 9.0, "at": decision.at_ms + WINDOW_MS,
            "placement": "once", "reward_of": "revenue", "unexposed": None, "clicked": False, "converted": True,
            "revenue": 10.0, "unsubscribed": True, "complained": False,
        }
    ]  # fmt: skip
    assert (await desk.kept(decision))[FIELD] == b"9.0"
    assert await desk.due() == 0


async def test_an_order_whose_click_is_known_and_not_worked_off_yet_still_counts(
    desk: RewardDesk, store_url: str
) -> None:
    decision = await desk.send(ago_ms=OVER_MS)
    ordered = Collected(CUSTOMER, "order_completed", 1, decision.at_ms + 60_000, decision.at_ms + 61_000, b"order__1",
                        b"", {"revenue": 80.0})  # fmt: skip
    async with linked(store_url, on_connect=load_scripts) as link:
        counted: list[tuple[str, str]] = []
        conversions = Attribution(
            bundle().outcomes, ConversionStore(link, KEYS), desk.taker, Told("outcome", "esp"), pytest.fail,
            lambda *what: counted.append(what),
        )  # fmt: skip
        await conversions.apply([ordered])
        await desk.told(decision, "delivered", "clicked")
        async with closer_on(store_url, conversions=conversions) as (closer, _):
            await closer.look([0])
    (found,) = await desk.rewards()
    assert (found["reward"], found["converted"], found["revenue"]) == (80.0, True, 80.0)
    assert counted == [("purchase", "waits"), ("purchase", "last_click")]


async def test_a_window_that_is_open_is_left_open(desk: RewardDesk, store_url: str) -> None:
    decision = await desk.send(ago_ms=WINDOW_MS - 60_000)
    await desk.told(decision, "delivered")
    assert await close(store_url) == {}
    assert (await desk.due(), await desk.rewards()) == (1, [])


async def test_of_what_nothing_was_told_no_key_is_kept(desk: RewardDesk, store_url: str) -> None:
    decision = await desk.send(ago_ms=OVER_MS)
    assert await close(store_url) == {"unexposed": 1}
    (found,) = await desk.rewards()
    assert (found["reward"], found["unexposed"]) == (None, "nothing_told")
    assert not await desk.kept(decision)


async def test_a_bounce_earns_nothing_either_way_and_says_so(desk: RewardDesk, store_url: str) -> None:
    decision = await desk.send(ago_ms=OVER_MS)
    await desk.told(decision, "sent", "bounced_hard")
    await close(store_url)
    (found,) = await desk.rewards()
    assert (found["reward"], found["unexposed"]) == (None, "bounced")
    assert (await desk.kept(decision))[FIELD] == b"!bounced"


async def test_placements_have_windows_of_their_own_or_none(desk: RewardDesk, store_url: str) -> None:
    short, none = await desk.send("open", ago_ms=2 * DAY_MS), await desk.send("receipt", ago_ms=30 * DAY_MS)
    assert await desk.due() == 1
    await desk.told(short, "delivered", "clicked")
    await desk.told(none, "delivered", "clicked")
    assert await close(store_url) == {"rewarded": 1}
    (found,) = await desk.rewards()
    assert (found["placement"], found["reward"]) == ("open", 1.0)


async def test_what_is_told_after_closing_changes_nothing(desk: RewardDesk, store_url: str) -> None:
    decision = await desk.send(ago_ms=OVER_MS)
    await desk.told(decision, "delivered")
    await close(store_url)
    await desk.told(decision, "delivered", "converted=99")
    assert await close(store_url) == {}
    assert [each["reward"] for each in await desk.rewards()] == [0.0]
    assert (await desk.kept(decision))[FIELD] == b"0.0"


async def test_two_who_close_at_once_write_each_reward_once(desk: RewardDesk, store_url: str) -> None:
    decisions = [await desk.send(ago_ms=OVER_MS + number) for number in range(60)]
    async with closer_on(store_url) as (one, first), closer_on(store_url) as (two, second):
        await asyncio.gather(one.look([0]), two.look([0]), one.look([0]))
    found = [each["decision"] for each in await desk.rewards()]
    assert sorted(found) == sorted(map(str, decisions))
    assert first["unexposed"] + second["unexposed"] == 60


@pytest.mark.parametrize("dies_at", range(6))
async def test_who_dies_anywhere_while_closing_leaves_what_the_next_one_closes(
    desk: RewardDesk, store_url: str, dies_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is stopped before, or just after, the n-th time that it asks the store something."""
    decisions = [await desk.send(ago_ms=OVER_MS + number) for number in range(20)]
    calls = 0
    # That kind only: a cluster's link looks at its map over links to single servers.
    kind: Any = type(open_link(store_url))
    whole = kind.call

    class Died(Exception):
        pass

    async def dying(self: Any, *args: Any, **more: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == dies_at + 1:
            if dies_at % 2:
                await whole(self, *args, **more)  # the store did it, and nobody heard so
            raise Died
        return await whole(self, *args, **more)

    async with closer_on(store_url) as (closer, _):
        with monkeypatch.context() as patched:
            patched.setattr(kind, "call", dying)
            with pytest.raises(Died):
                await closer.look([0])
    await close(store_url)
    assert sorted(each["decision"] for each in await desk.rewards()) == sorted(map(str, decisions))
    assert await desk.due() == 0


async def test_what_is_told_just_before_it_is_written_still_counts(
    desk: RewardDesk, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    decision = await desk.send(ago_ms=OVER_MS)
    await desk.told(decision, "delivered")
    async with closer_on(store_url) as (closer, counted):
        worked_out = rewards.earned
        late: list[Any] = []

        def earned(*args: Any) -> Any:
            late.append(asyncio.ensure_future(desk.told(decision, "delivered", "converted=7")))
            return worked_out(*args)

        monkeypatch.setattr(close_rewards, "earned", earned)
        close_all = closer._store.close_all

        async def after_it_was_told(closings: Any) -> Any:
            await asyncio.gather(*late)
            return await close_all(closings)

        with monkeypatch.context() as patched:
            patched.setattr(closer._store, "close_all", after_it_was_told)
            await closer.look([0])
            assert (await desk.rewards(), counted) == ([], {})
        monkeypatch.setattr(close_rewards, "earned", worked_out)
        await closer.look([0])
    assert [each["reward"] for each in await desk.rewards()] == [7.0]


async def test_what_was_taken_back_earns_nothing(desk: RewardDesk, store_url: str) -> None:
    intent, _ = desk.intent("once", await desk.now_ms() - OVER_MS)
    intent = intent._replace(commit_by_ms=await desk.now_ms() + 30)
    await desk.decisions.commit(intent, soon())
    await desk.take_back(intent)
    assert await close(store_url) == {"dropped": 1}
    assert (await desk.due(), await desk.rewards()) == (0, [])


async def test_who_was_erased_has_no_reward_written(desk: RewardDesk, store_url: str) -> None:
    await desk.send(ago_ms=OVER_MS)
    await desk.client.hset(desk.keys.profile, "!e", f"{await desk.now_ms()},ers_1")
    assert await close(store_url) == {"dropped": 1}
    assert (await desk.due(), await desk.rewards()) == (0, [])


async def test_what_was_told_of_whom_the_customer_became_counts(desk: RewardDesk, store_url: str) -> None:
    decision = await desk.send(ago_ms=OVER_MS)
    await desk.told(decision, "delivered", "converted=5")
    await desk.client.hset(desk.keys.profile, "!m", ">cus_2")
    assert await close(store_url) == {"rewarded": 1}
    assert [(each["customer"], each["reward"]) for each in await desk.rewards()] == [("cus_2", 5.0)]


async def test_what_was_noted_in_another_shard_is_what_the_next_one_writes(store_url: str, desk: RewardDesk) -> None:
    """Its customer became one of another shard, where more was told; who closed it first died after noting it there."""
    keys, decision = Keys(2), await desk.send(ago_ms=OVER_MS)
    assert (keys.shard_of(CUSTOMER), keys.shard_of("cus_4")) == (0, 1)
    await desk.told(decision, "delivered")
    await desk.told(decision, "delivered", "converted=7", shard=1)
    await desk.client.hset(keys.profile(CUSTOMER), "!m", ">cus_4")
    async with linked(store_url) as link:
        await asked(link, [pack("SCRIPT", "LOAD", CLOSE_REWARD.source)])
        store = RewardStore(link, keys, desk.fields, 10**6)
        (due,) = await store.due([0, 1], 10)
        (known,) = await store.known([due])
        assert known is not None
        for reward, said in ((7.0, "closed"), (9.0, "again")):
            assert (known.became, known.elsewhere) == ("cus_4", True)
            assert Contact.of(known.fields).told[-1].value == 7.0
            assert await store.close_all([Closing(known, Earned(reward), "once", "revenue")]) == [said]
        await desk.client.zadd(keys.due(0), {due.packed + due.kind_id: 1})
        assert await store.close_all([Closing(known, Earned(9.0), "once", "revenue")]) == ["closed"]
    assert [each["reward"] for each in await desk.rewards()] == [7.0, 7.0]
    assert await desk.client.hget(keys.outcomes(1, str(decision).encode()), FIELD) == b"7.0"


async def test_a_placement_that_earns_nothing_any_more_is_dropped(desk: RewardDesk, store_url: str) -> None:
    await desk.send(ago_ms=OVER_MS)
    async with closer_on(store_url) as (closer, counted):
        closer._rules = {}
        await closer.look([0])
    assert (counted, await desk.due()) == ({"dropped": 1}, 0)


async def test_the_decision_log_waits_for_an_archiver_that_exists(store_url: str) -> None:
    async with reward_desk(store_url, log_bytes=20_000) as desk:
        await desk.client.hset(KEYS.worker(0), "archived_decisions", "0-0")
        for _ in range(200):
            await desk.send("receipt")
        assert await desk.client.xlen(KEYS.decisions(0)) == 200
        at = (await desk.client.xrange(KEYS.decisions(0)))[149][0]
        await desk.client.hset(KEYS.worker(0), "archived_decisions", at)
        for _ in range(32):
            await desk.send("receipt")
        first = (await desk.client.xrange(KEYS.decisions(0), count=1))[0][0]
        assert await desk.client.xlen(KEYS.decisions(0)) < 120
        assert first <= at


async def test_without_an_archiver_the_decision_log_keeps_to_its_share(store_url: str) -> None:
    async with reward_desk(store_url, log_bytes=20_000) as desk:
        for _ in range(200):
            await desk.send("receipt")
        assert await desk.client.xlen(KEYS.decisions(0)) < 80


async def test_the_outcome_stream_keeps_to_its_share_and_waits_for_an_archiver_that_exists(
    desk: RewardDesk, store_url: str
) -> None:
    async with closer_on(store_url, stream_bytes=200 * 200) as (closer, _):
        await desk.client.hset(KEYS.worker(0), "archived_outcomes", "0-0")
        for number in range(320):
            await desk.client.set(KEYS.decision(0, f"dec_{number:028x}".encode()), f"1-1 {CUSTOMER}")
        name = next(name for name in await desk.client.hkeys(key_names.CTL_FIELDS) if name.startswith(b"k:once/"))
        kind = await desk.client.hget(key_names.CTL_FIELDS, name)
        due = {pack_id(f"dec_{number:028x}") + kind: number for number in range(320)}
        await desk.client.zadd(KEYS.due(0), due)
        while await closer.look([0]):
            pass
        assert await desk.client.xlen(KEYS.outcome_stream(0)) == 320
        await desk.client.hdel(KEYS.worker(0), "archived_outcomes")
        await desk.send(ago_ms=OVER_MS)
        await closer.look([0])
        assert await desk.client.xlen(KEYS.outcome_stream(0)) <= 300


async def test_what_is_told_by_callers_and_providers_is_what_is_earned(desk: RewardDesk, store_url: str) -> None:
    decision = await desk.send(ago_ms=OVER_MS)
    outcomes = OutcomeStore(desk.decisions._link, KEYS, desk.fields, bundle(), 10**6)
    outcomes.hash_key = b"a key for tests"
    archive = BundleArchive(desk.client, bundle())
    await desk.fields.ensure(["s:outcome", "w:esp"])
    taker = outcome_taker(outcomes, bundle(), desk.client, KEYS, desk.fields, archive)
    said = [("delivered", None), ("converted", 12.5), ("converted", -2.0), ("complained", None)]
    for number, (kind, value) in enumerate(said, 1):
        await tell(taker, decision, Outcome(OutcomeType(kind), decision.at_ms + 5_000 * number, value=value))
    assert await close(store_url) == {"rewarded": 1}
    (found,) = await desk.rewards()
    assert (found["reward"], found["revenue"], found["complained"]) == (5.5, 10.5, True)
    told = [fields[b"t"] for _, fields in await desk.client.xrange(KEYS.outcome_stream(0))]
    assert told == [b"delivered", b"converted", b"converted", b"complained", b"rewarded"]
    assert (await desk.kept(decision))[FIELD] == b"5.5"
