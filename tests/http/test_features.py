"""Features as callers meet them: events and heartbeats come in, decisions and views follow, and say how fresh it is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from redis import Redis
from typer.testing import CliRunner

from app import cli
from app.store.keys import CTL_WATERMARKS, Keys
from tests.support.contract import EVERYTHING_ALLOWED
from tests.support.features import FOLDER
from tests.support.serving import Server


@pytest.fixture(scope="module")
def shop() -> Iterator[Server]:
    with Server(FOLDER) as running:
        yield running


@pytest.fixture(scope="module")
def http(shop: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=shop.url, timeout=60) as client:
        yield client


def tell(http: httpx.Client, *said: dict[str, Any]) -> dict[str, Any]:
    answer = http.post("/v1/events", json=list(said))
    assert answer.status_code == 200, answer.text
    return answer.json()  # type: ignore[no-any-return]  # JSON has no types


def views(customer: str, number: int = 3) -> list[dict[str, Any]]:
    return [
        {"event": "product_viewed", "customer": customer, "id": f"{customer}-{at}", "properties": {"category": "bags"}}
        for at in range(number)
    ]


def eventually(finds: Callable[[], Any], timeout_s: float = 60.0) -> Any:
    """What another process comes to say."""
    give_up_at = time.monotonic() + timeout_s
    while not (found := finds()):
        assert time.monotonic() < give_up_at
        time.sleep(0.02)
    return found


def view(http: httpx.Client, customer: str) -> dict[str, Any]:
    return http.get(f"/v1/customers/{customer}").json()  # type: ignore[no-any-return]  # JSON has no types


def decision(http: httpx.Client, customer: str, placement: str) -> dict[str, Any]:
    asked = {"customer": customer, "placements": [placement], "explain": True, "budget_ms": 2000}
    answer = http.post("/v1/decide", json=asked)
    assert answer.status_code == 200, answer.text
    return answer.json()["decisions"][0]  # type: ignore[no-any-return]  # JSON has no types


def test_a_decision_follows_what_a_customer_does(http: httpx.Client) -> None:
    http.put("/v1/customers/cus_1", json={"consent": EVERYTHING_ALLOWED}).raise_for_status()
    assert decision(http, "cus_1", "now")["message"]["id"] == "cold"
    assert tell(http, *views("cus_1"))["accepted"] == 3
    hot = eventually(lambda: (now := decision(http, "cus_1", "now"))["message"]["id"] == "hot" and now)
    record = http.get(f"/v1/decisions/{hot['decision_id']}").json()
    assert record["facts"]["values"] == {"views_1h": "***"}
    assert list(record["facts"]["as_of"]) == ["events:product_viewed"]


def test_a_view_shows_features_masked_and_how_fresh_they_are(http: httpx.Client) -> None:
    http.put("/v1/customers/cus_2", json={"consent": EVERYTHING_ALLOWED}).raise_for_status()
    tell(http, *views("cus_2"))
    seen = eventually(lambda: (found := view(http, "cus_2")["features"])["views_7d"]["value"] == 3 and found)
    assert seen["views_7d"].keys() == {"value", "type", "owner", "version", "definition", "events", "as_of"}
    assert seen["views_1h"]["value"] == "***"
    fresh = eventually(lambda: (found := view(http, "cus_2")["features"])["views_1h"]["as_of"] and found)
    assert fresh["views_1h"]["stale"] is False
    assert fresh["cart_open"]["events"] == ["order_completed", "product_added"]
    assert fresh["visits_30d"]["value"] == "***", "also what no decision reads"


def test_a_customer_who_is_known_by_events_alone_can_be_seen(http: httpx.Client) -> None:
    assert http.get("/v1/customers/cus_3").json()["code"] == "unknown_customer"
    tell(http, *views("cus_3", 1))
    found = eventually(lambda: (seen := view(http, "cus_3")).get("features") and seen)
    assert (found["features"]["views_7d"]["value"], found["attributes"], found["updated_at"]) == (1, {}, None)


def test_a_state_that_cannot_be_read_is_shown_as_such(http: httpx.Client, shop: Server) -> None:
    http.put("/v1/customers/cus_4", json={"consent": EVERYTHING_ALLOWED}).raise_for_status()
    with Redis(unix_socket_path=str(shop.store.socket_path)) as store:
        store.hset(Keys(256).of("cus_4").features, "product_viewed", "?")
    seen = view(http, "cus_4")["features"]["views_7d"]
    assert (seen["value"], seen["unreadable"]) == (None, True)


def test_a_heartbeat_makes_fresh_what_a_silent_source_leaves_stale(http: httpx.Client, shop: Server) -> None:
    http.put(
        "/v1/customers/cus_5", json={"consent": EVERYTHING_ALLOWED, "timezone": "Europe/Berlin"}
    ).raise_for_status()
    with Redis(unix_socket_path=str(shop.store.socket_path)) as store:
        store.hdel(CTL_WATERMARKS, "e:order_completed", "e:product_added")
    assert view(http, "cus_5")["features"]["cart_open"]["stale"] is True
    said = CliRunner().invoke(cli.app, ["why", "--url", shop.url, "cus_5", "reminder"], env={"COLUMNS": "200"}).stdout
    assert "nobody tells how complete order_completed and product_added is" in " ".join(said.split())

    tally = tell(http, {"type": "heartbeat", "events": ["order_completed", "Product Added"]})
    assert (tally["accepted"], tally["rejected"]) == (1, [])
    assert view(http, "cus_5")["features"]["cart_open"]["stale"] is False
    eventually(lambda: "features_stale" not in decision(http, "cus_5", "reminder")["degraded"])


def test_a_feature_that_lacks_events_is_told_as_such_and_how_to_fill_it(http: httpx.Client, shop: Server) -> None:
    """The worker of a release that knows none of these features takes the customer's shard, where something passed."""
    http.put("/v1/customers/cus_6", json={"consent": EVERYTHING_ALLOWED}).raise_for_status()
    tell(http, *views("cus_6"))
    eventually(lambda: view(http, "cus_6")["features"]["views_7d"]["value"] == 3)
    shard = Keys(256).shard_of("cus_6")
    with Redis(unix_socket_path=str(shop.store.socket_path)) as store:
        store.hset(Keys(256).worker(shard), "plans", f"{'0' * 16}@1-0")
    eventually(lambda: "not_filled" in view(http, "cus_6")["features"]["views_7d"])
    assert "features_missing" in decision(http, "cus_6", "looks")["degraded"]
    assert '\nnextbest_features_not_filled{worker="0"} 10\n' in http.get("/metrics").text
    said = CliRunner().invoke(cli.app, ["why", "--url", shop.url, "cus_6", "looks"], env={"COLUMNS": "300"}).stdout
    assert "`customer.views_7d` is not_filled: it lacks events that passed); fill it: `nextbest features backfill`" in (
        " ".join(said.split())
    )


def test_a_heartbeat_for_an_event_that_is_not_declared_is_put_aside(http: httpx.Client) -> None:
    (rejected,) = tell(http, {"type": "heartbeat", "events": ["order_complete"]})["rejected"]
    assert (rejected["code"], "order_complete" in rejected["detail"]) == ("unknown_event", True)
