"""Writes of customers, on a real store: what is merged, what wins, what is refused, and what is left behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from app.core.customers import ConsentChange, CustomerWrite
from app.core.identity import Alias
from app.core.keeping import keeping
from app.errors import Problem
from app.store.clients import open_client
from app.store.customer_reads import CustomerReader
from app.store.customers import CustomerStore, Written
from app.store.deployment import ShardsDiffer, claim_shards, shared_hash_key
from app.store.fields import FieldRegistry, names_of
from app.store.keys import CTL_FIELDS, Keys
from app.store.profile_decoder import decode_profile
from policy.codes import SuppressionReason
from policy.facts import Facts
from tests.support.customers import BUNDLE, HASH_KEY, RETENTION_S, give_ids
from tests.support.valkey import StartStore, skip_without_waitaof

KEYS = Keys(256)
DIGEST = "ab" * 32


@pytest.fixture
async def client(store_url: str) -> AsyncIterator[Redis]:
    opened = open_client(store_url)
    await give_ids(opened)
    yield opened
    await opened.aclose()


def store_on(client: Redis, *, strict: bool = False) -> CustomerStore:
    return CustomerStore(client, KEYS, FieldRegistry(client), HASH_KEY, keeping(BUNDLE), strict=strict)


def reader_on(client: Redis) -> CustomerReader:
    return CustomerReader(client, KEYS, FieldRegistry(client))


async def facts_of(client: Redis, customer: str) -> Facts:
    """As a decision on another node would read them."""
    registry = FieldRegistry(client)
    await registry.ensure(names_of(BUNDLE))
    await registry.refresh()
    flat = [part for pair in (await client.hgetall(KEYS.profile(customer))).items() for part in pair]
    return decode_profile(flat, registry, BUNDLE, 0, ())


def said(state: str, at_ms: int | None, channel: str = "email", source: str = "form") -> ConsentChange:
    return ConsentChange("marketing", channel, state, source, "consent", at_ms)  # type: ignore[arg-type]  # a state, as its text


def consents(*changes: ConsentChange) -> CustomerWrite:
    return CustomerWrite("c", consents=changes)


async def now_ms(client: Redis) -> int:
    seconds, micros = await client.time()
    return seconds * 1000 + micros // 1000


async def test_a_write_is_merged_member_by_member_and_null_deletes(client: Redis) -> None:
    store = store_on(client)
    await store.write(
        CustomerWrite(
            "c",
            attributes=(("recency", "3"), ("history", "1.5")),
            owners=("crm",),
            places=(("region", "US"), ("timezone", "America/New_York"), ("language", "en")),
        )
    )
    await store.write(CustomerWrite("c", attributes=(("recency", None), ("newbie", "1")), places=(("timezone", None),)))

    facts = await facts_of(client, "c")

    assert facts.values == {"history": 1.5, "newbie": 1}
    assert (facts.region, facts.timezone, facts.language) == ("US", None, "en")
    assert abs(facts.as_of_ms["crm"] - await now_ms(client)) < 5_000


async def test_attributes_and_language_do_not_move_the_general_version(client: Redis) -> None:
    store = store_on(client)
    first = await store.write(consents(said("granted", 1_000)))
    after = await store.write(
        CustomerWrite("c", attributes=(("recency", "3"),), owners=("crm",), places=(("language", "en"),))
    )
    assert first.general_version == after.general_version == 1


@pytest.mark.parametrize(
    "write",
    [
        consents(said("denied", 2_000)),
        CustomerWrite("c", places=(("region", "DE"),)),
        CustomerWrite("c", places=(("timezone", "Europe/Berlin"),)),
        CustomerWrite("c", preferences=(("frequency", '"weekly"'),)),
    ],
)
async def test_what_decides_about_contact_moves_the_general_version_when_it_changes(
    client: Redis, write: CustomerWrite
) -> None:
    store = store_on(client)
    assert (await store.write(write)).general_version == 1
    assert (await store.write(write)).general_version == 1
    deleted = CustomerWrite(
        "c",
        places=tuple((place, None) for place, _ in write.places),
        preferences=tuple((name, None) for name, _ in write.preferences),
    )
    if not write.consents:
        assert (await store.write(deleted)).general_version == 2
        assert (await store.write(deleted)).general_version == 2


async def test_an_old_import_never_undoes_a_withdrawal(client: Redis) -> None:
    store = store_on(client)
    await store.write(consents(said("denied", None)))
    written = await store.write(consents(said("granted", 1_000)))
    assert written.applied == (False,)
    assert (await facts_of(client, "c")).consent[0].state == "denied"


async def test_at_the_same_time_the_stricter_state_wins_in_either_order(client: Redis) -> None:
    store = store_on(client)
    await store.write(consents(said("granted", 1_000), said("denied", 1_000)))
    await store.write(consents(said("denied", 1_000, "push"), said("granted", 1_000, "push")))
    facts = await facts_of(client, "c")
    assert {entry.channel: entry.state for entry in facts.consent} == {"email": "denied", "push": "denied"}


async def test_a_consent_repeated_counts_as_applied_and_changes_nothing(client: Redis) -> None:
    store = store_on(client)
    first = await store.write(consents(said("granted", 1_000)))
    again = await store.write(consents(said("granted", 1_000)))
    assert again.applied == (True,)
    assert again.general_version == first.general_version


async def test_a_withdrawal_now_wins_over_a_grant_dated_a_little_ahead(client: Redis) -> None:
    store = store_on(client)
    await store.write(consents(said("granted", await now_ms(client) + 4_000)))
    assert (await facts_of(client, "c")).consent[0].at_ms <= await now_ms(client)
    await store.write(consents(said("denied", None)))
    assert (await facts_of(client, "c")).consent[0].state == "denied"


async def test_a_withdrawal_now_wins_after_the_store_clock_was_set_back(client: Redis) -> None:
    store = store_on(client)
    await store.write(consents(said("granted", 1_000)))
    (field,) = [f for f in await client.hkeys(KEYS.profile("c")) if b"." in f]
    value = await client.hget(KEYS.profile("c"), field)
    ahead = await now_ms(client) + 3_600_000
    await client.hset(KEYS.profile("c"), field, value.rpartition(b",")[0] + b",%d" % ahead)
    written = await store.write(consents(said("denied", None)))
    assert written.applied == (True,)
    assert (await facts_of(client, "c")).consent[0].state == "denied"


async def test_a_consent_of_the_future_is_refused_and_nothing_of_its_write_is_stored(client: Redis) -> None:
    store = store_on(client)
    future = said("granted", await now_ms(client) + 60_000, "push")
    write = CustomerWrite("c", places=(("region", "US"),), consents=(said("granted", 1), future))
    with pytest.raises(Problem, match="future_time"):
        await store.write(write)
    assert not await client.exists(KEYS.profile("c"))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.sampled_from(["granted", "denied"]), st.integers(1, 4), st.sampled_from(["email", "*"])),
        min_size=1,
        max_size=8,
    ),
    st.randoms(use_true_random=False),
)
async def test_consents_end_the_same_in_whatever_order_they_arrive(
    store_url: str, entries: list[tuple[str, int, str]], order: object
) -> None:
    """The later time wins, ties go to denied: so the winner of each channel is the greatest (time, denied)."""
    shuffled = sorted(entries, key=lambda _: order.random())  # type: ignore[attr-defined]  # Hypothesis gives a Random
    async with open_client(store_url) as client:
        await give_ids(client)
        await client.delete(KEYS.profile("c"))
        store = store_on(client)
        await asyncio.gather(*(store.write(consents(said(state, at, channel))) for state, at, channel in shuffled))
        found = {(entry.channel, entry.at_ms, entry.state) for entry in (await facts_of(client, "c")).consent}

    expected = {}
    for state, at, channel in entries:
        expected[channel] = max(expected.get(channel, (0, False)), (at, state == "denied"))
    assert found == {(ch, at, "denied" if denied else "granted") for ch, (at, denied) in expected.items()}


async def test_a_profile_lives_for_its_retention_after_the_last_write(client: Redis) -> None:
    store = store_on(client)
    await store.write(consents(said("granted", 1)))
    await client.expire(KEYS.profile("c"), 5)
    await store.write(CustomerWrite("c"))
    assert await client.ttl(KEYS.profile("c")) > RETENTION_S - 5


async def test_a_suppression_has_no_end_and_no_grant_lifts_it(client: Redis) -> None:
    store = store_on(client)
    await store.write(CustomerWrite("c"))
    await store.suppress("c", "email", SuppressionReason.COMPLAINT, "esp", None)
    assert await client.ttl(KEYS.profile("c")) == -1
    await store.write(consents(said("granted", None)))
    assert await client.ttl(KEYS.profile("c")) == -1
    assert [stop.reason for stop in (await facts_of(client, "c")).suppressions] == [SuppressionReason.COMPLAINT]


async def test_a_suppression_moves_the_general_version_once(client: Redis) -> None:
    store = store_on(client)
    first = await store.suppress("c", "*", SuppressionReason.MANUAL, "desk", None)
    again = await store.suppress("c", "*", SuppressionReason.MANUAL, "desk", None)
    assert first.general_version == again.general_version == 1
    facts = await facts_of(client, "c")
    assert facts.exists
    assert abs(facts.suppressions[0].at_ms - await now_ms(client)) < 5_000


async def test_when_the_last_suppression_is_lifted_the_profile_has_an_end_again(client: Redis) -> None:
    store = store_on(client)
    for scope, reason in [("*", SuppressionReason.MANUAL), ("email", SuppressionReason.HARD_BOUNCE)]:
        await store.suppress("c", scope, reason, "desk", None)
    await store.suppress("c", "*", SuppressionReason.MANUAL, "desk", None)

    lifted = await store.lift("c", "*", list(SuppressionReason))
    assert (lifted.reasons, lifted.left) == ((SuppressionReason.MANUAL,), 1)
    assert await client.ttl(KEYS.profile("c")) == -1

    lifted = await store.lift("c", "email", [SuppressionReason.HARD_BOUNCE])
    assert (lifted.left, lifted.general_version) == (0, 4)
    assert 0 < await client.ttl(KEYS.profile("c")) <= RETENTION_S
    assert (await facts_of(client, "c")).suppressions == ()


async def test_a_suppression_of_the_future_is_refused(client: Redis) -> None:
    with pytest.raises(Problem, match="future_time"):
        await store_on(client).suppress("c", "*", SuppressionReason.MANUAL, "desk", await now_ms(client) + 60_000)
    assert not await client.exists(KEYS.profile("c"))


async def test_suppressions_of_an_unknown_customer_cannot_be_lifted(client: Redis) -> None:
    with pytest.raises(Problem, match="unknown_customer"):
        await store_on(client).lift("nobody", "*", list(SuppressionReason))


USER = Alias("user_id", "4711")
MAIL = Alias("email_sha256", DIGEST)


async def test_an_alias_leads_to_its_customer_and_is_not_stored_in_clear(client: Redis) -> None:
    store = store_on(client)
    await store.write(CustomerWrite("c", identities=(USER, MAIL)))
    assert await store.aliases.customer_of(USER) == "c"
    assert await store.aliases.customer_of(MAIL) == "c"
    assert not [key for key in await client.keys() if b"4711" in key or DIGEST.encode() in key]


async def test_no_alias_is_hashed_before_the_hash_key_is_known(client: Redis) -> None:
    store = CustomerStore(client, KEYS, FieldRegistry(client), b"", keeping(BUNDLE))
    with pytest.raises(Problem, match="store_unavailable"):
        await store.write(CustomerWrite("c", identities=(USER,)))
    assert not await client.keys("id:*")
    assert (await store.write(consents(said("denied", None)))).applied == (True,)


async def test_an_alias_of_another_customer_is_a_conflict_and_links_nothing(client: Redis) -> None:
    store = store_on(client)
    await store.write(CustomerWrite("c", identities=(USER,)))
    with pytest.raises(Problem, match="identity_conflict"):
        await store.write(CustomerWrite("other", places=(("region", "US"),), identities=(MAIL, USER)))
    assert await store.aliases.customer_of(MAIL) is None
    assert await store.aliases.customer_of(USER) == "c"
    assert not await client.exists(KEYS.profile("other"))


async def test_a_refused_write_gives_its_aliases_back(client: Redis) -> None:
    store = store_on(client)
    future = said("granted", await now_ms(client) + 60_000)
    with pytest.raises(Problem, match="future_time"):
        await store.write(CustomerWrite("c", consents=(future,), identities=(USER,)))
    assert await store.aliases.customer_of(USER) is None


async def test_of_two_customers_who_claim_an_alias_at_once_one_gets_it(client: Redis) -> None:
    store = store_on(client)
    writes = [CustomerWrite(f"c{i}", identities=(USER,)) for i in range(8)]
    results = await asyncio.gather(*(store.write(write) for write in writes), return_exceptions=True)
    winners = [result.customer for result in results if isinstance(result, Written)]
    assert winners == [await store.aliases.customer_of(USER)]
    assert all(isinstance(result, Problem) for result in results if not isinstance(result, Written))


async def test_aliases_live_as_long_as_the_profile(client: Redis) -> None:
    store = store_on(client)
    await store.write(CustomerWrite("c", identities=(USER,)))
    key = store.aliases.key_of(USER)
    assert await client.ttl(key) > RETENTION_S - 5
    for aged in (key, KEYS.aliases("c")):
        await client.expire(aged, RETENTION_S // 2)
    await store.write(CustomerWrite("c"))
    assert await client.ttl(key) > RETENTION_S - 5
    assert await client.ttl(KEYS.aliases("c")) > RETENTION_S - 5


async def test_aliases_of_a_suppressed_customer_have_no_end(client: Redis) -> None:
    store = store_on(client)
    await store.write(CustomerWrite("c", identities=(USER,)))
    await store.suppress("c", "*", SuppressionReason.MANUAL, "desk", None)
    assert await client.ttl(store.aliases.key_of(USER)) == -1
    assert await client.ttl(KEYS.aliases("c")) == -1
    await store.write(CustomerWrite("c", identities=(MAIL,)))
    assert await client.ttl(store.aliases.key_of(USER)) == -1
    assert await client.ttl(store.aliases.key_of(MAIL)) == -1
    await store.lift("c", "*", list(SuppressionReason))
    assert 0 < await client.ttl(store.aliases.key_of(USER)) <= RETENTION_S


async def test_one_refused_write_does_not_hold_up_the_others(client: Redis) -> None:
    store = store_on(client)
    await store.write(CustomerWrite("c", identities=(USER,)))
    results = await store.write_many(
        [
            CustomerWrite("a", places=(("region", "US"),)),
            CustomerWrite("b", identities=(USER,)),
            CustomerWrite("d", consents=(said("granted", await now_ms(client) + 60_000),)),
            CustomerWrite("e", places=(("region", "DE"),)),
        ]
    )
    kinds = [result.code if isinstance(result, Problem) else result.customer for result in results]
    assert kinds == ["a", "identity_conflict", "future_time", "e"]
    assert (await facts_of(client, "e")).region == "DE"


async def test_writes_go_on_after_the_store_forgot_its_scripts(client: Redis) -> None:
    store = store_on(client)
    await store.write(CustomerWrite("a"))
    await client.script_flush()
    results = await store.write_many([CustomerWrite("a"), CustomerWrite("b")])
    assert all(isinstance(result, Written) for result in results)


async def test_a_profile_with_two_consents_and_24_attributes_keeps_the_compact_encoding(client: Redis) -> None:
    numbers = tuple((f"attribute_{i}", f"{i / 7:.4f}") for i in range(23))
    attributes = (*numbers, ("nickname", '"' + "x" * 62 + '"'))
    await store_on(client).write(
        CustomerWrite(
            "c",
            attributes,
            ("crm",),
            (("region", "US-CA"), ("timezone", "America/Argentina/ComodRivadavia"), ("language", "en")),
            consents=(said("granted", 1_700_000_000_000), said("denied", 1_700_000_000_000, "*")),
        )
    )
    await store_on(client).suppress("c", "x" * 48, SuppressionReason.SOFT_BOUNCES, "s" * 48, None)
    assert await client.object("ENCODING", KEYS.profile("c")) == b"listpack"


async def test_what_is_known_is_read_by_name(client: Redis) -> None:
    await store_on(client).write(
        CustomerWrite(
            "c",
            (("recency", "3"),),
            ("crm",),
            (("region", "US"),),
            (("frequency", '"weekly"'),),
            (said("granted", 1_000),),
        )
    )
    await store_on(client).suppress("c", "*", SuppressionReason.MANUAL, "desk", 2_000)
    await client.zadd(KEYS.of("c").ledger, {"x": 1, "y": 2})

    known = await reader_on(client).read("c")  # by a registry that has to learn every id
    profile = known.profile

    assert dict(profile.attributes) == {"recency": 3}
    assert profile.preferences == {"frequency": "weekly"}
    assert profile.consent[0][:3] == ("marketing", "email", "granted")
    assert [(stop.scope, stop.reason, stop.at_ms, source) for stop, source in profile.suppressions] == [
        ("*", "manual", 2_000, "desk")
    ]
    assert known.contacts == 2
    with pytest.raises(Problem, match="unknown_customer"):
        await reader_on(client).read("nobody")


async def test_field_ids_are_given_once_whoever_asks_first(client: Redis) -> None:
    await client.delete(CTL_FIELDS)
    registries = [FieldRegistry(client) for _ in range(4)]
    names = [f"a:name_{i}" for i in range(100)]
    await asyncio.gather(*(each.ensure(names[i * 10 :] + names[: i * 10]) for i, each in enumerate(registries)))
    ids = [[each.id_of(name) for name in names] for each in registries]
    assert ids[0] == ids[1] == ids[2] == ids[3]
    assert len(set(ids[0])) == 100
    assert max(len(field_id) for field_id in ids[0]) == 2
    assert await client.hget(CTL_FIELDS, "#") == b"100"


async def test_a_registry_forgets_what_a_restored_store_no_longer_holds(client: Redis) -> None:
    registry = FieldRegistry(client)
    await registry.ensure(["a:one", "a:two"])
    await client.delete(CTL_FIELDS)
    await FieldRegistry(client).ensure(["a:other"])
    await registry.refresh()
    assert registry.name_of(b"0") == "a:other"
    with pytest.raises(KeyError):
        registry.id_of("a:two")


async def test_the_number_of_shards_is_fixed_at_the_first_start(client: Redis) -> None:
    await claim_shards(client, 256)
    await claim_shards(client, 256)
    with pytest.raises(ShardsDiffer, match="NEXTBEST_SHARDS=256"):
        await claim_shards(client, 128)


async def test_all_nodes_hash_aliases_with_one_key(client: Redis) -> None:
    keys = await asyncio.gather(*(shared_hash_key(client, None) for _ in range(5)))
    assert len(set(keys)) == 1
    assert len(keys[0]) == 64
    assert await shared_hash_key(client, "configured") == b"configured"


async def test_a_store_that_is_away_is_a_problem_to_callers_that_may_be_repeated(own_store: StartStore) -> None:
    server = own_store()
    async with open_client(server.url) as client:
        await give_ids(client)
        store = store_on(client)
        await store.write(CustomerWrite("c"))
        server.kill()
        for attempt in (
            store.write(CustomerWrite("c")),
            store.suppress("c", "*", SuppressionReason.MANUAL, "desk", None),
            store.lift("c", "*", list(SuppressionReason)),
            reader_on(client).read("c"),
            reader_on(client).history("c"),
        ):
            with pytest.raises(Problem) as refused:
                await attempt
            assert refused.value.code == "store_unavailable"
            assert refused.value.retry_after_s == 1
        server.start()
        assert (await store.write(CustomerWrite("c"))).customer == "c"


async def test_a_store_out_of_memory_refuses_a_write_whole(own_store: StartStore) -> None:
    async with open_client(own_store().url) as client:
        store = store_on(client)
        await store.write(consents(said("granted", 1_000)))
        await client.config_set("maxmemory", "1")
        with pytest.raises(Problem, match="store_unavailable"):
            await store.write(CustomerWrite("c", places=(("region", "US"),), consents=(said("denied", 2_000),)))
        await client.config_set("maxmemory", "0")
        facts = await facts_of(client, "c")
        assert (facts.region, facts.consent[0].state) == (None, "granted")


async def test_strict_durability_is_confirmed_by_the_disk_or_refused(own_store: StartStore) -> None:
    async with open_client(own_store("--appendfsync", "always").url) as client:
        await skip_without_waitaof(client)
        store = store_on(client, strict=True)
        assert (await store.write(CustomerWrite("c"))).customer == "c"
        await client.config_set("appendonly", "no")
        with pytest.raises(Problem, match="durability_unmet"):
            await store.write(CustomerWrite("c"))
