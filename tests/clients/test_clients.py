"""The four clients that people use, unmodified, against a running server: only their host is ours.

`make clients` installs them into `.clients`; where they, or Node, are absent, these tests are skipped.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import httpx
import pytest
from redis import Redis

from app import keys_file
from app.core.events.entry import decode, decode_letter
from app.core.events.event import Collected, Edge, Letter
from app.core.events.masking import hash64
from app.core.identity import fallback_key, identity_hash
from app.store.keys import CTL_EVENTS_CONSUMED
from tests.support.event_bundle import FOLDER
from tests.support.serving import Server

HERE = Path(__file__).parent
INSTALLED = Path(os.environ.get("NEXTBEST_TEST_CLIENTS", HERE.parents[1] / ".clients"))
PYTHON, MODULES = INSTALLED / "bin" / "python", INSTALLED / "node_modules"
#: What somebody would write who uses the client → where the client lies when it is installed.
CLIENTS = {
    "segment_python.py": "lib/python*/site-packages/segment",
    "rudder_python.py": "lib/python*/site-packages/rudderstack",
    "segment_node.cjs": "node_modules/@segment/analytics-node",
    "rudder_node.cjs": "node_modules/@rudderstack/rudder-sdk-node",
}
HASH_KEY = "a key that only these tests know, 32 characters"
HOUR_MS = 3_600_000
NUMBERS = count(1)


class Shop:
    """A running server, its keys and its streams."""

    def __init__(self, server: Server, keys: Path) -> None:
        self.server = server
        self.redis = Redis(unix_socket_path=str(server.store.socket_path))
        self._key = keys_file.add(keys, ["collect"])
        self._reader = keys_file.add(keys, ["read"])[1]
        self._wait_for_keys()

    @property
    def key(self) -> str:
        return self._key[1]

    def message_id(self, said: str) -> bytes:
        return hash64(f"message\0{self._key[0].id}", said, HASH_KEY.encode())

    def start(self, client: str, user: str, key: str | None = None) -> subprocess.Popen[bytes]:
        command = [str(PYTHON)] if client.endswith(".py") else ["node"]
        arguments = [self.server.url, key or self.key, user, str(round(time.time() * 1000) - HOUR_MS)]
        return subprocess.Popen(
            [*command, str(HERE / client), *arguments],
            env=os.environ | {"NODE_PATH": str(MODULES), "PYTHONPATH": ""},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def run(self, client: str, user: str, key: str | None = None) -> None:
        self.start(client, user, key).wait(60)

    def says(self, body: object) -> httpx.Response:
        return httpx.post(f"{self.server.url}/v1/batch", json=body, auth=(self.key, ""))

    def events(self, *customers: str) -> dict[bytes, Collected]:
        found = [decode(raw) for raw in self._raw(b":events")]
        return {each.message_id: each for each in found if each.customer in customers}

    def letters(self, user: str) -> list[Letter]:
        return [letter for raw in self._raw(b":dead") if (letter := decode_letter(raw)).customer == user]

    def problems(self, code: str) -> float:
        text = httpx.get(f"{self.server.url}/metrics", headers={"authorization": f"Bearer {self._reader}"}).text
        lines = [line for line in text.splitlines() if line.startswith(f'nextbest_problems_total{{code="{code}"}}')]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)

    def _raw(self, kind: bytes) -> Iterator[bytes]:
        for name in self.redis.scan_iter(b"{s*}" + kind):
            for _, fields in self.redis.xrange(name):
                yield fields[b"e"]

    def _wait_for_keys(self) -> None:
        """The server reads the file again within a second."""
        headers = {"authorization": f"Bearer {self._reader}"}
        until(lambda: httpx.get(f"{self.server.url}/metrics", headers=headers).status_code == 200)


def until(condition: object, timeout_s: float = 30) -> None:
    give_up_at = time.monotonic() + timeout_s
    while not condition():  # type: ignore[operator]  # a function
        assert time.monotonic() < give_up_at, "it did not happen in time"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    keys = tmp_path_factory.mktemp("keys") / "keys.jsonl"
    keys_file.add(keys, ["admin"])
    # Without a worker: what was collected stays in the streams, where it is looked at.
    settings = {"NEXTBEST_KEYS_FILE": str(keys), "NEXTBEST_HASH_KEY": HASH_KEY, "NEXTBEST_EVENT_WORKER": "false"}
    with Server(FOLDER, **settings, NEXTBEST_EVENT_STREAM_BYTES=str(1024**2)) as server:
        opened = Shop(server, keys)
        yield opened
        opened.redis.close()


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if name.endswith(".cjs") and shutil.which("node") is None:
        pytest.skip("Node is not here")
    if not list(INSTALLED.glob(CLIENTS[name])):
        pytest.skip("the client is not installed: `make clients`")
    return name


@pytest.fixture
def user() -> str:
    return f"user_{next(NUMBERS)}"


def test_all_that_a_client_tells_arrives_as_it_was_meant(shop: Shop, client: str, user: str) -> None:
    shop.run(client, user)
    visitor = fallback_key("anonymous_id", f"anonymous {user}", HASH_KEY.encode())
    found = {name: shop.events(user, visitor).get(shop.message_id(name)) for name in
             ("identify", "then", "now", "visitor", "unfit", "page", "group", "alias")}  # fmt: skip
    then, now, visit, identify, page, alias = (
        found[name] for name in ("then", "now", "visitor", "identify", "page", "alias")
    )
    assert then and now and visit and identify and page and alias, found  # noqa: PT018  (which one is missing is shown)
    assert (then.type, then.properties) == ("product_viewed", {"product_id": "p1", "price": 10.5})
    assert abs(then.received_at_ms - then.occurred_at_ms - HOUR_MS) < 30_000
    assert now.properties == {"product_id": "p2"}
    assert now.received_at_ms - now.occurred_at_ms < 30_000
    assert (visit.customer, visit.properties) == (visitor, {"product_id": "3"})
    assert {edge.kind for edge in identify.edges} == {"user_id", "email_sha256"}
    assert {edge.kind for edge in page.edges} == {"user_id", "anonymous_id"}
    before = bytes.fromhex(identity_hash("user_id", f"before {user}", HASH_KEY.encode()))
    assert Edge("user_id", before) in alias.previous
    assert found["group"] is None  # it links nobody, and the bundle does not declare it
    assert [letter.misfit.code for letter in shop.letters(user)] == ["missing_property"]
    assert shop.letters(user)[0].message_id == shop.message_id("unfit")


def test_a_wrong_key_is_told_once_and_not_tried_again(shop: Shop, client: str, user: str) -> None:
    """Without `code` and `message` one of them sends a refused batch eleven times."""
    before = shop.problems("unauthenticated")
    shop.run(client, user, "nbk_wrong")
    requests = shop.problems("unauthenticated") - before
    assert 1 <= requests <= 2  # RudderStack's Node client sends its first event alone
    assert not shop.events(user)


def test_what_was_refused_for_want_of_room_comes_again(shop: Shop, client: str, user: str) -> None:
    filled = [f"{{s{shard:03d}}}:events" for shard in range(16)]
    shop.redis.set(CTL_EVENTS_CONSUMED, 1)
    try:
        for name in filled:
            shop.redis.xadd(name, {"x": b"x" * 100_000})
        until(lambda: shop.says({"batch": []}).status_code == 429)
        refused = shop.says({"batch": []})
        assert int(refused.headers["retry-after"]) >= 1
        before = shop.problems("rate_limited")
        process = shop.start(client, user)
        until(lambda: shop.problems("rate_limited") > before)
    finally:
        shop.redis.delete(*filled, CTL_EVENTS_CONSUMED)
    process.wait(60)
    assert shop.message_id("now") in shop.events(user)


def test_what_met_a_broken_store_comes_again(shop: Shop, client: str, user: str) -> None:
    before = shop.problems("store_unavailable")
    shop.server.store.stop()
    try:
        process = shop.start(client, user)
        until(lambda: shop.problems("store_unavailable") > before)
    finally:
        shop.server.store.start()
    process.wait(60)
    assert shop.message_id("now") in shop.events(user)
