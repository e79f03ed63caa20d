"""Two customers become one: what is decided before, in between and after, and whoever dies on the way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest

from app.core.decision.commit import Idempotency
from app.core.decision.ids import parse_id
from app.core.decision.record import decode
from app.core.identity import Alias
from app.core.keeping import keeping
from app.flows.decide import Answered
from app.flows.merge import Merges
from app.store.customer_reads import CustomerReader
from app.store.customers import CustomerStore
from app.store.history import Consented, Merged
from app.store.keys import CTL_MERGES
from app.store.merge import MergeStore
from policy.codes import SuppressionReason
from tests.flows.conftest import Flow
from tests.support.contract import ATTRIBUTES, EVERYTHING_ALLOWED, consent

KNOWN: dict[str, Any] = {"attributes": ATTRIBUTES, "region": "DE", "timezone": "UTC", "consent": EVERYTHING_ALLOWED}
WINNER, LOSER = "cus_w", "cus_l"


class Dies(Exception):
    """The process is gone."""


class Mortal:
    """A store of merges under which the process dies: before or after its step number `at`."""

    def __init__(self, store: MergeStore, at: int, after: bool) -> None:
        self._store = store
        self._at = at
        self._after = after
        self.steps = 0

    def __getattr__(self, name: str) -> Callable[..., Any]:
        async def step(*args: Any, **more: Any) -> Any:
            self.steps += 1
            if self.steps == self._at and not self._after:
                raise Dies
            done = await getattr(self._store, name)(*args, **more)
            if self.steps == self._at:
                raise Dies
            return done

        return step


def store_of(flow: Flow) -> MergeStore:
    services = flow.services
    return MergeStore(services.client, services.keys, services.fields, services.bundle, on_disk_within_ms=0)


def merges_of(flow: Flow) -> Merges:
    return Merges(store_of(flow))


async def merge(flow: Flow, loser: str = LOSER, winner: str = WINNER) -> str:
    return await merges_of(flow).merge(loser, winner, "desk", "ticket 7")


def first(answered: Answered) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(answered.body)["decisions"][0]
    return found


async def sends(flow: Flow, customer: str, placement: str) -> bool:
    return bool(first(await flow.decide(customer, placement))["action"] == "send")


def customers(flow: Flow) -> CustomerStore:
    services = flow.services
    kept = keeping(services.bundle)
    return CustomerStore(services.client, services.keys, services.fields, services.hash_key, kept)


def reader(flow: Flow) -> CustomerReader:
    return CustomerReader(flow.services.client, flow.services.keys, flow.services.fields)


async def know_both(flow: Flow) -> None:
    for customer in (WINNER, LOSER):
        await flow.know(customer, **KNOWN)


async def test_contacts_of_both_count_under_either_key(flow: Flow) -> None:
    await know_both(flow)
    assert await sends(flow, LOSER, "twice")
    assert await sends(flow, WINNER, "twice")
    assert await merge(flow) == WINNER
    assert not await sends(flow, WINNER, "twice")
    assert not await sends(flow, LOSER, "twice")
    assert await sends(flow, LOSER, "thrice")
    assert await flow.services.client.zcard(flow.services.keys.of(WINNER).ledger) == 3


async def test_a_decision_of_a_merged_key_is_the_winner_s(flow: Flow) -> None:
    await know_both(flow)
    await merge(flow)
    answered = await flow.decide(LOSER, "weekly")
    assert orjson.loads(answered.body)["customer"] == answered.customer == WINNER
    keys = flow.services.keys.of(WINNER)
    ((_, entry),) = await flow.services.client.xrange(keys.decisions)
    assert decode(entry[b"r"], flow.services.bundle).asked.customer == WINNER
    decision = parse_id(first(answered)["decision_id"])
    assert decision is not None
    assert decision.shard == keys.shard


async def test_a_decision_in_flight_does_not_commit_to_who_was_merged_meanwhile(flow: Flow) -> None:
    """It is decided again, for the winner, with all that both hold."""
    await know_both(flow)
    assert await sends(flow, WINNER, "once")
    profile, ledger = (flow.services.keys.of(LOSER)[i] for i in (1, 3))

    def happen() -> None:
        flow.before_commit = None
        flow.store.commands(("HSET", profile, "!m", f">{WINNER}"), ("HINCRBY", profile, "!g", 1))

    flow.before_commit = happen
    answered = await flow.decide(LOSER, "weekly", "once")
    decisions = orjson.loads(answered.body)["decisions"]
    assert [each["action"] for each in decisions] == ["send", "suppress"]
    assert answered.customer == WINNER
    assert await flow.services.client.exists(ledger) == 0


async def test_an_idempotency_key_that_the_loser_used_still_gets_the_same_bytes(flow: Flow) -> None:
    await know_both(flow)
    key = Idempotency(b"a" * 32, b"b" * 16)
    before = await flow.decide(LOSER, "once", idempotency=key)
    await merge(flow)
    again = await flow.decide(LOSER, "once", idempotency=key)
    assert (again.body, again.replayed) == (before.body, True)
    new = Idempotency(b"c" * 32, b"b" * 16)
    later = await flow.decide(LOSER, "weekly", idempotency=new)
    assert (await flow.decide(LOSER, "weekly", idempotency=new)).body == later.body


async def test_a_refusal_a_stop_and_a_withdrawal_of_either_hold_for_both(flow: Flow) -> None:
    refusing = {**KNOWN, "consent": [consent("marketing", "denied", channel="email"), consent("personalisation")]}
    await flow.know(WINNER, **KNOWN)
    await flow.know(LOSER, **refusing)
    await merge(flow)
    assert first(await flow.decide(WINNER, "weekly"))["reason"] == "consent_denied"
    await customers(flow).suppress(LOSER, "*", SuppressionReason.MANUAL, "desk", None)
    assert first(await flow.decide(WINNER, "weekly"))["reason"] == "suppressed:manual"


async def test_a_stop_of_the_loser_comes_over_and_never_ends(flow: Flow) -> None:
    await know_both(flow)
    await customers(flow).suppress(LOSER, "email", SuppressionReason.COMPLAINT, "desk", None)
    await merge(flow)
    assert first(await flow.decide(WINNER, "weekly"))["reason"] == "suppressed:complaint"
    keys = flow.services.keys
    for key in (keys.profile(WINNER), keys.profile(LOSER), keys.history(WINNER), keys.aliases(WINNER)):
        assert await flow.services.client.ttl(key) == -1, key


async def test_what_the_winner_lacks_is_filled_and_as_old_as_it_was(flow: Flow) -> None:
    await flow.know(LOSER, attributes={"recency": 60, "mens": 1}, region="DE", timezone="Europe/Berlin", language="de")
    keys, fields, client = flow.services.keys, flow.services.fields, flow.services.client
    owner = b"@" + fields.id_of("o:" + flow.services.bundle.fact_by_name["recency"].owner)
    await client.hset(keys.profile(LOSER), owner, b"1000")
    await flow.know(WINNER, attributes={"recency": 3})
    await merge(flow)
    profile = (await reader(flow).read(WINNER)).profile
    assert (profile.attributes["recency"], profile.attributes["mens"]) == (3, 1)
    assert (profile.region, profile.timezone, profile.language) == ("DE", "Europe/Berlin", "de")
    assert await client.hget(keys.profile(WINNER), owner) == b"1000"


async def test_a_winner_who_has_all_that_the_loser_has_stays_as_fresh_as_it_is(flow: Flow) -> None:
    await flow.know(LOSER, attributes={"recency": 60})
    keys, fields, client = flow.services.keys, flow.services.fields, flow.services.client
    owner = b"@" + fields.id_of("o:" + flow.services.bundle.fact_by_name["recency"].owner)
    await client.hset(keys.profile(LOSER), owner, b"1000")
    await flow.know(WINNER, attributes={"recency": 3})
    before = await client.hget(keys.profile(WINNER), owner)
    await merge(flow)
    assert await client.hget(keys.profile(WINNER), owner) == before


async def test_the_history_says_who_merged_whom_and_what_came_with_it(flow: Flow) -> None:
    await flow.know(WINNER, region="DE")
    await flow.know(LOSER, **KNOWN)
    await merge(flow)
    changes = [change for change in await reader(flow).history(WINNER) if change.who == "desk"]
    assert {change.why for change in changes} == {"ticket 7"}
    assert [change.what for change in changes if isinstance(change.what, Merged)] == [Merged(LOSER)]
    came = {change.what.entry.purpose for change in changes if isinstance(change.what, Consented)}
    assert came == {"marketing", "personalisation"}
    for customer in (LOSER, WINNER):
        assert {change.customer for change in await reader(flow).history(customer)} == {WINNER, LOSER}


async def test_an_alias_of_the_loser_is_the_winner_s(flow: Flow) -> None:
    await flow.know(WINNER, **KNOWN)
    await flow.know(LOSER, **KNOWN, identities={"anonymous_id": "a visitor"})
    await merge(flow)
    alias = Alias("anonymous_id", "a visitor")
    assert await customers(flow).aliases.customer_of(alias) == WINNER
    answered = await flow.decide(alias, "weekly")
    assert answered.customer == WINNER


async def test_pointers_stay_one_deep(flow: Flow) -> None:
    await know_both(flow)
    for customer in ("cus_a", "cus_x"):
        await flow.know(customer, **KNOWN)
    await merge(flow, "cus_a", LOSER)
    await merge(flow, LOSER, WINNER)
    assert await store_of(flow).became("cus_a") == WINNER
    assert await merge(flow, "cus_x", "cus_a") == WINNER, "who is merged into one that was merged goes to that one"
    assert await store_of(flow).became("cus_x") == WINNER
    assert await merge(flow, WINNER, "cus_a") == WINNER, "they are one already"
    assert (await reader(flow).read(WINNER)).profile.merge_pending is False
    assert await sends(flow, "cus_a", "once")
    assert not await sends(flow, "cus_x", "once")


async def test_while_it_is_under_way_marketing_waits_and_receipts_do_not(flow: Flow) -> None:
    await know_both(flow)
    store = store_of(flow)
    under_way = await store.begin(LOSER, WINNER, "desk", "")
    assert under_way is not None
    await store.expect(under_way)
    waiting = first(await flow.decide(WINNER, "weekly"))
    assert (waiting["reason"], waiting["retryable"]) == ("merge_pending", True)
    assert await sends(flow, WINNER, "receipt")
    left = await store.leave(under_way)
    assert left is not None
    assert first(await flow.decide(LOSER, "weekly"))["reason"] == "merge_pending"
    await store.unite(under_way, left)
    assert first(await flow.decide(LOSER, "weekly"))["reason"] == "merge_pending"
    await merge(flow)
    assert await sends(flow, WINNER, "weekly")


async def test_merges_that_would_make_a_circle_or_a_chain_wait_for_each_other(flow: Flow) -> None:
    await know_both(flow)
    store = store_of(flow)
    assert await store.begin(LOSER, WINNER, "desk", "") is not None
    assert await store.begin(WINNER, LOSER, "desk", "") is None, "a circle"
    assert await store.begin(LOSER, "cus_x", "desk", "") is None, "two winners"
    assert await store.begin(WINNER, "cus_x", "desk", "") is None, "a chain"
    assert await store.begin("cus_x", LOSER, "desk", "") is None, "a chain"
    assert await store.begin("cus_x", WINNER, "desk", "") is not None, "one winner of two"
    assert await merges_of(flow).finish_what_was_left(0) == 2
    assert {await store.became(each) for each in (LOSER, "cus_x")} == {WINNER}


@pytest.fixture
async def undisturbed(flow: Flow) -> dict[bytes, Any]:
    """What is in the store after a merge in which nobody died."""
    await prepared(flow)
    await merge(flow)
    return await contents(flow)


async def prepared(flow: Flow) -> None:
    client = flow.services.client
    of_customers = [key async for key in client.scan_iter(count=1000) if key.startswith((b"{s", b"id:"))]
    if of_customers:
        await client.delete(*of_customers)
    refusing = [consent("marketing"), consent("marketing", "denied", channel="sms"), consent("personalisation")]
    await flow.know(WINNER, **KNOWN)
    await flow.know(LOSER, **{**KNOWN, "consent": refusing}, identities={"external": "x"})
    await flow.know("cus_a", **KNOWN)
    await merge(flow, "cus_a", LOSER)
    for customer, placement in ((WINNER, "twice"), (LOSER, "twice"), (LOSER, "once")):
        assert await sends(flow, customer, placement)


async def contents(flow: Flow) -> dict[bytes, Any]:
    """All about customers but times and versions, which differ from run to run; of ledgers the numbers of contacts."""
    client, found = flow.services.client, {}
    async for key in client.scan_iter(b"*", count=1000):
        match await client.type(key):
            case b"hash" if b":p:" in key:
                profile = await client.hgetall(key)
                found[key] = {
                    f: v for f, v in profile.items() if f[:2] not in (b"!g", b"!l", b"!u", b"!t") and f[:1] != b"@"
                }
            case b"hash" if b":m:" in key:
                found[key] = {f: v[-1:] for f, v in (await client.hgetall(key)).items()}
            case b"zset":
                found[key] = await client.zcard(key)
            case b"set":
                found[key] = await client.smembers(key)
            case b"string" if key.startswith(b"id:"):
                found[key] = await client.get(key)
            case b"list" if b":h:" in key:
                found[key] = await client.llen(key)
    found[CTL_MERGES] = await client.hgetall(CTL_MERGES)
    return found


STEPS = 11  # two look-ups, begin, expect, leave, unite, repoint, settle, strip, end: one more is never reached


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("at", range(1, STEPS))
async def test_whoever_dies_at_any_step_leaves_what_another_finishes(
    flow: Flow, undisturbed: dict[bytes, Any], at: int, after: bool
) -> None:
    await prepared(flow)
    mortal = Mortal(store_of(flow), at, after)
    with pytest.raises(Dies):
        await Merges(mortal).merge(LOSER, WINNER, "desk", "ticket 7")  # type: ignore[arg-type]  # a stand-in
    # Whatever is asked now, two of two are not exceeded over both.
    if await store_of(flow).became(LOSER) == WINNER:
        assert not await sends(flow, WINNER, "twice")
        assert not await sends(flow, LOSER, "twice")
    left = await merges_of(flow).finish_what_was_left(0)
    if not left:  # it was not begun, or it was over
        await merge(flow)
    assert await contents(flow) == undisturbed
    assert not await sends(flow, LOSER, "twice")
    assert await merges_of(flow).finish_what_was_left(0) == 0


async def test_a_winner_of_two_waits_until_the_last_is_done(flow: Flow) -> None:
    await know_both(flow)
    await flow.know("cus_x", **{**KNOWN, "consent": [consent("marketing", "denied"), consent("personalisation")]})
    store = store_of(flow)
    slow = await store.begin("cus_x", WINNER, "desk", "")
    assert slow is not None
    await store.expect(slow)
    await store.leave(slow)
    await merge(flow)
    assert first(await flow.decide(WINNER, "weekly"))["reason"] == "merge_pending"
    await merge(flow, "cus_x")
    assert first(await flow.decide(WINNER, "weekly"))["reason"] == "consent_denied"


async def test_a_merge_that_is_being_done_is_not_taken_up_by_others(flow: Flow) -> None:
    await know_both(flow)
    store = store_of(flow)
    await store.begin(LOSER, WINNER, "desk", "")
    assert await merges_of(flow).finish_what_was_left() == 0
    assert await merges_of(flow).finish_what_was_left(0) == 1


@pytest.mark.parametrize("at", range(3, STEPS))
async def test_a_process_that_sleeps_through_the_end_of_a_merge_changes_nothing_when_it_wakes(
    flow: Flow, at: int
) -> None:
    """It had taken up the merge, and stood before one of its steps, while another finished it; and meanwhile the
    customer allowed what the loser had refused, and the winner became another one."""
    await prepared(flow)
    asleep = Asleep(store_of(flow), at)
    merging = Merges(asleep)  # type: ignore[arg-type]  # a stand-in
    asleep.meanwhile = lambda: finish_and_go_on(flow)
    assert await merging.merge(LOSER, WINNER, "desk", "ticket 7") in (WINNER, "cus_y")
    profile = (await reader(flow).read(WINNER)).profile
    assert not profile.merge_pending
    states = {(each.purpose, each.channel): each.state for each in profile.consent}
    assert states["marketing", "sms"] == "granted"
    assert await merges_of(flow).finish_what_was_left(0) == 0


async def finish_and_go_on(flow: Flow) -> None:
    await merge(flow)
    change = {"consent": [{**consent("marketing", channel="sms"), "at": "2026-06-01T00:00:00Z"}]}
    await flow.know(WINNER, **change)
    await flow.know("cus_y", **KNOWN)
    await merge(flow, WINNER, "cus_y")


class Asleep:
    """A store of merges whose process sleeps before step number `at`, while other things happen."""

    def __init__(self, store: MergeStore, at: int) -> None:
        self._store = store
        self._left = at
        self.meanwhile: Callable[[], Any] | None = None

    def __getattr__(self, name: str) -> Callable[..., Any]:
        async def step(*args: Any, **more: Any) -> Any:
            self._left -= 1
            if self._left == 0 and self.meanwhile is not None:
                await self.meanwhile()
            return await getattr(self._store, name)(*args, **more)

        return step
