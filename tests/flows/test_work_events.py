"""Events become features: each once, each of its customer, whatever else lies in the stream."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator, Sequence
from itertools import pairwise
from typing import Any

import pytest
from hiredis import ReplyError
from redis.asyncio import Redis

from app.core.events.commands import carrying
from app.core.events.event import Collected, Edge, Misfits
from app.core.features.chunk import Results
from app.errors import Problem
from app.store.clients import open_client
from app.store.fold_store import FoldStore
from app.store.keys import CTL_WATERMARKS
from app.store.seen_events import unpacked
from app.store.wire import StoreDown
from tests.support.folding import computed
from tests.support.valkey import skip_without_waitaof
from tests.support.working import (
    KEPT,
    KEYS,
    NOW_MS,
    PLAN,
    all_states,
    by_customer,
    collected,
    features_in,
    happened,
    left_in,
    letters_in,
    viewed,
    work_off,
    worked_off,
    worker_on,
)


@pytest.fixture
async def client(store_url: str) -> AsyncIterator[Redis]:
    async with open_client(store_url) as opened:
        yield opened


def other_shard(customer: str) -> str:
    """A customer of another shard."""
    return next(name for name in map("cus_x{}".format, range(100)) if KEYS.shard_of(name) != KEYS.shard_of(customer))


async def test_an_event_becomes_a_feature_of_its_customer(client: Redis, store_url: str) -> None:
    await collected(client, [viewed("cus_1", 1, price=3.0), viewed("cus_1", 2, price=7.5), viewed("cus_2", 3)])
    counted = await worked_off(store_url)
    assert await features_in(client, "cus_1") == {"views_7d": 2, "dearest": 7.5, "spend_90d": 0}
    assert await features_in(client, "cus_2") == {"views_7d": 1, "spend_90d": 0}
    assert counted == {Results.APPLIED: 3}


async def test_features_come_to_what_the_whole_list_of_events_does(client: Redis, store_url: str) -> None:
    chance = random.Random(7)
    events = [
        happened(
            chance.choice(["viewed", "added", "bought"]),
            f"cus_{chance.randrange(40)}",
            number,
            NOW_MS - chance.randrange(10 * 86_400_000),
            price=chance.randrange(10_000) / 100,
            revenue=chance.randrange(10_000) / 100,
        )
        for number in range(3_000)
    ]
    await collected(client, [*events, *events[1_000:1_500]])
    counted = await worked_off(store_url)
    assert counted == {Results.APPLIED: 3_000, Results.REPEAT: 500}
    for customer, theirs in by_customer(events).items():
        assert await features_in(client, customer) == computed(PLAN, [each.event for each in theirs], NOW_MS)


async def test_a_message_counts_once_however_often_and_wherever_it_comes(client: Redis, store_url: str) -> None:
    await collected(client, [viewed("cus_1", 1)] * 300)  # more than one chunk
    await worked_off(store_url)
    await collected(client, [viewed("cus_1", 1)] * 3)
    counted = await worked_off(store_url, owner="w2")
    assert counted == {Results.REPEAT: 3}
    assert (await features_in(client, "cus_1"))["views_7d"] == 1


async def test_what_may_happen_once_counts_once_whoever_tells_it(client: Redis, store_url: str) -> None:
    order = b"order 12"
    await collected(client, [happened("bought", "cus_1", 1, once=order, revenue=5.0)])
    await worked_off(store_url)
    await collected(client, [happened("bought", "cus_1", 2, once=order, revenue=5.0)])
    assert await worked_off(store_url) == {Results.REPEAT: 1}
    assert (await features_in(client, "cus_1"))["spend_90d"] == 5.0


async def test_events_of_which_nothing_is_folded_cost_an_id_and_are_told_to_watermarks(
    client: Redis, store_url: str
) -> None:
    await collected(client, [happened("searched", "cus_1", 1), happened("searched", "cus_1", 1)])
    assert await worked_off(store_url) == {Results.APPLIED: 1, Results.REPEAT: 1}
    assert await all_states(client) == {}
    assert await client.hget(CTL_WATERMARKS, "e:searched") == b"%d" % (NOW_MS + 1_000)


# What goes wrong


async def test_an_event_that_cannot_be_folded_is_put_aside_and_its_neighbours_are_folded(
    client: Redis, store_url: str
) -> None:
    poison = viewed("cus_1", 2, price="dear")
    await collected(client, [viewed("cus_1", 1, price=1.0), poison, viewed("cus_1", 3, price=2.0), viewed("cus_2", 4)])
    assert await worked_off(store_url) == {Results.APPLIED: 3, Results.QUARANTINED: 1}
    assert await features_in(client, "cus_1") == {"views_7d": 2, "dearest": 2.0, "spend_90d": 0}
    (letter,) = await letters_in(client)
    assert (letter.misfit.code, letter.customer, letter.properties) == (Misfits.UNFOLDABLE, "cus_1", {"price": "dear"})
    assert "dear" not in letter.misfit.detail
    assert letter.redrivable


async def test_a_mended_letter_counts_though_its_message_was_seen_before(client: Redis, store_url: str) -> None:
    await collected(client, [viewed("cus_1", 2, price="dear")])
    await worked_off(store_url)
    await collected(client, [viewed("cus_1", 2, price=9.0)])
    await worked_off(store_url)
    assert (await features_in(client, "cus_1"))["dearest"] == 9.0


async def test_a_number_that_outgrows_its_bucket_is_put_aside_alone(client: Redis, store_url: str) -> None:
    huge = 8.79e8
    most = 2_098_000  # of the largest events in one bucket: near 64 bits
    state = await _with_spend(client, store_url, huge * most)
    await collected(client, [happened("bought", "cus_1", 100 + n, revenue=huge) for n in range(2_000)])
    counted = await worked_off(store_url)
    assert counted[Results.QUARANTINED] > 0
    assert counted[Results.APPLIED] > 0
    assert counted[Results.APPLIED] + counted[Results.QUARANTINED] == 2_000
    assert (await features_in(client, "cus_1"))["spend_90d"] == pytest.approx(state + huge * counted[Results.APPLIED])


async def _with_spend(client: Redis, url: str, spend: float) -> float:
    """A customer with such a sum in one bucket."""
    from app.core.features import codec

    await collected(client, [happened("bought", "cus_1", 1, revenue=1.0)])
    await worked_off(url)
    group = PLAN.group(("bought",))
    key = KEYS.of("cus_1").features
    held = codec.decode(group, await client.hget(key, group.key))
    held[1][0] = round(spend * 10_000)
    await client.hset(key, group.key, codec.encode(group, held))
    return spend


async def test_an_entry_that_no_release_wrote_is_put_aside(client: Redis, store_url: str) -> None:
    await client.xadd(KEYS.events(3), {"e": b"\xc1 nonsense"})
    await client.xadd(KEYS.events(3), {"x": b"1", "y": b"2"})
    await collected(client, [viewed("cus_1", 1)])
    assert await worked_off(store_url) == {Results.APPLIED: 1, Results.QUARANTINED: 2}
    assert {letter.misfit.code for letter in await letters_in(client)} == {Misfits.UNREADABLE}


async def test_a_state_that_cannot_be_read_begins_anew(client: Redis, store_url: str) -> None:
    await client.hset(KEYS.of("cus_1").features, mapping={"viewed": b"\xc1"})
    await collected(client, [viewed("cus_1", 1)])
    await worked_off(store_url)
    assert (await features_in(client, "cus_1"))["views_7d"] == 1


# Who became whom


async def test_what_was_folded_goes_to_whom_a_customer_became_and_later_events_too(
    client: Redis, store_url: str
) -> None:
    loser, winner = "cus_1", other_shard("cus_1")
    before = [viewed(loser, 1, price=1.0), viewed(winner, 2, price=2.0)]
    after = [viewed(loser, 3, price=3.0), viewed(loser, 1, price=1.0), viewed(winner, 4)]
    await collected(client, [*before, carrying(loser, winner, NOW_MS), *after])
    counted = await worked_off(store_url)
    assert counted == {
        Results.APPLIED: 4, Results.REPEAT: 1, Results.FORWARDED: 1, Results.CARRIED: 1, Results.TAKEN_IN: 1,
    }  # fmt: skip
    assert await features_in(client, winner) == {"views_7d": 4, "dearest": 3.0, "spend_90d": 0}
    assert await client.hgetall(KEYS.of(loser).features) == {b">": winner.encode()}


async def test_a_carry_that_is_told_again_changes_nothing(client: Redis, store_url: str) -> None:
    loser, winner = "cus_1", other_shard("cus_1")
    carry = carrying(loser, winner, NOW_MS)
    await collected(client, [viewed(loser, 1), carry, carry])
    await worked_off(store_url)
    await collected(client, [carry, viewed(loser, 2), carrying(loser, winner, NOW_MS + 1)])
    await worked_off(store_url)
    assert (await features_in(client, winner))["views_7d"] == 2


async def test_who_became_one_who_became_another_ends_there_within_one_shard_or_over_three(
    client: Redis, store_url: str
) -> None:
    names = [f"cus_{number}" for number in range(20)]
    chain = list(pairwise(names))
    random.Random(3).shuffle(chain)
    events: list[Collected] = [viewed(name, number) for number, name in enumerate(names)]
    events += [carrying(loser, winner, NOW_MS) for loser, winner in chain]
    events += [viewed(name, 100 + number) for number, name in enumerate(names)]
    await collected(client, events)
    await worked_off(store_url)
    assert (await features_in(client, names[-1]))["views_7d"] == 40
    for name, into in chain:
        assert await client.hgetall(KEYS.of(name).features) == {b">": into.encode()}


async def test_two_who_became_each_other_lose_no_time_over_it(client: Redis, store_url: str) -> None:
    one, other = "cus_1", other_shard("cus_1")
    await collected(client, [carrying(one, other, NOW_MS), carrying(other, one, NOW_MS), viewed(one, 1)])
    counted = await worked_off(store_url)
    assert counted[Results.FORWARDED] == 2
    assert counted[Results.REPEAT] == 1


async def test_groups_of_another_bundle_are_carried_on_as_they_are(client: Redis, store_url: str) -> None:
    loser, winner = "cus_1", other_shard("cus_1")
    await client.hset(KEYS.of(loser).features, mapping={"searched": b"a state", "wished": b"another"})
    await client.hset(KEYS.of(winner).features, mapping={"wished": b"its own"})
    await collected(client, [carrying(loser, winner, NOW_MS)])
    await worked_off(store_url)
    assert await client.hgetall(KEYS.of(winner).features) == {b"searched": b"a state", b"wished": b"its own"}


# Erased customers


async def test_what_was_on_its_way_when_its_customer_was_erased_is_dropped(client: Redis, store_url: str) -> None:
    await client.hset(KEYS.of("cus_1").profile, "!e", f"{NOW_MS},era_1")
    await client.hset(KEYS.of("cus_2").profile, "!e", f"{NOW_MS + 5_000}")  # a consent has ended it
    late = viewed("cus_2", 3)._replace(received_at_ms=NOW_MS + 5_001)
    await collected(client, [viewed("cus_1", 1), viewed("cus_2", 2), late])
    assert await worked_off(store_url) == {Results.ERASED: 2, Results.APPLIED: 1}
    assert await client.exists(KEYS.of("cus_1").features) == 0
    assert (await features_in(client, "cus_2"))["views_7d"] == 1


async def test_an_erasure_between_reading_and_writing_leaves_nothing(client: Redis, store_url: str) -> None:
    class Erasing:
        async def apply(self, entries: Sequence[Collected]) -> None:
            await client.delete(KEYS.of("cus_1").features)
            await client.hset(KEYS.of("cus_1").profile, "!e", f"{NOW_MS + 5_000},era_1")
            await client.hincrby(KEYS.worker(KEYS.shard_of("cus_1")), "erasures", 1)

    await collected(client, [viewed("cus_1", 1)._replace(edges=(Edge("email_sha256", bytes(16)),))])
    counted = await worked_off(store_url, identity=Erasing())
    assert await client.exists(KEYS.of("cus_1").features) == 0
    assert counted == {Results.ERASED: 1}


# Who belongs to whom


class Linking:
    """Takes down what it is told."""

    def __init__(self, *trouble: BaseException | None) -> None:
        self.told: list[int] = []
        self.trouble = list(trouble)

    async def apply(self, entries: Sequence[Collected]) -> None:
        if self.trouble and (error := self.trouble.pop(0)) is not None:
            raise error
        self.told += [int.from_bytes(each.message_id, "big") for each in entries]


EDGES: dict[str, Any] = {"edges": (Edge("user_id", bytes(16)), Edge("anonymous_id", bytes(16)))}


async def test_links_are_told_before_their_events_are_applied_and_repeats_are_not(
    client: Redis, store_url: str
) -> None:
    linking = Linking()
    link = happened("", "cus_1", 1)._replace(**EDGES)
    await collected(client, [link, link, viewed("cus_1", 2), viewed("cus_1", 3)._replace(**EDGES)])
    assert await worked_off(store_url, identity=linking) == {Results.APPLIED: 3, Results.REPEAT: 1}
    assert linking.told == [1, 3]


async def test_while_links_cannot_be_told_nothing_is_applied(client: Redis, store_url: str) -> None:
    linking = Linking(Problem("store_unavailable", "away"))
    await collected(client, [viewed("cus_1", 1)._replace(**EDGES)])
    async with worker_on(store_url, identity=linking) as (worker, counted):
        await worker.tend()
        with pytest.raises(Problem):
            await worker.look()
        assert await all_states(client) == {}
        await worker.tend()  # it forgot what it held, since it could not know
        await work_off(worker)
    assert counted == {Results.APPLIED: 1}


async def test_a_link_that_breaks_those_who_learn_it_is_put_aside_alone(client: Redis, store_url: str) -> None:
    linking = Linking(None, ZeroDivisionError(), ZeroDivisionError(), None)
    await collected(client, [viewed("cus_1", number)._replace(**EDGES) for number in range(2)])
    async with worker_on(store_url, identity=linking) as (worker, counted):
        linking.trouble.pop(0)
        await worker.tend()
        await work_off(worker)
    assert counted == {Results.APPLIED: 1, Results.QUARANTINED: 1}
    assert (await features_in(client, "cus_1"))["views_7d"] == 1


# How far it is


async def test_watermarks_say_until_when_a_type_and_a_shard_are_complete(client: Redis, store_url: str) -> None:
    await collected(client, [viewed("cus_1", 1), viewed("cus_2", 2, NOW_MS - 5)])
    await worked_off(store_url)
    marks = await client.hgetall(CTL_WATERMARKS)
    assert marks[b"e:viewed"] == b"%d" % (NOW_MS + 1_000)
    now_ms = int((await client.time())[0]) * 1000
    assert all(now_ms - 5_000 < int(marks[b"s:%d" % shard]) for shard in range(KEYS.shards))


async def test_a_watermark_is_never_lowered(client: Redis, store_url: str) -> None:
    await client.hset(CTL_WATERMARKS, mapping={"e:viewed": NOW_MS * 2, "s:0": NOW_MS * 3})
    await collected(client, [viewed("cus_1", 1)])
    await worked_off(store_url)
    assert await client.hmget(CTL_WATERMARKS, "e:viewed", "s:0") == [b"%d" % (NOW_MS * 2), b"%d" % (NOW_MS * 3)]


async def test_a_shard_that_is_behind_is_not_called_complete(client: Redis, store_url: str) -> None:
    shard = KEYS.shard_of("cus_1")
    await client.xadd(KEYS.events(shard), {"e": b""}, id="1000-0")
    await collected(client, [viewed("cus_1", number) for number in range(300)])
    async with worker_on(store_url) as (worker, _):
        await worker.tend()
        assert await worker.look()  # there is more
        read_until = int((await client.hget(KEYS.worker(shard), "position")).partition(b"-")[0])
        assert worker.held[shard].applied_until_ms == read_until
        assert all(worker.held[other].applied_until_ms > read_until for other in worker.held if other != shard)
        assert worker.lag_ms < 60_000
        await work_off(worker)
        assert worker.lag_ms == 0


async def test_a_stream_is_trimmed_once_it_is_applied(client: Redis, store_url: str) -> None:
    await collected(client, [viewed("cus_1", number) for number in range(300)])
    async with worker_on(store_url) as (worker, _):
        await worker.tend()
        await worker.look()
        await worker.tend()
        assert len(await left_in(client)) == 300 - 128
        await work_off(worker)
        await worker.tend()
    assert await left_in(client) == []


async def test_what_is_not_archived_is_not_trimmed_where_there_is_an_archive(client: Redis, store_url: str) -> None:
    shard = KEYS.shard_of("cus_1")
    await collected(client, [viewed("cus_1", number) for number in range(3)])
    entries = await client.xrange(KEYS.events(shard))
    await client.hset(KEYS.worker(shard), "archived", entries[1][0])
    await worked_off(store_url)
    assert [each.message_id[-1] for each in await left_in(client)] == [2]


async def test_everything_of_a_worker_expires_but_how_far_it_is(client: Redis, store_url: str) -> None:
    await collected(client, [viewed(f"cus_{number}", number) for number in range(50)])
    await worked_off(store_url)
    left_s = {key: await client.ttl(key) async for key in client.scan_iter("{s*}:[fs]*")}
    assert len(left_s) > 50
    assert all(ttl > 0 for ttl in left_s.values())
    seen = [ttl for key, ttl in left_s.items() if b":seen:" in key]
    assert all(89 * 3600 < ttl <= 90 * 3600 for ttl in seen)


async def test_generations_are_noted_beside_the_position(client: Redis, store_url: str) -> None:
    await collected(client, [viewed("cus_1", number) for number in range(5)])
    await worked_off(store_url)
    raw = await client.hget(KEYS.worker(KEYS.shard_of("cus_1")), "seen")
    (generation,) = unpacked(raw)
    assert (generation.buckets, generation.taken) == (1, 5)


# Sharing


async def test_two_workers_share_the_shards_evenly_and_hand_over_when_one_joins_or_leaves(
    client: Redis, store_url: str
) -> None:
    async with worker_on(store_url, "w1") as (one, _):
        await one.tend()
        assert len(one.held) == 8
        async with worker_on(store_url, "w2") as (two, _):
            await two.tend()  # everything is held
            await one.tend()
            await two.tend()
            assert (len(one.held), len(two.held)) == (4, 4)
            assert not set(one.held) & set(two.held)
            await two.leave()
        await one.tend()
        assert len(one.held) == 8


async def test_events_are_applied_once_while_shards_change_hands(client: Redis, store_url: str) -> None:
    await collected(client, [viewed(f"cus_{number % 30}", number) for number in range(2_000)])
    async with worker_on(store_url, "w1") as (one, mine), worker_on(store_url, "w2") as (two, theirs):
        for step in range(12):
            worker = (one, two)[step % 2]
            await worker.tend()
            await worker.look()
        await work_off(one)
        await work_off(two)
    assert mine[Results.APPLIED] > 0
    assert theirs[Results.APPLIED] > 0
    assert mine + theirs == {Results.APPLIED: 2_000}


async def test_a_shard_that_cannot_be_worked_on_holds_up_no_other(client: Redis, store_url: str) -> None:
    await client.set(KEYS.of("cus_1").features, "what no release wrote")
    await collected(client, [viewed(f"cus_{number}", number) for number in range(40)])
    async with worker_on(store_url) as (worker, counted):
        for _ in range(3):
            await worker.tend()
            with pytest.raises(ReplyError, match="WRONGTYPE"):
                await worker.look()
        of_the_shard = sum(KEYS.shard_of(f"cus_{number}") == KEYS.shard_of("cus_1") for number in range(40))
        assert counted[Results.APPLIED] == 40 - of_the_shard
        await client.delete(KEYS.of("cus_1").features)
        await worker.tend()
        await work_off(worker)
        assert counted[Results.APPLIED] == 40


@pytest.mark.parametrize("step", ["append", "commit"])
async def test_a_step_that_fails_after_others_were_done_is_done_again_and_nothing_counts_twice(
    client: Redis, store_url: str, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loser, winner = "cus_1", other_shard("cus_1")
    await collected(client, [viewed(loser, 1), carrying(loser, winner, NOW_MS), viewed(loser, 2)])

    async def fails(*_: object) -> None:
        raise StoreDown("as when its answer does not come", sent=True)

    async with worker_on(store_url) as (worker, counted):
        await worker.tend()
        with monkeypatch.context() as broken:
            broken.setattr(FoldStore, step, fails)
            with pytest.raises(StoreDown):
                await worker.look()
        assert await client.exists(KEYS.of(loser).features) == 0  # what it was told to hand on is not gone either
        assert counted == {}
        await worker.tend()
        await work_off(worker)
    assert (await features_in(client, winner))["views_7d"] == 2
    assert await client.hgetall(KEYS.of(loser).features) == {b">": winner.encode()}


async def test_a_commit_whose_answer_is_lost_is_not_repeated(
    client: Redis, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await collected(client, [viewed("cus_1", number) for number in range(3)])
    commit = FoldStore.commit

    async def loses_its_answer(self: FoldStore, commits: Any) -> None:
        await commit(self, commits)
        raise StoreDown("the connection ended", sent=True)

    async with worker_on(store_url) as (worker, _):
        await worker.tend()
        with monkeypatch.context() as broken:
            broken.setattr(FoldStore, "commit", loses_its_answer)
            with pytest.raises(StoreDown):
                await worker.look()
        await worker.tend()
        await work_off(worker)
    assert (await features_in(client, "cus_1"))["views_7d"] == 3


async def test_the_clock_of_a_workers_machine_does_not_matter(
    client: Redis, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    true_time = time.time
    async with worker_on(store_url, "w1") as (worker, counted):
        for number, days in enumerate((0, 400, -400)):
            monkeypatch.setattr(time, "time", lambda days=days: true_time() + days * 86_400)
            await collected(client, [viewed("cus_1", number), viewed("cus_1", 0)])
            await worker.tend()
            await work_off(worker)
        assert {held.token for held in worker.held.values()} == {1}
    assert counted == {Results.APPLIED: 3, Results.REPEAT: 3}
    assert 0 < await client.pttl(KEYS.of("cus_1").features) <= KEPT.features_ms


async def test_in_strict_mode_what_goes_to_another_shard_is_on_disk_before_it_leaves_this_one(
    client: Redis, store_url: str
) -> None:
    await skip_without_waitaof(client)
    loser, winner = "cus_1", other_shard("cus_1")
    await collected(client, [viewed(loser, 1), carrying(loser, winner, NOW_MS)])
    await worked_off(store_url, strict=True)
    assert (await features_in(client, winner))["views_7d"] == 1
