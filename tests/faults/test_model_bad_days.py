"""Models that are not what they should be: refused by name at the start, and left for the rules when they misbehave."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.server import BUNDLE, Client, Server, eventually, serving
from tests.support.valkey import Store

Customers = Callable[[int], list[str]]


async def ranked_by_model(client: Client, customer: str, placement: str) -> bool:
    return bool((await client.decide(customer, placement)).first["rung"] == "model")


WELL, NAN, SHORT, FAILING, SLOW, ENDLESS = range(6)


@pytest.mark.parametrize("placement", ["moody", "touchy"])  # the one runs in a thread, the other at once
@pytest.mark.parametrize("mood", [NAN, SHORT, FAILING])
async def test_a_model_that_gives_no_usable_score_leaves_the_decision_to_the_rules(
    server: Server, client: Client, customers: Customers, placement: str, mood: int
) -> None:
    well, ill = customers(2)
    await client.welcome(well, mood=WELL)
    await client.welcome(ill, mood=mood)
    before = server.metric("model_failures_total")
    answer = await client.decide(ill, placement, budget_ms=200, explain=True)
    assert (answer.first["action"], answer.first["rung"]) == ("send", "rules")
    assert (answer.first["degraded"], answer.first["message"]["id"]) == (["model_failed"], f"{placement}_low")
    assert server.metric("model_failures_total") == before + 1
    ranked = await client.decide(well, placement, budget_ms=200)  # once is no reason to give a model up
    assert (ranked.first["rung"], ranked.first["message"]["id"]) == ("model", f"{placement}_high")


@pytest.mark.long  # a circuit rests for five seconds
async def test_a_model_that_keeps_failing_is_left_alone_and_tried_again_later(
    server: Server, client: Client, customers: Customers
) -> None:
    well, ill = customers(2)
    await client.welcome(well, mood=WELL)
    await client.welcome(ill, mood=FAILING)
    for _ in range(3):
        await client.decide(ill, "touchy")
    resting = await client.decide(well, "touchy")
    assert (resting.first["rung"], resting.first["degraded"]) == ("rules", ["model_failed"])
    assert server.metric('model_failures_total{model="touchy/1",kind="unavailable"}') >= 1
    await eventually(partial(ranked_by_model, client, well, "touchy"))


async def test_a_model_that_is_too_slow_for_the_budget_is_not_waited_for(
    server: Server, client: Client, customers: Customers
) -> None:
    (slow,) = customers(1)
    await client.welcome(slow, mood=SLOW)
    before = server.metric('model_failures_total{model="bursty/1",kind="timeout"}')
    answer = await client.decide(slow, "bursty", budget_ms=100)
    assert answer.seconds < 0.1 + 0.1  # the run takes twice the budget
    if answer.sends:  # else the commit did not come through in what the model had left: 5 ms
        assert (answer.first["rung"], answer.first["degraded"]) == ("rules", ["model_timeout"])
    assert server.metric('model_failures_total{model="bursty/1",kind="timeout"}') == before + 1
    await eventually(partial(ranked_by_model, client, slow, "bursty"))  # where there is time enough, it may take it


async def test_a_model_that_hangs_is_refused_until_its_run_has_ended(
    server: Server, client: Client, customers: Customers
) -> None:
    well, hangs = customers(2)
    await client.welcome(well, mood=WELL)
    await client.welcome(hangs, mood=ENDLESS)
    assert (await client.decide(hangs, "moody", budget_ms=60)).first["rung"] != "model"
    assert (await client.decide(well, "moody")).first["degraded"] == ["model_failed"]
    assert (await client.decide(well, "touchy")).first["rung"] == "model"
    await eventually(partial(ranked_by_model, client, well, "moody"))


def wrong_digest(manifest: dict[str, Any]) -> None:
    manifest["file"]["sha256"] = "0" * 64


def wrong_inputs(manifest: dict[str, Any]) -> None:
    manifest["inputs"].reverse()


def wrong_shape(manifest: dict[str, Any]) -> None:
    manifest["output"]["columns"] = 3


REFUSED = {
    "moody": (wrong_digest, "SHA-256"),
    "touchy": (wrong_inputs, "input 0 is `customer.mood` in the bundle"),
    "bursty": (wrong_shape, "3"),
}


async def test_models_that_do_not_fit_their_manifests_are_refused_by_name_and_the_server_decides_by_rules(
    store: Store, tmp_path: Path, customers: Customers
) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(BUNDLE, bundle)
    for name, (spoil, _) in REFUSED.items():
        path = bundle / "registry" / name / "1" / "manifest.json"
        manifest = json.loads(path.read_text())
        spoil(manifest)
        path.write_text(json.dumps(manifest))
    async with serving(store.url, bundle) as server:
        refusals = json.loads(server.get("/v1/bundle")[1])["models_refused"]
        for (name, (_, said)), refusal in zip(REFUSED.items(), refusals, strict=True):
            assert refusal.startswith(f"model `{name}/1` is refused")
            assert said in refusal
            assert refusal in server.log.replace('\\"', '"')
        (customer,) = customers(1)
        await server.client.welcome(customer, mood=WELL)
        for name in REFUSED:
            answer = await server.client.decide(customer, name)
            assert (answer.first["rung"], answer.first["degraded"]) == ("rules", ["model_missing"])
        assert server.metric('degraded_total{what="model_missing"}') == len(REFUSED)
