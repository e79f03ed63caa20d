"""Kill switches: in force on every node within a second of the answer to the PUT, and ended by themselves."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis

from app.store.keys import CTL_SWITCHES
from tests.support.server import Answer, Client, Server, eventually, serving
from tests.support.valkey import Store

IN_FORCE_WITHIN_S = 1.0
OFF = {"state": "off", "by": "crm_oncall", "why": "the price is wrong"}
ON = {"state": "on", "by": "crm_lead", "why": "corrected"}


async def turn(client: Client, switch: str, body: dict[str, Any]) -> None:
    answer = await client.ask("PUT", f"/v1/switches/{switch}", body)
    assert answer.status == 200, answer.body


@asynccontextmanager
async def off(client: Client, switch: str, **more: Any) -> AsyncIterator[float]:
    """Off inside the block, which gets the time at which that was answered; on again afterwards, for other tests."""
    await turn(client, switch, OFF | more)
    try:
        yield time.monotonic()
    finally:
        await turn(client, switch, ON)


def stopped_by(detail: str) -> Callable[[Answer], bool]:
    def says(answer: Answer) -> bool:
        first = answer.first
        return (first["action"], first["reason"], first.get("detail")) == ("suppress", "switched_off", detail)

    return says


async def check(other: Client, turned_at: float, holds: Callable[[Answer], bool], *asked: str) -> None:
    """Within a second of the answer, on a node that was not told. Dry, so that no limit is used up."""
    while not holds(answer := await other.decide(*asked, dry_run=True, explain=True)):
        assert time.monotonic() < turned_at + 3 * IN_FORCE_WITHIN_S, answer.first
        await asyncio.sleep(0.005)
    assert time.monotonic() - turned_at <= IN_FORCE_WITHIN_S
    for _ in range(5):
        assert holds(await other.decide(*asked, dry_run=True, explain=True))


def without_message(answer: Answer) -> bool:
    excluded = {each["message"]: each["code"] for each in answer.first["excluded"]}
    return excluded.get("open_a") == "switched_off" and answer.first["message"]["id"] == "open_b"


def without_model(answer: Answer) -> bool:
    return answer.first["rung"] == "rules" and "model_missing" in answer.first["degraded"]


def generic(answer: Answer) -> bool:
    return answer.first["rung"] == "generic" and "no_personalisation" in answer.first["degraded"]


def sends(answer: Answer) -> bool:
    return answer.sends


#: Switch → placement that is asked, and what its answer says while it is off.
EFFECTS: dict[str, tuple[str, Callable[[Answer], bool]]] = {
    "placement/open": ("open", stopped_by("placement open")),
    "message/open_a": ("open", without_message),
    "model/moody": ("moody", without_model),
    "purpose/marketing": ("open", stopped_by("purpose marketing")),
    "purpose/personalisation": ("moody", generic),
    "region/DE": ("open", stopped_by("region DE")),
    "all/*": ("open", stopped_by("all *")),
}


@pytest.mark.parametrize("switch", EFFECTS)
async def test_what_is_turned_off_at_one_server_is_off_at_the_others_within_a_second_until_it_is_turned_on(
    clients: list[Client], customer: str, switch: str
) -> None:
    placement, holds = EFFECTS[switch]
    first, *others = clients
    await first.welcome(customer, mood=0.5)
    await asyncio.gather(*(first_of(other, customer, placement, sends) for other in clients))
    async with off(first, switch) as turned_at:
        assert holds(await first.decide(customer, placement, dry_run=True, explain=True))
        await asyncio.gather(*(check(other, turned_at, holds, customer, placement) for other in others))
    turned_at = time.monotonic()
    await asyncio.gather(*(check(other, turned_at, lambda a: not holds(a), customer, placement) for other in others))


async def first_of(client: Client, customer: str, placement: str, holds: Callable[[Answer], bool]) -> None:
    async def so() -> bool:
        return holds(await client.decide(customer, placement, dry_run=True))

    await eventually(so)


async def test_a_switched_off_feature_is_missing_at_once_everywhere(clients: list[Client], customer: str) -> None:
    """The model then has to do without it, as for customers of whom it is not known: this one is not slow for them."""
    first, other, _ = clients
    await first.welcome(customer, mood=4.0)
    slow_s = (await other.decide(customer, "bursty", dry_run=True)).seconds
    assert slow_s > 0.1
    async with off(first, "feature/mood") as turned_at:
        await check(other, turned_at, lambda answer: answer.seconds < slow_s / 2, customer, "bursty")


async def test_everything_off_stops_transactional_mail_too(clients: list[Client], customer: str) -> None:
    first, other, _ = clients
    assert (await other.decide(customer, "receipt", dry_run=True)).sends
    async with off(first, "all/*") as turned_at:
        await check(other, turned_at, stopped_by("all *"), customer, "receipt")


async def test_a_switch_ends_by_itself_at_its_time_on_every_server_and_is_taken_away(
    clients: list[Client], customer: str, inside: redis.Redis
) -> None:
    first, other, _ = clients
    await first.welcome(customer)
    ends_at = datetime.now(UTC) + timedelta(seconds=1.5)
    await turn(first, "placement/open", OFF | {"until": ends_at.isoformat()})
    await check(other, time.monotonic(), stopped_by("placement open"), customer, "open")
    for client in (first, other):
        await first_of(client, customer, "open", sends)
        assert -0.05 <= (datetime.now(UTC) - ends_at).total_seconds() <= IN_FORCE_WITHIN_S
    await eventually(lambda: not inside.hexists(CTL_SWITCHES, "placement/open"))
    change = (await first.ask("GET", "/v1/switches")).json()["changes"][0]
    assert (change["name"], change["state"], change["by"]) == ("open", "on", "nextbest")


async def test_the_history_of_every_server_names_who_turned_what_and_why(clients: list[Client]) -> None:
    first, other, _ = clients
    async with off(first, "message/twice_a"):
        state = (await other.ask("GET", "/v1/switches/message/twice_a")).json()
        assert (state["state"], state["by"], state["why"]) == ("off", OFF["by"], OFF["why"])
    changes = (await other.ask("GET", "/v1/switches")).json()["changes"][:2]
    assert [(change["name"], change["state"], change["by"], change["why"]) for change in changes] == [
        ("twice_a", "on", ON["by"], ON["why"]),
        ("twice_a", "off", OFF["by"], OFF["why"]),
    ]


async def test_workers_of_one_server_go_by_a_switch_that_another_took(
    store: Store, servers: list[Server], customer: str
) -> None:
    """Each connection belongs to one worker: as many are asked as it takes to have met both."""
    await servers[0].client.welcome(customer)
    async with serving(store.url, workers=2) as server:
        await asyncio.to_thread(server.wait, lambda: server.metric("store_connected") == 2)
        asking = [Client(server.port) for _ in range(12)]
        for client in asking:
            await first_of(client, customer, "open", sends)
        async with off(asking[0], "placement/open") as turned_at:
            holds = stopped_by("placement open")
            await asyncio.gather(*(check(client, turned_at, holds, customer, "open") for client in asking))
            await asyncio.to_thread(server.wait, lambda: server.metric("switches_off") == 2)
        for client in asking:
            await client.close()


async def test_a_switched_off_decision_is_replayed_to_the_same_answer(client: Client, customer: str) -> None:
    await client.welcome(customer)
    async with off(client, "placement/open"):
        answer = await client.decide(customer, "open")
    record = (await client.record(answer.first["decision_id"])).json()
    assert {name: record[name] for name in answer.first} == answer.first
    assert (record["reason"], record["detail"]) == ("switched_off", "placement open")


@pytest.mark.long  # facts are too old after five seconds
async def test_a_server_that_was_frozen_goes_by_no_switches_of_the_past(
    store: Store, servers: list[Server], customer: str
) -> None:
    """Its first decision after a sleep would go by facts that are too old: marketing suppresses until it has polled."""
    first = servers[0].client
    await first.welcome(customer)
    async with serving(store.url) as sleeper:
        await first_of(sleeper.client, customer, "open", sends)
        os.kill(sleeper.pid, signal.SIGSTOP)
        try:
            async with off(first, "placement/open"):
                await asyncio.sleep(5.2)  # there is no event: nothing happens in a process that sleeps
                late = Client(sleeper.port)  # another connection: the first has been idle for too long
                asking = asyncio.create_task(late.decide(customer, "open", dry_run=True))
                await asyncio.sleep(0.05)
                os.kill(sleeper.pid, signal.SIGCONT)
                answer = await asking
                assert answer.first["action"] == "suppress", answer.first
                await late.close()
        finally:
            os.kill(sleeper.pid, signal.SIGCONT)
