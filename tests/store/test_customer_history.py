"""What changed about a customer, when, by whom and why: kept with every write that changes consent, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from app.core.customers import ConsentChange, CustomerWrite
from app.core.keeping import keeping
from app.errors import Problem
from app.store.clients import open_client
from app.store.customer_reads import CustomerReader
from app.store.customers import CustomerStore
from app.store.fields import FieldRegistry
from app.store.history import Change, Consented, Merged, Moved, Suppressed, Unsuppressed
from app.store.keys import Keys
from policy.codes import SuppressionReason
from policy.facts import Suppression
from tests.support.customers import BUNDLE, HASH_KEY, RETENTION_S, give_ids

KEYS = Keys(256)
HISTORY = KEYS.history("c")
MANUAL = SuppressionReason.MANUAL


@pytest.fixture
async def client(store_url: str) -> AsyncIterator[Redis]:
    opened = open_client(store_url)
    await give_ids(opened)
    yield opened
    await opened.aclose()


def store_on(client: Redis, who: str = "loopback") -> CustomerStore:
    return CustomerStore(client, KEYS, FieldRegistry(client), HASH_KEY, keeping(BUNDLE), who=who)


async def history_of(client: Redis, customer: str = "c") -> list[Change]:
    return await CustomerReader(client, KEYS, FieldRegistry(client)).history(customer)


def said(state: str, at_ms: int | None, channel: str = "email", expires_ms: int | None = None) -> ConsentChange:
    return ConsentChange("marketing", channel, state, "form", "consent", at_ms, expires_ms)  # type: ignore[arg-type]  # a state, as its text


def consents(*changes: ConsentChange, why: str | None = None) -> CustomerWrite:
    return CustomerWrite("c", consents=changes, why=why)


def seen(changes: Sequence[Change]) -> list[tuple[str, bool]]:
    return [(c.what.entry.state, c.what.superseded) for c in changes if isinstance(c.what, Consented)]


async def test_a_consent_is_kept_with_who_and_why_and_when_it_was_taken_down(client: Redis) -> None:
    written = await store_on(client, "key_1").write(consents(said("granted", 1_000, expires_ms=9_000), why="ticket 7"))
    (change,) = await history_of(client)
    assert (change.customer, change.who, change.why, change.recorded_ms) == ("c", "key_1", "ticket 7", written.at_ms)
    assert isinstance(change.what, Consented)
    entry = change.what.entry
    assert (entry.purpose, entry.channel, entry.state, entry.basis, entry.source) == (
        "marketing", "email", "granted", "consent", "form"
    )  # fmt: skip
    assert (entry.at_ms, entry.expires_ms, change.what.superseded) == (1_000, 9_000, False)


async def test_the_newest_change_comes_first_and_those_of_one_write_are_one_entry(client: Redis) -> None:
    store = store_on(client)
    await store.write(
        CustomerWrite("c", places=(("region", "US"),), consents=(said("granted", 1), said("granted", 1, "push")))
    )
    await store.write(consents(said("denied", None)))
    changes = await history_of(client)
    assert [type(change.what) for change in changes] == [Consented, Moved, Consented, Consented]
    assert seen(changes)[0] == ("denied", False)
    assert await client.llen(HISTORY) == 2


async def test_a_reason_may_hold_any_text(client: Redis) -> None:
    await store_on(client).write(consents(said("granted", 1), why="spring  fair; c1.2=gx ü"))
    assert [change.why for change in await history_of(client)] == ["spring  fair; c1.2=gx ü"]


async def test_what_changes_nothing_leaves_no_trace(client: Redis) -> None:
    store = store_on(client)
    write = CustomerWrite("c", places=(("region", "US"),), consents=(said("granted", 1_000),))
    await store.write(write)
    await store.write(write)
    await store.write(CustomerWrite("c", attributes=(("recency", "3"),), owners=("crm",), places=(("language", "en"),)))
    await store.suppress("c", "*", MANUAL, "desk", None)
    await store.suppress("c", "*", MANUAL, "desk", None)
    await store.lift("c", "push", [MANUAL])
    assert await client.llen(HISTORY) == 2


async def test_a_consent_that_came_too_late_is_kept_as_superseded_once(client: Redis) -> None:
    store = store_on(client)
    await store.write(consents(said("denied", None)))
    for _ in range(3):  # the same import, night after night
        await store.write(consents(said("granted", 1_000), said("granted", 1_000, "push")))
        await store.write(consents(said("granted", 2_000)))
    changes = await history_of(client)
    assert sorted(seen(changes)) == sorted(
        [("denied", False), ("granted", True), ("granted", False), ("granted", True)]
    )


async def test_suppressions_set_and_lifted_are_kept(client: Redis) -> None:
    store = store_on(client, "key_1")
    await store.suppress("c", "email", MANUAL, "desk", 5_000, "ticket 1")
    await store.lift("c", "email", [MANUAL, SuppressionReason.COMPLAINT], "ticket 2")
    lifted, suppressed = await history_of(client)
    assert lifted[2:] == ("key_1", "ticket 2", Unsuppressed("email", "manual"))
    assert suppressed[2:] == ("key_1", "ticket 1", Suppressed(Suppression("email", MANUAL, 5_000), "desk"))


async def test_another_region_is_another_law_and_so_kept(client: Redis) -> None:
    store = store_on(client)
    for region in ("US-CA", "US-CA", "DE", None, None):
        await store.write(CustomerWrite("c", places=(("region", region), ("timezone", "Europe/Berlin"))))
    assert [change.what for change in await history_of(client)] == [Moved(None), Moved("DE"), Moved("US-CA")]


async def test_a_write_that_is_refused_leaves_no_history(client: Redis) -> None:
    (now, _) = await client.time()
    with pytest.raises(Problem, match="future_time"):
        await store_on(client).write(consents(said("granted", 1), said("granted", (now + 60) * 1000, "push")))
    assert not await client.exists(HISTORY)


async def test_history_lives_as_long_as_the_profile(client: Redis) -> None:
    store = store_on(client)
    await store.write(consents(said("granted", 1)))
    await client.expire(HISTORY, 5)
    await store.write(CustomerWrite("c"))
    assert RETENTION_S - 5 < await client.ttl(HISTORY) <= RETENTION_S
    await store.suppress("c", "*", MANUAL, "desk", None)
    assert await client.ttl(HISTORY) == -1
    await store.write(consents(said("denied", None)))
    assert await client.ttl(HISTORY) == -1
    await store.lift("c", "*", [MANUAL])
    assert 0 < await client.ttl(HISTORY) <= RETENTION_S


async def test_the_first_thing_known_of_a_customer_may_be_a_suppression(client: Redis) -> None:
    await store_on(client).suppress("c", "*", MANUAL, "desk", None)
    assert await client.ttl(HISTORY) == -1
    assert len(await history_of(client)) == 1


async def test_beyond_a_thousand_entries_the_oldest_goes_that_is_no_suppression(client: Redis) -> None:
    store = store_on(client)
    await store.suppress("c", "*", MANUAL, "desk", 1)
    await store.lift("c", "*", [MANUAL])
    await store.write(CustomerWrite("c", places=(("region", "US-CA"),), why="not ;-about one"))
    await store.write_many([consents(said("granted", at_ms)) for at_ms in range(1, 998)])
    assert len(await history_of(client)) == 1_000
    await store.write(consents(said("granted", 999)))
    changes = await history_of(client)
    assert len(changes) == 1_000
    assert [type(change.what) for change in changes[-3:]] == [Consented, Unsuppressed, Suppressed]
    assert not any(isinstance(change.what, Moved) for change in changes)


async def test_an_entry_of_typical_length_is_stored_compactly(client: Redis) -> None:
    write = CustomerWrite("c", places=(("region", "US"),), consents=(said("granted", 1_767_225_600_000),) * 1)
    await store_on(client).write(write)
    (entry,) = await client.lrange(HISTORY, 0, -1)
    assert len(entry) < 50
    assert await client.memory_usage(HISTORY) < 250


async def test_nobody_has_a_history_of_whom_nothing_was_written(client: Redis) -> None:
    with pytest.raises(Problem, match="unknown_customer"):
        await history_of(client, "nobody")
    await store_on(client).write(CustomerWrite("c", attributes=(("recency", "3"),), owners=("crm",)))
    assert await history_of(client) == []


async def test_a_customer_who_was_merged_has_the_history_of_both(client: Redis) -> None:
    store = store_on(client)
    await store.write(consents(said("granted", 1)))
    await client.hset(KEYS.profile("c"), "!m", ">winner")
    await store.suppress("winner", "*", MANUAL, "desk", None)
    registry = FieldRegistry(client)
    await registry.ensure(["w:loopback"])
    await client.rpush(KEYS.history("winner"), b"99999999999999 " + registry.id_of("w:loopback") + b" mc")
    changes = await history_of(client)
    assert [(change.customer, type(change.what)) for change in changes] == [
        ("winner", Merged), ("winner", Suppressed), ("c", Consented)
    ]  # fmt: skip


STATES = st.sampled_from(["granted", "denied"])
ENDS = st.sampled_from([None, 10, 20, 9_999_999_999_999])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(STATES, st.integers(1, 3), ENDS), min_size=1, max_size=8),
    st.randoms(use_true_random=False),
)
async def test_consents_with_ends_end_the_same_in_whatever_order_they_come_and_history_tells_how(
    store_url: str, entries: list[tuple[str, int, int | None]], order: object
) -> None:
    """The later time wins; at one time a refusal; of two grants the one that ends first, of two refusals the last. What
    is in force is the last change in the history that is not superseded."""

    def strictness(entry: tuple[str, int, int | None]) -> tuple[int, bool, float]:
        state, at_ms, expires_ms = entry
        end = float("inf") if expires_ms is None else float(expires_ms)
        return at_ms, state == "denied", end if state == "denied" else -end

    shuffled = sorted(entries, key=lambda _: order.random())  # type: ignore[attr-defined]  # Hypothesis gives a Random
    async with open_client(store_url) as client:
        await give_ids(client)
        await client.delete(KEYS.profile("c"), HISTORY)
        store = store_on(client)
        await asyncio.gather(*(store.write(consents(said(s, at, expires_ms=end))) for s, at, end in shuffled))
        known = await CustomerReader(client, KEYS, FieldRegistry(client)).read("c")
        changes = await history_of(client)

    (entry,) = known.profile.consent
    assert (entry.state, entry.at_ms, entry.expires_ms) == max(entries, key=strictness)
    told = [change.what for change in changes if isinstance(change.what, Consented)]
    assert next(each.entry for each in told if not each.superseded) == entry
    assert {(e.entry.state, e.entry.at_ms, e.entry.expires_ms) for e in told} == set(entries)
