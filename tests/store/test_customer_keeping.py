"""How long what is stored of a customer is kept, and what becomes of one who was merged into another."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from app.core.customers import ConsentChange, CustomerWrite
from app.core.identity import Alias
from app.core.keeping import keeping
from app.errors import Problem
from app.store.clients import open_client
from app.store.customer_reads import CustomerReader
from app.store.customers import CustomerStore
from app.store.fields import FieldRegistry, names_of
from app.store.keys import Keys
from app.store.profile_decoder import decode_profile
from policy.bundle import Bundle, Handling
from policy.codes import SuppressionReason
from policy.facts import Facts
from tests.support.customers import BUNDLE, HASH_KEY, RETENTION_S, give_ids

KEYS = Keys(256)
MANUAL = SuppressionReason.MANUAL
SHORT_S = 100
AGING = dataclasses.replace(
    BUNDLE,
    handling={"recency": Handling(delete_s=SHORT_S), "email": Handling(delete_s=SHORT_S)},
)
USER = Alias("user_id", "4711")
MAIL = Alias("email_sha256", "ab" * 32)


@pytest.fixture
async def client(store_url: str) -> AsyncIterator[Redis]:
    opened = open_client(store_url)
    await give_ids(opened)
    yield opened
    await opened.aclose()


def store_on(client: Redis, bundle: Bundle = AGING) -> CustomerStore:
    return CustomerStore(client, KEYS, FieldRegistry(client), HASH_KEY, keeping(bundle))


async def facts_of(client: Redis, customer: str, bundle: Bundle = AGING) -> Facts:
    registry = FieldRegistry(client)
    await registry.ensure(names_of(bundle))
    await registry.refresh()
    seconds, _ = await client.time()
    flat = [part for pair in (await client.hgetall(KEYS.profile(customer))).items() for part in pair]
    return decode_profile(flat, registry, bundle, seconds * 1000, ())


async def backdate(client: Redis, seconds: int) -> None:
    """Make everything that was set seem to have been set so long before."""
    profile = KEYS.profile("c")
    for field, value in (await client.hgetall(profile)).items():
        if field[:1] == b"@":
            await client.hset(profile, field, int(value) - seconds * 1000)


def attributes(**texts: str | None) -> CustomerWrite:
    owners = ("crm",) if any(value is not None for value in texts.values()) else ()
    return CustomerWrite("c", attributes=tuple(texts.items()), owners=owners)


async def test_an_attribute_over_its_time_is_missing_and_goes_with_the_next_write_though_its_owner_writes_on(
    client: Redis,
) -> None:
    store = store_on(client)
    await store.write(attributes(recency="3", history="1.5"))
    await backdate(client, SHORT_S - 10)
    await store.write(attributes(history="2.5"))
    assert (await facts_of(client, "c")).values == {"recency": 3, "history": 2.5, "newbie": 0}
    await backdate(client, 11)
    assert (await facts_of(client, "c")).values == {"history": 2.5, "newbie": 0}
    profile = KEYS.profile("c")
    assert b"3" in (await client.hvals(profile))
    await store.write(CustomerWrite("c", places=(("region", "US"),)))
    assert b"3" not in (await client.hvals(profile))
    assert len([f for f in await client.hkeys(profile) if f[:1] == b"@"]) == 1  # the owner's own


async def test_an_attribute_that_is_set_again_begins_its_time_anew(client: Redis) -> None:
    store = store_on(client)
    await store.write(attributes(recency="3"))
    await backdate(client, SHORT_S + 10)
    await store.write(attributes(recency="4"))
    assert (await facts_of(client, "c")).values["recency"] == 4
    await store.write(attributes(recency=None))
    assert len([f for f in await client.hkeys(KEYS.profile("c")) if f[:1] == b"@"]) == 1


async def test_what_was_set_before_the_bundle_wanted_it_deleted_is_deleted_all_the_same(client: Redis) -> None:
    await store_on(client, BUNDLE).write(attributes(recency="3", history="1.5"))
    await backdate(client, SHORT_S - 50)
    await store_on(client).write(attributes(history="2.5"))  # moves the owner's time, not the attribute's
    assert (await facts_of(client, "c")).values["recency"] == 3
    await backdate(client, 51)
    assert "recency" not in (await facts_of(client, "c")).values
    await store_on(client).write(attributes(history="2.5"))
    assert b"3" not in await client.hvals(KEYS.profile("c"))


async def test_a_bundle_without_deadlines_stores_no_further_times(client: Redis) -> None:
    await store_on(client, BUNDLE).write(attributes(recency="3", history="1.5"))
    assert len([f for f in await client.hkeys(KEYS.profile("c")) if f[:1] == b"@"]) == 1


async def test_a_kind_of_identity_is_forgotten_so_long_after_it_was_last_told(client: Redis) -> None:
    store = store_on(client)
    await store.write(CustomerWrite("c", identities=(USER, MAIL)))
    user, mail = store.aliases.key_of(USER), store.aliases.key_of(MAIL)
    assert SHORT_S - 5 < await client.ttl(mail) <= SHORT_S
    assert await client.ttl(user) > RETENTION_S - 5
    await client.expire(mail, 10)
    await client.expire(KEYS.aliases("c"), RETENTION_S // 2)
    await store.write(CustomerWrite("c", places=(("region", "US"),)))  # not told again
    assert 0 < await client.ttl(mail) <= 10
    await store.write(CustomerWrite("c", identities=(USER,)))
    assert 0 < await client.ttl(mail) <= 10
    await store.write(CustomerWrite("c", identities=(MAIL,)))
    assert SHORT_S - 5 < await client.ttl(mail) <= SHORT_S


async def test_no_identity_of_a_suppressed_customer_is_forgotten(client: Redis) -> None:
    store = store_on(client)
    await store.write(CustomerWrite("c", identities=(MAIL,)))
    mail = store.aliases.key_of(MAIL)
    await store.suppress("c", "*", MANUAL, "desk", None)
    assert await client.ttl(mail) == -1
    await store.write(CustomerWrite("c", identities=(MAIL,)))
    assert await client.ttl(mail) == -1
    await store.lift("c", "*", [MANUAL])
    assert SHORT_S - 5 < await client.ttl(mail) <= SHORT_S


def said(state: str) -> ConsentChange:
    return ConsentChange("marketing", "email", state, "form", "consent", None)  # type: ignore[arg-type]  # a state, as its text


async def merge(client: Redis, loser: str, winner: str) -> None:
    await client.hset(KEYS.profile(loser), "!m", f">{winner}")


async def test_what_is_written_of_a_merged_customer_is_written_of_the_other(client: Redis) -> None:
    store = store_on(client)
    await store.write(CustomerWrite("c", places=(("region", "US"),)))
    await merge(client, "c", "winner")
    before = await client.hgetall(KEYS.profile("c"))

    written = await store.write(CustomerWrite("c", consents=(said("denied"),), identities=(USER,)))
    assert (written.customer, written.applied) == ("winner", (True,))
    assert (await store.suppress("c", "email", MANUAL, "desk", None)).customer == "winner"

    facts = await facts_of(client, "winner")
    assert [entry.state for entry in facts.consent] == ["denied"]
    assert [stop.scope for stop in facts.suppressions] == ["email"]
    assert await store.aliases.customer_of(USER) == "winner"
    assert await client.hgetall(KEYS.profile("c")) == before
    known = await CustomerReader(client, KEYS, FieldRegistry(client)).read("c")
    assert (known.customer, len(known.profile.suppressions)) == ("winner", 1)
    lifted = await store.lift("c", "email", [MANUAL])
    assert (lifted.customer, lifted.left) == ("winner", 0)


async def test_an_identity_that_went_with_the_merge_is_no_conflict(client: Redis) -> None:
    store = store_on(client)
    await store.write(CustomerWrite("winner", identities=(USER,)))
    await merge(client, "c", "winner")
    assert (await store.write(CustomerWrite("c", identities=(USER,)))).customer == "winner"
    with pytest.raises(Problem, match="identity_conflict"):
        await store.write(CustomerWrite("other", identities=(USER,)))


async def test_in_a_batch_each_write_finds_its_own_customer(client: Redis) -> None:
    store = store_on(client)
    await merge(client, "c", "winner")
    writes = [CustomerWrite(name, places=(("region", "US"),)) for name in ("a", "c", "b", "c")]
    results = await store.write_many(writes)
    assert [getattr(result, "customer", result) for result in results] == ["a", "winner", "b", "winner"]


async def test_while_a_second_merge_is_under_way_the_caller_is_asked_to_come_again(client: Redis) -> None:
    store = store_on(client)
    await merge(client, "c", "winner")
    await merge(client, "winner", "last")
    for attempt in (
        store.write(CustomerWrite("c")),
        store.suppress("c", "*", MANUAL, "desk", None),
        store.lift("c", "*", [MANUAL]),
        CustomerReader(client, KEYS, FieldRegistry(client)).read("c"),
    ):
        with pytest.raises(Problem, match="store_unavailable"):
            await attempt


async def test_a_customer_into_whom_another_is_merged_is_written_as_ever(client: Redis) -> None:
    await client.hset(KEYS.profile("c"), "!m", "p")
    store = store_on(client)
    assert (await store.write(CustomerWrite("c", consents=(said("denied"),)))).customer == "c"
    assert (await CustomerReader(client, KEYS, FieldRegistry(client)).read("c")).profile.merge_pending
