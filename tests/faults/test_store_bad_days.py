"""Days on which the store is away, frozen, full, a replica, somebody else's, or set up wrongly.

Every time: each caller gets a clear answer in time, marketing is suppressed and may be asked again, a metric counts it,
readiness says why, nothing that was answered is lost, and the server recovers without a restart. All guarantees at once
and under load are looked at in `test_chaos.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial

import pytest
import redis

from tests.support import look
from tests.support.load import load
from tests.support.scripted import ProxyBeside, ScriptedProxy
from tests.support.server import Client, Server, eventually, serving
from tests.support.valkey import StartStore, Store

Customers = Callable[[int], list[str]]
MARGIN_S = 0.25  # beside the budget: one quantum, the way, and a busy machine


@pytest.fixture(scope="module")
def moody_store() -> Iterator[Store]:
    """A store for tests that stop, freeze and configure it, and leave it well."""
    store = Store("--appendfsync", "always", "--maxmemory-policy", "noeviction")
    store.start()
    yield store
    store.remove()


@pytest.fixture(scope="module")
def server_on_it(moody_store: Store) -> Iterator[Server]:
    with Server.on(moody_store.url) as server:
        yield server


@pytest.fixture
async def patient(server_on_it: Server) -> AsyncIterator[Server]:
    """The server that has to bear it; ready when the test begins, and expected to be so again when it ends."""
    yield server_on_it
    await becomes(server_on_it, ready=True)
    await server_on_it.client.close()


async def becomes(server: Server, *, ready: bool) -> None:
    await asyncio.to_thread(server.wait, lambda: server.is_ready() is ready)


async def suppresses(client: Client, customer: str) -> None:
    """A clear answer in time, that may be asked for again."""
    answer = await client.decide(customer, "open", budget_ms=100)
    assert (answer.first["action"], answer.first["retryable"]) == ("suppress", True), answer.first
    assert answer.first["reason"] in ("facts_unavailable", "deadline")
    assert answer.seconds < 0.1 + MARGIN_S


async def test_a_server_that_starts_without_its_store_says_so_and_recovers_without_a_restart(
    own_store: StartStore,
) -> None:
    store = own_store()
    store.stop()
    async with serving(store.url, wait=False) as server:
        assert not server.is_ready()
        assert "the store cannot be reached" in server.findings()[0]
        await suppresses(server.client, "early")
        receipt = await server.client.decide("early", "receipt", budget_ms=100)
        assert (receipt.first["action"], receipt.first["rung"]) == ("send", "generic")
        refused = await server.client.ask("PUT", "/v1/customers/early", {})
        assert (refused.status, refused.json()["code"]) == (503, "store_unavailable")
        assert refused.is_problem
        assert server.metric('store_read_errors_total{kind="StoreDown"}') >= 2
        assert server.metric("store_connected") == 0
        store.start()
        await becomes(server, ready=True)
        await server.client.welcome("early")
        assert (await server.client.decide("early", "open")).sends
        logged = 'releases_total{result="logged"}'
        await asyncio.to_thread(server.wait, lambda: server.metric(logged) == 1)
        found = await server.client.record(receipt.first["decision_id"])
        assert (found.status, found.json()["aborted"]) == (200, False)
        assert server.metric("store_connected") == 1


async def every_contact_was_answered(
    server: Server, inside: redis.Redis, customers: list[str], sent: list[str]
) -> None:
    """What was committed and not answered has been released, once the server has had its time for it."""
    await eventually(lambda: sum(look.contacts(inside, customer) for customer in customers) == len(sent))


async def test_decisions_go_on_while_scripts_are_flushed_from_the_store(
    server: Server, client: Client, store: Store, customers: Customers
) -> None:
    names = customers(8)
    await client.welcome(*names)
    async with load(client, names, budget_ms=1000) as made:
        for _ in range(20):
            store.command("SCRIPT", "FLUSH", "SYNC")
            await made.more(4)
    assert set(made.reasons) == {"rule_ranked"}
    assert len(made.sends) == len(made.answers)


async def test_a_wrong_password_is_said_and_the_right_one_is_enough(own_store: StartStore) -> None:
    store = own_store("--requirepass", "old")
    url = store.url.replace("unix://", "unix://:new@")
    async with serving(url, wait=False) as server:
        await asyncio.to_thread(server.wait, lambda: "has not been reached" not in server.findings()[0])
        assert "the store cannot be reached" in server.findings()[0]
        assert not any(secret in server.log + str(server.findings()) for secret in ("new", "old"))
        await suppresses(server.client, "c")
        store.commands(("AUTH", "old"), ("CONFIG", "SET", "requirepass", "new"))
        await becomes(server, ready=True)
        await server.client.welcome("c")
        assert (await server.client.decide("c", "open")).sends


async def test_a_primary_that_becomes_a_replica_is_not_read_and_is_used_again_when_it_is_one_no_more(
    patient: Server, moody_store: Store, customer: str
) -> None:
    store, server = moody_store, patient
    await server.client.welcome(customer)
    assert (await server.client.decide(customer, "open")).sends
    store.command("REPLICAOF", "127.0.0.1", 1)
    await suppresses(server.client, customer)
    await becomes(server, ready=False)
    await asyncio.to_thread(server.wait, lambda: "replica" in str(server.findings()))
    await suppresses(server.client, customer)
    refused = await server.client.consent(customer, "denied")
    assert (refused.status, refused.json()["code"]) == (503, "store_unavailable")
    store.command("REPLICAOF", "NO", "ONE")
    await becomes(server, ready=True)
    assert (await server.client.decide(customer, "open")).sends


async def test_a_store_that_is_full_takes_no_commit_and_so_nothing_is_sent(
    patient: Server, moody_store: Store, customer: str
) -> None:
    store, server = moody_store, patient
    await server.client.welcome(customer)
    assert (await server.client.decide(customer, "open")).sends
    store.command("CONFIG", "SET", "maxmemory", 1)
    before = server.metric('store_commit_errors_total{kind="OOM"}')
    await suppresses(server.client, customer)
    assert server.metric('store_commit_errors_total{kind="OOM"}') == before + 1
    refused = await server.client.consent(customer, "granted")
    assert (refused.status, refused.json()["code"]) == (503, "store_unavailable")
    with redis.Redis(unix_socket_path=str(store.socket_path)) as inside:
        assert look.contacts(inside, customer) == 1
    store.command("CONFIG", "SET", "maxmemory", 0)
    assert (await server.client.decide(customer, "open")).sends


async def test_a_store_that_evicts_is_not_ready_and_the_remedy_is_said(own_store: StartStore) -> None:
    store = own_store("--maxmemory-policy", "allkeys-lru")
    async with serving(store.url, wait=False) as server:
        finding = "`maxmemory-policy` is `allkeys-lru`: set it to `noeviction`"
        await asyncio.to_thread(server.wait, lambda: server.findings() == [finding])


@pytest.mark.long  # a server's settings are looked at every five seconds
async def test_a_store_that_evicts_no_more_is_ready_without_a_restart(own_store: StartStore) -> None:
    store = own_store("--maxmemory-policy", "allkeys-lru")
    async with serving(store.url, wait=False) as server:
        await asyncio.to_thread(server.wait, lambda: "noeviction" in str(server.findings()))
        store.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
        await becomes(server, ready=True)
        store.command("CONFIG", "SET", "maxmemory-policy", "volatile-ttl")
        await becomes(server, ready=False)


async def test_a_store_of_another_number_of_shards_is_refused_with_both_numbers(own_store: StartStore) -> None:
    store = own_store()
    store.command("SET", "ctl:shards", 128)
    async with serving(store.url, wait=False) as server:
        wanted = "set NEXTBEST_SHARDS=128, or use another store"
        await asyncio.to_thread(server.wait, lambda: wanted in str(server.findings()))
        await suppresses(server.client, "c")


async def test_replies_that_are_cut_in_half_in_mid_load_cost_no_answer(
    server: Server, client: Client, way: ProxyBeside, store: Store, customers: Customers
) -> None:
    names = customers(8)
    await client.welcome(*names)
    async with load(client, names) as made:
        for reply_bytes in (0, 1, 7, 40, 200):
            await made.until_it_sends()
            way.do(partial(ScriptedProxy.cut_after, reply_bytes=reply_bytes))
            await made.more(8)
        await made.until_it_sends()
    assert {answer.status for answer in made.answers} == {200}
    assert set(made.reasons) <= {"rule_ranked", "facts_unavailable", "deadline"}
    with redis.Redis(unix_socket_path=str(store.socket_path)) as inside:
        await every_contact_was_answered(server, inside, names, made.sends)


async def test_a_store_that_is_stopped_in_order_under_load_has_all_that_was_acknowledged_when_it_runs_again(
    patient: Server, moody_store: Store, customers: Customers
) -> None:
    """A stop in order writes and syncs its file, whatever it syncs otherwise."""
    store, client, names = moody_store, patient.client, customers(8)
    keyed, refusing = customers(2)
    await client.welcome(*names, keyed, refusing)
    store.command("CONFIG", "SET", "appendfsync", "everysec")
    async with load(client, names) as made:
        await made.until_it_sends()
        first = await client.decide(keyed, "once", key="k")
        assert first.sends
        assert (await client.consent(refusing, "denied")).json()["applied"]
        before = await made.more(20)
        await asyncio.to_thread(store.stop)
        away = await made.more(20)
        await asyncio.to_thread(store.start)
        await made.until_it_sends()
    assert any(answer.sends for answer in before)
    assert any(answer.first["reason"] == "facts_unavailable" for answer in away)
    with redis.Redis(unix_socket_path=str(store.socket_path)) as inside:
        await every_contact_was_answered(patient, inside, names, made.sends)
        logged = {entry.decision_id for customer in names for entry in look.log(inside, customer)}
    assert logged >= set(made.sends)
    assert (await client.decide(keyed, "once", key="k")).body == first.body
    assert not (await client.decide(keyed, "once")).sends
    assert (await client.decide(refusing, "open")).first["reason"] == "consent_denied"


async def test_lookups_and_writes_while_the_store_is_away_are_a_problem_with_a_remedy(
    patient: Server, moody_store: Store, customer: str
) -> None:
    store, server = moody_store, patient
    client = server.client
    await client.welcome(customer)
    decision_id = (await client.decide(customer, "open")).first["decision_id"]
    problems = server.metric('problems_total{code="store_unavailable"}')
    store.stop()
    await becomes(server, ready=False)
    asks = (
        client.record(decision_id),
        client.ask("GET", f"/v1/customers/{customer}"),
        client.ask("PUT", f"/v1/customers/{customer}", {}),
        client.consent(customer, "denied"),
        client.ask("PUT", f"/v1/customers/{customer}/suppressions/email", {"source": "desk"}),
        client.ask("POST", "/v1/customers/bulk", b'{"customer":"x"}\n', {"content-type": "application/x-ndjson"}),
    )
    answers = await asyncio.gather(*asks)
    for answer in answers:
        assert (answer.status, answer.json()["code"]) == (503, "store_unavailable"), answer.body
        assert answer.is_problem
        assert answer.headers["retry-after"] == "1"
    assert server.metric('problems_total{code="store_unavailable"}') == problems + len(answers)
    assert server.get("/v1/bundle")[0] == server.get("/metrics")[0] == server.get("/health/live")[0] == 200
    store.start()
    await becomes(server, ready=True)
    assert (await client.record(decision_id)).status == 200


@pytest.mark.long  # a frozen store is given five seconds where nobody waits for milliseconds
async def test_a_write_to_a_frozen_store_is_refused_while_its_caller_still_listens(own_store: StartStore) -> None:
    store = own_store()
    async with serving(store.url) as server:
        await server.client.welcome("c")
        store.freeze()
        answer = await server.client.consent("c", "denied")
        assert (answer.status, answer.json()["code"]) == (503, "store_unavailable")
        assert answer.seconds < 8
        store.thaw()
        await becomes(server, ready=True)
        assert (await server.client.consent("c", "denied")).json()["applied"]


@pytest.mark.clock
async def test_the_smallest_budget_is_kept_and_decides_where_the_store_is_near(
    patient: Server, moody_store: Store, customer: str
) -> None:
    store, server = moody_store, patient
    await server.client.welcome(customer)
    answers = [await server.client.decide(customer, "open", budget_ms=5) for _ in range(60)]
    assert sum(answer.sends for answer in answers) >= 30  # the rest is the machine's other work
    assert all(answer.sends or answer.first["retryable"] for answer in answers)
    for budget_ms in (0, 4, 2001):
        refused = await server.client.decide(customer, "open", budget_ms=budget_ms)
        assert (refused.status, refused.json()["code"]) == (422, "invalid_budget")
    sent = [answer.first["decision_id"] for answer in answers if answer.sends]
    with redis.Redis(unix_socket_path=str(store.socket_path)) as inside:
        await every_contact_was_answered(server, inside, [customer], sent)
