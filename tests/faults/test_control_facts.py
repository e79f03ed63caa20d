"""Days on which the store answers, and only what is switched off cannot be read. Nobody then knows what must not be
sent: what was off stays off, and after five seconds marketing is suppressed, until the entry is mended.

The server of these tests is made to lose patience sooner; `pytest -m long` waits as long as every other server does.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator

import pytest
import redis

from app.store.keys import CTL_SWITCHES
from policy.control import STALE_AFTER_S
from tests.support.server import ROOT, Server
from tests.support.valkey import Store

OFF = {"state": "off", "by": "crm_oncall", "why": "the price is wrong"}
FINDING = "the kill switches cannot be read ({}): marketing is suppressed"


@pytest.fixture(scope="module")
def spoiled_store() -> Iterator[Store]:
    store = Store()
    store.start()
    yield store
    store.remove()


@pytest.fixture(scope="module", params=[2.0, pytest.param(STALE_AFTER_S, marks=pytest.mark.long)])
def stale_after_s(request: pytest.FixtureRequest) -> float:
    return float(request.param)


@pytest.fixture(scope="module")
def shared(spoiled_store: Store, stale_after_s: float, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    changed: dict[str, str] = {}
    if stale_after_s != STALE_AFTER_S:
        folder = tmp_path_factory.mktemp("impatient")
        lines = f"import policy.control\npolicy.control.STALE_AFTER_S = {stale_after_s}\n"
        (folder / "sitecustomize.py").write_text(lines)
        changed["PYTHONPATH"] = f"{folder}{os.pathsep}{ROOT}"
    with Server.on(spoiled_store.url, **changed) as server:
        yield server


@pytest.fixture
async def server(shared: Server) -> AsyncIterator[Server]:
    yield shared
    await shared.client.close()


@pytest.fixture
def inside(spoiled_store: Store) -> Iterator[redis.Redis]:
    connection = redis.Redis(unix_socket_path=str(spoiled_store.socket_path))
    yield connection
    connection.close()


async def until_it_says(server: Server, *findings: str) -> None:
    await asyncio.to_thread(server.wait, lambda: server.findings() == list(findings))


def test_nobody_waits_longer_than_five_seconds_for_what_is_switched_off() -> None:
    assert STALE_AFTER_S == 5.0


async def test_switches_that_cannot_be_read_for_so_long_suppress_marketing_and_only_marketing(
    server: Server, inside: redis.Redis, stale_after_s: float
) -> None:
    client = server.client
    await client.welcome("cus_1")
    answer = await client.ask("PUT", "/v1/switches/message/open_a", OFF)
    assert answer.status == 200
    kept = inside.dump(CTL_SWITCHES)
    inside.delete(CTL_SWITCHES)
    inside.set(CTL_SWITCHES, "of another type")
    spoiled_at = time.monotonic()
    answers = []
    while (answer := await client.decide("cus_1", "open", dry_run=True)).sends:
        answers.append(answer.first["message"]["id"])
        await asyncio.sleep(0.05)
    spoiled_s = time.monotonic() - spoiled_at
    assert set(answers) == {"open_b"}  # what was off stays off
    assert stale_after_s - 0.5 < spoiled_s < stale_after_s + 0.5
    assert (answer.first["reason"], answer.first["retryable"]) == ("facts_unavailable", True)
    assert (await client.decide("cus_1", "receipt", dry_run=True)).sends
    await until_it_says(server, FINDING.format("WRONGTYPE"))
    assert server.metric("control_age_seconds") >= stale_after_s
    for asking in (client.ask("GET", "/v1/switches"), client.ask("PUT", "/v1/switches/message/open_a", OFF)):
        refused = await asking
        assert (refused.status, refused.json()["code"]) == (503, "store_unavailable")
    inside.restore(CTL_SWITCHES, 0, kept, replace=True)
    await until_it_says(server)
    assert (await client.decide("cus_1", "open", dry_run=True)).first["message"]["id"] == "open_b"
    await client.ask("PUT", "/v1/switches/message/open_a", {"state": "on"})


async def test_one_entry_that_nobody_understands_is_enough_and_hides_no_switch_that_is_turned_meanwhile(
    server: Server, inside: redis.Redis
) -> None:
    client = server.client
    await client.welcome("cus_2")
    inside.hset(CTL_SWITCHES, "message/open_b", b'{"kind": "message", "name": "open_b"')
    assert (await client.ask("PUT", "/v1/switches/message/open_a", OFF)).status == 200
    answer = await client.decide("cus_2", "open", dry_run=True)
    assert answer.first["message"]["id"] == "open_b"
    await until_it_says(server, FINDING.format("Garbled"))
    answer = await client.decide("cus_2", "open")
    assert (answer.first["action"], answer.first["reason"]) == ("suppress", "facts_unavailable")
    assert (await client.ask("GET", "/v1/switches")).json()["unreadable"] == 1
    inside.hdel(CTL_SWITCHES, "message/open_b")
    await until_it_says(server)
    assert (await client.ask("PUT", "/v1/switches/message/open_a", {"state": "on"})).status == 200
    assert (await client.decide("cus_2", "open", dry_run=True)).first["message"]["id"] == "open_a"


async def test_a_server_that_starts_while_switches_cannot_be_read_never_sends_marketing(
    spoiled_store: Store, inside: redis.Redis, server: Server
) -> None:
    await server.client.welcome("cus_3")
    inside.delete(CTL_SWITCHES)
    inside.set(CTL_SWITCHES, "of another type")
    with Server.on(spoiled_store.url, wait=False) as late:
        await until_it_says(late, FINDING.format("WRONGTYPE"))
        assert not (await late.client.decide("cus_3", "open", dry_run=True)).sends
        assert (await late.client.decide("cus_3", "receipt", dry_run=True)).sends
        inside.delete(CTL_SWITCHES)
        await until_it_says(late)
        assert (await late.client.decide("cus_3", "open", dry_run=True)).sends
        await late.client.close()
