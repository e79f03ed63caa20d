"""G4: every `send` that was answered is in the decision log; every logged one that was not answered is `aborted`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import redis

from app.store.decisions import COMMIT, RELEASE
from tests.support import look
from tests.support.scripted import ProxyBeside, ScriptedProxy
from tests.support.server import Client, Server, eventually


async def released(server: Server, before: float) -> None:
    """Until the server has settled one more commit of unknown fate."""
    await asyncio.to_thread(server.wait, lambda: server.metric("releases_total") > before)


async def lose_a_commit(shaky: Client, proxy: ProxyBeside, customer: str, key: str | None = None) -> None:
    """The store applies a commit, and its reply is lost. Asked for again where the read was too slow already."""
    proxy.do(lambda faulty: faulty.when(COMMIT.sha, lambda: faulty.cut_after(0)))

    async def its_fate_is_unknown() -> bool:
        answer = await shaky.decide(customer, "once", key=key, budget_ms=200)
        assert (answer.first["action"], answer.first["retryable"]) == ("suppress", True)
        return bool(answer.first["degraded"] == ["commit_unknown"])

    await eventually(its_fate_is_unknown)


async def test_every_send_that_was_answered_is_found_by_its_id_and_is_not_aborted(
    clients: list[Client], customers: Callable[[int], list[str]]
) -> None:
    names = customers(30)
    await clients[0].welcome(*names)
    asked = (clients[n % 3].decide(name, "open", "thrice") for n, name in enumerate(names * 3))
    answers = [answer.json() for answer in await asyncio.gather(*asked) if answer.status == 200]
    sent = [d["decision_id"] for answer in answers for d in answer["decisions"] if d["action"] == "send"]
    assert len(sent) > 100
    for decision_id in sent:
        found = await clients[1].record(decision_id)
        assert (found.status, found.json()["aborted"], found.json()["action"]) == (200, False, "send")


async def test_a_commit_whose_reply_is_lost_is_taken_back_whole(
    servers: list[Server], client: Client, shaky: Client, proxy: ProxyBeside, customer: str, inside: redis.Redis
) -> None:
    await client.welcome(customer)
    before = servers[2].metric("releases_total")
    await lose_a_commit(shaky, proxy, customer, "k")
    await released(servers[2], before)
    assert look.contacts(inside, customer) == 0
    assert look.idempotency_keys(inside, customer) == []
    (entry,) = look.log(inside, customer)
    record = await client.record(entry.decision_id)
    assert (record.json()["aborted"], record.json()["action"]) == (True, "send")
    again = await client.decide(customer, "once", key="k", budget_ms=200)
    assert (again.first["action"], again.first["decision_id"] != entry.decision_id) == ("send", True)


async def test_a_commit_whose_reply_comes_late_is_answered_in_time_and_taken_back(
    servers: list[Server], client: Client, shaky: Client, proxy: ProxyBeside, customer: str, inside: redis.Redis
) -> None:
    await client.welcome(customer)
    before = servers[2].metric("releases_total")
    proxy.do(lambda faulty: faulty.when(COMMIT.sha, lambda: faulty.delay(0.3)))
    answer = await shaky.decide(customer, "once", budget_ms=100)
    assert (answer.first["action"], answer.first["reason"]) == ("suppress", "deadline")
    assert answer.first["degraded"] == ["commit_unknown"]
    await released(servers[2], before)
    assert look.contacts(inside, customer) == 0
    (entry,) = look.log(inside, customer)
    assert (await client.record(entry.decision_id)).json()["aborted"] is True


async def test_a_commit_that_reaches_the_store_too_late_is_refused_by_it(
    servers: list[Server], client: Client, shaky: Client, proxy: ProxyBeside, customer: str, inside: redis.Redis
) -> None:
    """The network, or a store that was frozen, lets the commit through when the answer has long been given."""
    await client.welcome(customer)
    absent = 'releases_total{result="absent"}'
    before = servers[2].metric(absent)
    hold = proxy.hold(COMMIT.sha)
    answer = await shaky.decide(customer, "once", budget_ms=100)
    assert (answer.first["action"], answer.first["degraded"]) == ("suppress", ["commit_unknown"])
    await asyncio.sleep(0.05)  # the fence is the store's clock in whole ms; what comes within them is released instead
    hold.release()
    await asyncio.to_thread(servers[2].wait, lambda: servers[2].metric(absent) > before)
    assert look.contacts(inside, customer) == 0
    assert look.log(inside, customer) == []


async def test_a_release_that_cannot_be_made_now_is_made_when_the_store_is_back(
    servers: list[Server], client: Client, shaky: Client, proxy: ProxyBeside, customer: str, inside: redis.Redis
) -> None:
    await client.welcome(customer)
    before = servers[2].metric("releases_total")
    hold = proxy.hold(RELEASE.source[:60])
    await lose_a_commit(shaky, proxy, customer)
    await hold.reached()
    proxy.do(ScriptedProxy.cut_off)
    assert look.contacts(inside, customer) == 1  # counted until it is released: closed, never open
    assert not (await client.decide(customer, "once")).sends
    await asyncio.to_thread(servers[2].wait, lambda: not servers[2].is_ready())
    proxy.heal()
    await released(servers[2], before)
    assert look.contacts(inside, customer) == 0
    assert (await client.decide(customer, "once")).sends


async def test_a_release_is_made_once_however_often_it_is_tried(
    servers: list[Server], client: Client, shaky: Client, proxy: ProxyBeside, customer: str, inside: redis.Redis
) -> None:
    """The first release is carried out and its reply lost: the second must not free what was sent meanwhile."""
    await client.welcome(customer)
    before = servers[2].metric("releases_total")
    proxy.do(lambda faulty: faulty.when(RELEASE.source[:60], lambda: faulty.cut_after(0)))
    await lose_a_commit(shaky, proxy, customer)
    await asyncio.to_thread(servers[0].wait, lambda: look.contacts(inside, customer) == 0)
    assert (await client.decide(customer, "once")).sends
    await released(servers[2], before)
    assert look.contacts(inside, customer) == 1
    assert not (await client.decide(customer, "once")).sends


async def test_one_customer_whose_release_fails_for_ever_does_not_hold_up_the_others(
    servers: list[Server],
    client: Client,
    shaky: Client,
    proxy: ProxyBeside,
    customers: Callable[[int], list[str]],
    inside: redis.Redis,
) -> None:
    broken, well = customers(2)
    await client.welcome(broken, well)
    before = servers[2].metric("releases_total")
    hold = proxy.hold(RELEASE.source[:60])
    await lose_a_commit(shaky, proxy, broken)
    await hold.reached()
    inside.set(look.KEYS.of(broken).ledger, "somebody wrote here")  # every release fails on it
    hold.release()
    await lose_a_commit(shaky, proxy, well)
    await released(servers[2], before)
    assert look.contacts(inside, well) == 0
    inside.delete(look.KEYS.of(broken).ledger)
    await released(servers[2], before + 1)  # and it is still tried, until it can be made


async def test_a_receipt_sent_while_the_store_was_away_is_logged_once_when_it_is_back(
    servers: list[Server], client: Client, shaky: Client, proxy: ProxyBeside, customer: str, inside: redis.Redis
) -> None:
    """Even where the reply to the late record is lost, and it is written again."""
    await client.welcome(customer)
    logged = 'releases_total{result="logged"}'
    before = servers[2].metric(logged)
    proxy.do(ScriptedProxy.cut_off)
    await asyncio.to_thread(servers[2].wait, lambda: not servers[2].is_ready())
    answer = await shaky.decide(customer, "receipt", budget_ms=200)
    assert (answer.first["action"], answer.first["rung"]) == ("send", "generic")
    assert "facts_unavailable" in answer.first["degraded"]
    assert look.log(inside, customer) == []

    def heal_and_lose_the_next_reply(faulty: ScriptedProxy) -> None:
        faulty.heal()
        faulty.when(COMMIT.sha, lambda: faulty.cut_after(0))

    proxy.do(heal_and_lose_the_next_reply)
    await asyncio.to_thread(servers[2].wait, lambda: servers[2].metric(logged) > before)
    (entry,) = look.log(inside, customer)
    assert entry.decision_id == answer.first["decision_id"]
    found = await client.record(entry.decision_id)
    assert (found.status, found.json()["aborted"]) == (200, False)
    assert look.contacts(inside, customer) == 1


async def test_a_receipt_that_was_asked_for_beside_a_limited_message_is_logged_too_whatever_was_sent_before(
    servers: list[Server], client: Client, shaky: Client, proxy: ProxyBeside, customer: str, inside: redis.Redis
) -> None:
    """The record comes after the fact: that the ledger has moved on is no reason not to write it."""
    await client.welcome(customer)
    assert (await client.decide(customer, "twice")).sends
    logged = 'releases_total{result="logged"}'
    before = servers[2].metric(logged)
    proxy.do(ScriptedProxy.cut_off)
    await asyncio.to_thread(servers[2].wait, lambda: not servers[2].is_ready())
    answer = await shaky.decide(customer, "receipt", "twice", budget_ms=200)
    assert [each["action"] for each in answer.json()["decisions"]] == ["send", "suppress"]
    proxy.heal()
    await asyncio.to_thread(servers[2].wait, lambda: servers[2].metric(logged) > before)
    found = await client.record(answer.first["decision_id"])
    assert (found.status, found.json()["aborted"]) == (200, False)
    assert look.contacts(inside, customer) == 2
