"""G2: one idempotency key of one customer gives one decision; repeats get the same bytes, another body is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import redis

from app.store.decisions import COMMIT, RELEASE
from tests.support import look
from tests.support.scripted import ProxyBeside
from tests.support.server import Answer, Client, Server


def final(answers: list[Answer]) -> list[Answer]:
    """The answers that stand: a retryable one is no decision, and is not kept."""
    return [answer for answer in answers if not answer.first["retryable"]]


async def test_a_hundred_repeats_at_three_servers_at_once_give_one_decision_and_the_same_bytes(
    clients: list[Client], customers: Callable[[int], list[str]], inside: redis.Redis
) -> None:
    for customer in customers(3):
        await clients[0].welcome(customer)
        asked = (clients[n % 3].decide(customer, "open", "thrice", key="order-1") for n in range(100))
        answers = await asyncio.gather(*asked)
        kept = final([answer for answer in answers if answer.status == 200])
        assert len(kept) > 50
        assert {answer.body for answer in kept} == {kept[0].body}
        assert kept[0].sends
        assert look.contacts(inside, customer) == 2  # one a placement
        assert len(look.log(inside, customer)) == 1
        assert any(answer.headers.get("idempotency-replayed") == "true" for answer in kept)


async def test_a_repeat_long_after_gets_the_same_bytes_even_where_it_would_be_decided_otherwise_now(
    clients: list[Client], customer: str
) -> None:
    await clients[0].welcome(customer)
    first = await clients[0].decide(customer, "once", key="k")
    await clients[0].consent(customer, "denied")
    again = await clients[1].decide(customer, "once", key="k")
    assert (again.body, again.headers["idempotency-replayed"]) == (first.body, "true")
    other = await clients[0].decide(customer, "once", key="another")
    assert other.first["reason"] == "consent_denied"


async def test_the_same_key_with_another_body_is_refused_and_decides_nothing(
    clients: list[Client], customer: str, inside: redis.Redis
) -> None:
    await clients[0].welcome(customer)
    await clients[0].decide(customer, "open", key="k")
    refused = await clients[1].decide(customer, "thrice", key="k")
    assert (refused.status, refused.json()["code"]) == (422, "idempotency_key_reused")
    assert refused.is_problem
    assert look.contacts(inside, customer) == 1


async def test_another_body_is_refused_also_while_the_first_is_being_committed(
    servers: list[Server], shaky: Client, proxy: ProxyBeside, customer: str, client: Client
) -> None:
    """Both servers saw no record of the key; the store's own check at the commit tells them apart."""
    await client.welcome(customer)
    hold = proxy.hold(COMMIT.sha)
    slow = asyncio.create_task(shaky.decide(customer, "open", key="k"))
    await hold.reached()
    first = await client.decide(customer, "thrice", key="k")
    hold.release()
    assert first.sends
    late = await slow
    assert (late.status, late.json()["code"]) == (422, "idempotency_key_reused")


async def test_a_concurrent_twin_gets_the_winners_bytes(
    shaky: Client, proxy: ProxyBeside, customer: str, client: Client, inside: redis.Redis
) -> None:
    await client.welcome(customer)
    hold = proxy.hold(COMMIT.sha)
    slow = asyncio.create_task(shaky.decide(customer, "open", key="k"))
    await hold.reached()
    winner = await client.decide(customer, "open", key="k")
    hold.release()
    twin = await slow
    assert (twin.body, twin.headers["idempotency-replayed"]) == (winner.body, "true")
    assert look.contacts(inside, customer) == 1


async def test_keys_are_the_customers_own(
    clients: list[Client], customers: Callable[[int], list[str]], inside: redis.Redis
) -> None:
    names = customers(2)
    await clients[0].welcome(*names)
    answers = [await clients[0].decide(name, "once", key="shared") for name in names]
    assert [answer.first["action"] for answer in answers] == ["send", "send"]
    assert [look.contacts(inside, name) for name in names] == [1, 1]


async def test_a_repeat_that_finds_a_commit_of_unknown_fate_never_gets_a_send_that_is_then_taken_back(
    servers: list[Server], shaky: Client, proxy: ProxyBeside, customer: str, client: Client, inside: redis.Redis
) -> None:
    """The reply to the third server's commit is lost: it answers `suppress`, and will have the contact released. Its
    caller asks again, with the same key, elsewhere, before the release: what it is told then must hold."""
    await client.welcome(customer)
    releasing = proxy.hold(RELEASE.source[:60])
    proxy.do(lambda faulty: faulty.when(COMMIT.sha, lambda: faulty.cut_after(0)))
    unknown = await shaky.decide(customer, "once", key="k")
    assert (unknown.first["action"], unknown.first["degraded"]) == ("suppress", ["commit_unknown"])
    await releasing.reached()
    again = await client.decide(customer, "once", key="k")
    done = servers[2].metric("releases_total")
    releasing.release()
    await asyncio.to_thread(servers[2].wait, lambda: servers[2].metric("releases_total") > done)
    assert again.sends
    assert (await client.record(again.first["decision_id"])).json()["aborted"] is False
    assert look.contacts(inside, customer) == 1
    assert (await client.decide(customer, "once", key="k")).body == again.body
    assert not (await client.decide(customer, "once")).sends
