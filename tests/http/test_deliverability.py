"""`GET /v1/deliverability`, its metrics and its command, on a server whose worker looks."""

from __future__ import annotations

import asyncio
import json
import time

import pytest
from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from typer.testing import CliRunner

from app.cli import app
from app.core.deliverability import HOUR_MS
from app.flows.watch_deliverability import DeliverabilityWatch
from app.store.clients import open_client
from app.store.control import ControlStore
from app.store.keys import Keys
from app.store.watch import WatchStore
from tests.support.contract import Caller, why_not
from tests.support.link import linked
from tests.support.serving import Server
from tests.support.valkey import store_server, store_url
from tests.support.watching import numbers, watch
from tests.support.webhooks import secret_of
from tests.support.webhooks.door import proven, sample_of

__all__ = ["store_server", "store_url"]

SHARDS = 256
#: Of no bundle: switching it off stops nobody else's tests.
PATH = "of_tomorrow/complained_about/gmail"


async def look(url: str, at_least: int = 200) -> None:
    client: AsyncRedis = open_client(url)
    async with linked(url) as link:
        keys = Keys(SHARDS)
        switches = ControlStore(link, client, keys)
        await DeliverabilityWatch(
            WatchStore(client, keys), switches, watch(at_least), frozenset(), "test", list[str]().append
        ).look()
    await client.aclose()


@pytest.fixture(scope="module", autouse=True)
def looked(server: Server, store: Redis) -> None:
    """Complaints were counted, and somebody looked: this test, since the worker does so every ten seconds."""
    now_ms = int(store.time()[0]) * 1000
    mapping = numbers(PATH, sent=1_300, delivered=1_200, complained=5) | numbers("of_tomorrow/calm/yahoo", sent=300)
    store.hset(Keys(SHARDS).watch(3, now_ms // HOUR_MS), mapping=mapping)  # type: ignore[arg-type]  # bytes are as good as texts
    asyncio.run(look(server.store.url))


def test_the_answer_shows_rates_states_and_who_lifts_what_is_switched_off(caller: Caller) -> None:
    answer = caller.http.get("/v1/deliverability")
    assert answer.status_code == 200
    found = answer.json()
    assert (found["stale"], found["window_s"], found["at_least"]) == (False, 86_400, 200)
    rows = {row["message"]: row for row in found["rows"]}
    ill, calm = rows["complained_about"], rows["calm"]
    assert (ill["placement"], ill["domain"], ill["alerts"]) == ("of_tomorrow", "gmail", ["complained"])
    assert ill["rates"]["complained"]["rate"] == pytest.approx(5 / 1_200, abs=1e-6)
    assert (calm["state"], calm["alerts"]) == ("ok", [])
    board = caller.http.get("/v1/switches/message/complained_about").json()
    assert (board["state"], board["by"]) == ("off", "deliverability_watch")
    assert "complaint rate 0.42 %" in board["why"]


def test_a_brake_shows_as_such_and_is_lifted_by_its_switch(caller: Caller) -> None:
    def polled() -> dict[str, str] | None:
        caller.http.put("/v1/switches/feature/of_tomorrow", json={"state": "on"})  # has this process read them
        brakes = caller.http.get("/v1/deliverability").json()["brakes"]
        return next((brake for brake in brakes if brake["message"] == "complained_about"), None)

    brake = polled()
    assert brake is not None
    assert (brake["lift"], brake["scope"]) == ("PUT /v1/switches/message/complained_about", "admin")
    metrics = caller.http.get("/metrics").text
    assert 'nextbest_deliverability_braked{message="complained_about"} 1' in metrics
    labels = 'placement="of_tomorrow",message="complained_about",domain="gmail",kind="complained"'
    assert f"nextbest_deliverability_alert{{{labels}}} 1" in metrics
    assert f"nextbest_deliverability_rate{{{labels}}} 0.00416667" in metrics
    method, path = brake["lift"].split(" ")
    assert caller.http.request(method, path, json={"state": "on", "by": "crm_oncall"}).status_code == 200
    assert polled() is None


def test_complaints_that_are_told_stop_the_message_for_everybody(caller: Caller, server: Server) -> None:
    """From the callers' side alone: decisions, what happened to them, and the next decision."""
    told = [caller.decision(caller.customer(), "seasonal") for _ in range(3)]
    assert {decision["message"]["id"] for decision in told} == {"evergreen"}
    for decision in told:
        for what in ("delivered", "complained", "complained"):
            path = f"/v1/decisions/{decision['decision_id']}/outcomes"
            answer = caller.http.post(path, json={"type": what, "event_id": f"{decision['decision_id']}:{what}"})
            assert answer.status_code == 200, answer.text
    asyncio.run(look(server.store.url, at_least=3))
    try:
        switch = caller.http.get("/v1/switches/message/evergreen").json()
        assert "of 3 delivered to unknown" in switch["why"]
        caller.http.put("/v1/switches/feature/of_tomorrow", json={"state": "on"})  # has this process read them
        decision = caller.decision(caller.customer(), "seasonal", explain=True)
        assert why_not(decision)["evergreen"] == "switched_off"
    finally:
        caller.http.put("/v1/switches/message/evergreen", json={"state": "on", "by": "crm_oncall"})


def test_complaints_that_a_provider_signs_stop_the_message_for_everybody(caller: Caller, server: Server) -> None:
    """From the provider's bytes through the door, the loop and the watch to the next decision."""
    told = [caller.decision(caller.customer(), "ruled") for _ in range(3)]
    (message,) = {decision["message"]["id"] for decision in told}
    events = [
        {"event": what, "email": f"{what}.{number}@example.com", "timestamp": int(time.time()),
         "decision_id": decision["decision_id"], "sg_event_id": f"{decision['decision_id']}:{what}"}
        for number, decision in enumerate(told) for what in ("delivered", "spamreport")
    ]  # fmt: skip
    body, proof = proven("sendgrid", json.dumps(events).encode(), secret_of(sample_of("sendgrid")), time.time())
    forged = caller.http.post("/v1/webhooks/sendgrid", content=body.replace(b"delivered", b"open", 1), headers=proof)
    assert forged.status_code == 401
    answer = caller.http.post("/v1/webhooks/sendgrid", content=body, headers=proof)
    assert (answer.status_code, answer.json()["accepted"]) == (200, 6), answer.text
    asyncio.run(look(server.store.url, at_least=3))
    try:
        switch = caller.http.get(f"/v1/switches/message/{message}").json()
        assert (switch["state"], switch["by"]) == ("off", "deliverability_watch")
        assert "of 3 delivered to other" in switch["why"]
        caller.http.put("/v1/switches/feature/of_tomorrow", json={"state": "on"})  # has this process read them
        decision = caller.decision(caller.customer(), "ruled", explain=True)
        assert why_not(decision)[message] == "switched_off"
    finally:
        caller.http.put(f"/v1/switches/message/{message}", json={"state": "on", "by": "crm_oncall"})


def test_the_command_shows_the_same_and_fails_where_something_alerts(server: Server) -> None:
    run = CliRunner().invoke(app, ["deliverability", "--json", "--url-of-store", server.store.url])
    assert run.exit_code == 1, run.output
    assert {row["message"] for row in json.loads(run.output)["rows"]} >= {"complained_about", "calm"}
    run = CliRunner().invoke(app, ["deliverability", "--url-of-store", server.store.url], env={"COLUMNS": "200"})
    assert "complained_about" in run.output
    assert "0.42% [0.18%, 0.97%]" in run.output


def test_the_command_says_that_there_is_nothing_to_show(store_url: str) -> None:
    run = CliRunner().invoke(app, ["deliverability", "--url-of-store", store_url])
    assert run.exit_code == 2
    assert "this store was never used by a server" in run.output
    with Redis.from_url(store_url) as client:
        client.set("ctl:shards", SHARDS)
    run = CliRunner().invoke(app, ["deliverability", "--url-of-store", store_url])
    assert (run.exit_code, "nobody has looked yet" in run.output) == (2, True)
