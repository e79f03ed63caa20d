"""When there is no room for events, or no store, clients are told to come again, and lose nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from redis import Redis

from app.store.keys import CTL_EVENTS_CONSUMED
from tests.support.event_bundle import FOLDER
from tests.support.server import Server
from tests.support.valkey import Store

BATCH: dict[str, Any] = {
    "batch": [{"type": "track", "event": "Product Viewed", "userId": "u1", "properties": {"product_id": "p1"}}]
}


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    made = Store("--appendfsync", "always")
    made.start()
    yield made
    made.remove()


@pytest.fixture(scope="module")
def server(store: Store) -> Iterator[Server]:
    with Server.on(store.url, FOLDER, event_stream_bytes=str(1024**2), durability="strict") as running:
        yield running


@pytest.fixture
def redis(store: Store) -> Iterator[Redis]:
    client = Redis(unix_socket_path=str(store.socket_path))
    yield client
    client.close()


@pytest.fixture
def say(server: Server) -> Callable[[str], httpx.Response]:
    """Send a batch until it is answered with this code, or taken."""

    def until(code: str) -> httpx.Response:
        give_up_at = time.monotonic() + 10
        while True:
            answer = httpx.post(f"{server.url}/v1/batch", json=BATCH, timeout=60)
            if answer.json().get("code", "taken") == code:
                return answer
            assert time.monotonic() < give_up_at, answer.text
            time.sleep(0.05)  # what is waited for happens in another process

    return until


def comes_again(answer: httpx.Response, status: int) -> None:
    assert answer.status_code == status
    assert 1 <= int(answer.headers["retry-after"]) <= 10  # whole seconds: Node's client reads nothing else
    assert answer.json()["message"]


def test_no_room_is_429_until_there_is(redis: Redis, say: Callable[[str], httpx.Response]) -> None:
    redis.set(CTL_EVENTS_CONSUMED, 1)
    for number in range(20):
        redis.xadd("{s001}:events", {"x": bytes(100_000), "n": number})
    comes_again(say("rate_limited"), 429)
    redis.delete("{s001}:events")
    assert say("taken").json()["accepted"] == 1
    redis.delete(CTL_EVENTS_CONSUMED)


def test_no_disk_is_503_in_strict_mode(redis: Redis, say: Callable[[str], httpx.Response], server: Server) -> None:
    redis.config_set("appendonly", "no")
    comes_again(httpx.post(f"{server.url}/v1/batch", json=BATCH, timeout=60), 503)
    redis.config_set("appendonly", "yes")
    assert say("taken").json()["accepted"] == 1


def test_no_store_is_503_until_it_is_back(store: Store, say: Callable[[str], httpx.Response]) -> None:
    store.stop()
    comes_again(say("store_unavailable"), 503)
    store.start()
    assert say("taken").json()["accepted"] == 1
