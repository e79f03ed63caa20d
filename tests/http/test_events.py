"""`/v1/events` and the Segment routes over HTTP, on a real store: what is taken, what is refused, in which words."""

from __future__ import annotations

import base64
import gzip
import json
import re
import zlib
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from redis import Redis

from app import keys_file
from app.core.events.entry import decode, decode_letter
from app.core.events.event import Collected, Letter
from tests.support.event_bundle import FOLDER
from tests.support.serving import Server

NUMBERS = count(1)
SEGMENT_PATHS = ["/v1/track", "/v1/identify", "/v1/alias", "/v1/page", "/v1/screen", "/v1/group", "/v1/batch"]
PATHS = ["/v1/events", *SEGMENT_PATHS]


class Keys:
    """Keys of the server, by what they may."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.collect = keys_file.add(path, ["collect"])[1]
        self.other = keys_file.add(path, ["collect"])[1]
        self.decide = keys_file.add(path, ["decide", "read"])[1]
        self.read = keys_file.add(path, ["read"])[1]


class Streams:
    """What lies in the streams of the server's store."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis

    def events(self, *customers: str) -> list[Collected]:
        """Of these customers, in the order of their collection within each shard."""
        found = [decode(raw) for raw in self._raw(b":events")]
        return [each for each in found if each.customer in customers]

    def letters(self, reason: str | None = None) -> list[Letter]:
        found = [decode_letter(raw) for raw in self._raw(b":dead")]
        return [each for each in found if reason in (None, each.misfit.code)]

    def _raw(self, kind: bytes) -> Iterator[bytes]:
        for name in sorted(self.redis.scan_iter(b"{s*}" + kind)):
            for _, fields in self.redis.xrange(name):
                yield fields[b"e"]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return Keys(tmp_path_factory.mktemp("keys") / "keys.jsonl")


@pytest.fixture(scope="module")
def server(keys: Keys) -> Iterator[Server]:
    with Server(FOLDER, NEXTBEST_KEYS_FILE=str(keys.path)) as running:
        yield running


@pytest.fixture(scope="module")
def http(server: Server, keys: Keys) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=20, headers={"authorization": f"Bearer {keys.collect}"}) as client:
        yield client


@pytest.fixture(scope="module")
def stranger(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=20) as client:
        yield client


@pytest.fixture(scope="module")
def streams(server: Server) -> Iterator[Streams]:
    redis = Redis(unix_socket_path=str(server.store.socket_path))
    yield Streams(redis)
    redis.close()


@pytest.fixture
def customer() -> str:
    return f"cus_{next(NUMBERS)}"


def viewed(customer: str, **properties: Any) -> dict[str, Any]:
    return {"event": "product_viewed", "customer": customer, "properties": {"product_id": "p1"} | properties}


def track(customer: str, **properties: Any) -> dict[str, Any]:
    told = {"product_id": "p1"} | properties
    return {"type": "track", "event": "Product Viewed", "userId": customer, "anonymousId": None, "properties": told}


def basic(name: str, password: str = "") -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def refused(answer: httpx.Response, status: int, code: str) -> None:
    """These clients read `code` and `message`; without them some send the same again and again."""
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["message"] == answer.json()["detail"]


# Native


def test_an_event_an_array_and_lines_are_taken(http: httpx.Client, streams: Streams, customer: str) -> None:
    event = viewed(customer)
    lines = "\n".join(["", json.dumps(event), "  ", json.dumps(event), ""])
    assert http.post("/v1/events", json=event).json()["accepted"] == 1
    assert http.post("/v1/events", json=[event, event]).json()["accepted"] == 2
    answer = http.post("/v1/events", content=lines, headers={"content-type": "application/x-ndjson"})
    assert answer.json() == {"accepted": 2, "undeclared": 0, "properties_dropped": 0, "rejected": []}
    assert [each.type for each in streams.events(customer)] == ["product_viewed"] * 5


def test_an_empty_array_is_taken(http: httpx.Client) -> None:
    assert http.post("/v1/events", json=[]).json()["accepted"] == 0
    assert http.post("/v1/batch", json={"batch": []}).json()["accepted"] == 0


def test_what_was_dropped_and_what_was_passed_over_is_counted(http: httpx.Client, customer: str) -> None:
    answer = http.post("/v1/events", json=[viewed(customer, colour="red", size=1), viewed(customer) | {"event": "x"}])
    assert answer.json() == {"accepted": 1, "undeclared": 1, "properties_dropped": 2, "rejected": []}


def test_an_event_that_nobody_declares_is_told_apart_also_where_it_links_its_customer(
    http: httpx.Client, streams: Streams
) -> None:
    """Clients send both ids all the time: a misspelt name would look accepted."""
    both = {"anonymous_id": "a_misspelt", "user_id": "u_misspelt"}
    answer = http.post("/v1/events", json={"event": "prodcut_viewed", "customer": both})
    assert answer.json() == {"accepted": 0, "undeclared": 1, "properties_dropped": 0, "rejected": []}
    assert [each.type for each in streams.events("u_misspelt")] == [""]
    assert http.post("/v1/events", json={"event": "identify", "customer": both}).json()["accepted"] == 1


def test_one_bad_event_does_not_cost_the_others(http: httpx.Client, streams: Streams, customer: str) -> None:
    events = [viewed(customer, position=number) for number in range(2500)]
    events[1700] = viewed(customer, position="first")
    answer = http.post("/v1/events", json=events)
    assert answer.status_code == 200
    assert answer.json()["accepted"] == 2499
    assert answer.json()["rejected"] == [{"index": 1700, "code": "wrong_type", "detail": "`position` is no int"}]
    assert {each.properties["position"] for each in streams.events(customer)} == set(range(2500)) - {1700}
    (letter,) = [each for each in streams.letters("wrong_type") if each.customer == customer]
    assert letter.properties == {"product_id": "p1", "position": "first"}


def test_a_line_that_is_no_json_does_not_cost_the_others(http: httpx.Client, customer: str) -> None:
    lines = f"{json.dumps(viewed(customer))}\n{{broken\n{json.dumps(viewed(customer))}"
    answer = http.post("/v1/events", content=lines, headers={"content-type": "application/x-ndjson"})
    assert answer.json()["accepted"] == 2
    assert [(each["index"], each["code"]) for each in answer.json()["rejected"]] == [(1, "malformed")]


@pytest.mark.parametrize("item", [None, 3, "x", [], {}, {"event": None, "customer": None, "properties": None}])
def test_nulls_and_other_things_everywhere(http: httpx.Client, item: Any) -> None:
    assert http.post("/v1/events", json=[item]).json()["accepted"] == 0
    answer = http.post("/v1/batch", json={"batch": [item], "sentAt": None, "context": None, "writeKey": None})
    assert (answer.status_code, answer.json()["rejected"][0]["code"]) == (200, "malformed")


def test_an_alias_is_resolved_to_the_customer_that_it_belongs_to(
    http: httpx.Client, streams: Streams, customer: str
) -> None:
    body = {"identities": {"user_id": f"user of {customer}"}}
    assert http.put(f"/v1/customers/{customer}", json=body).status_code == 200
    event = viewed(customer) | {"customer": {"user_id": f"user of {customer}"}}
    assert http.post("/v1/events", json=event).json()["accepted"] == 1
    assert len(streams.events(customer)) == 1


def test_the_time_of_receipt_is_the_stores(http: httpx.Client, streams: Streams, customer: str) -> None:
    http.post("/v1/events", json=viewed(customer))
    (event,) = streams.events(customer)
    seconds, micros = streams.redis.time()  # type: ignore[misc]  # redis-py names the type of two clients in one
    assert 0 <= seconds * 1000 + micros / 1000 - event.received_at_ms < 5_000


# CloudEvents


def test_the_three_modes_of_cloudevents_are_taken(http: httpx.Client, streams: Streams, customer: str) -> None:
    event = {"specversion": "1.0", "id": "1", "source": "/shop", "type": "product_viewed", "subject": customer}
    data = {"product_id": "p1"}
    structured, batched = "application/cloudevents+json; charset=UTF-8", "application/cloudevents-batch+json"
    bodies = [
        (structured, json.dumps({**event, "data": data}), {}),
        (batched, json.dumps([{**event, "data": data}] * 2), {}),
        (None, json.dumps(data), {f"ce-{name}": value for name, value in event.items()}),  # as Python's client sends it
        ("application/json", json.dumps(data), {f"CE-{name}": value for name, value in event.items()}),
    ]
    for content_type, body, headers in bodies:
        if content_type is not None:
            headers |= {"content-type": content_type}
        answer = http.post("/v1/events", content=body, headers=headers)
        assert (answer.status_code, answer.json()["rejected"]) == (200, [])
    assert len({each.message_id for each in streams.events(customer)}) == 1
    assert len(streams.events(customer)) == 5
    assert http.post("/v1/events", content="[]", headers={"content-type": batched}).json()["accepted"] == 0


def test_a_cloudevent_without_data_is_an_event_without_properties(http: httpx.Client, customer: str) -> None:
    headers = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/shop", "ce-type": "x", "ce-subject": customer}
    assert http.post("/v1/events", headers=headers).json()["undeclared"] == 1


def test_other_formats_of_cloudevents_are_refused(http: httpx.Client) -> None:
    headers = {"content-type": "application/cloudevents+avro"}
    refused(http.post("/v1/events", content="x", headers=headers), 415, "unsupported_media_type")


@pytest.mark.parametrize(("kind", "body"), [("", "[]"), ("-batch", "{}")])
def test_a_mode_of_cloudevents_holds_what_it_says(http: httpx.Client, kind: str, body: str) -> None:
    headers = {"content-type": f"application/cloudevents{kind}+json"}
    refused(http.post("/v1/events", content=body, headers=headers), 400, "malformed_json")


# Segment's routes


@pytest.mark.parametrize("kind", ["track", "identify", "page", "screen", "group", "alias"])
def test_each_kind_of_message_has_a_route(http: httpx.Client, streams: Streams, customer: str, kind: str) -> None:
    message = {"userId": customer, "anonymousId": "8f3a", "previousId": "8f3b", "event": "Product Viewed",
               "properties": {"product_id": "p1"}, "groupId": "g1"}  # fmt: skip
    answer = http.post(f"/v1/{kind}", json=message)
    counted = "undeclared" if kind in {"page", "screen", "group"} else "accepted"  # whom they link is kept all the same
    assert (answer.status_code, answer.json()["success"], answer.json()[counted]) == (200, True, 1), answer.text
    (event,) = streams.events(customer)
    assert event.type == ("product_viewed" if kind == "track" else "")
    assert len(event.edges) == 2
    assert len(event.previous) == (2 if kind == "alias" else 0)


@pytest.mark.parametrize(
    "content_type", [None, "text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-16"]
)
@pytest.mark.parametrize("path", ["/v1/batch", "/v1/events"])
def test_the_content_type_is_not_believed(
    http: httpx.Client, customer: str, path: str, content_type: str | None
) -> None:
    body = json.dumps({"batch": [track(customer)]} if path == "/v1/batch" else viewed(customer))
    headers = {} if content_type is None else {"content-type": content_type}
    assert http.post(path, content=b"\xef\xbb\xbf" + body.encode(), headers=headers).json()["accepted"] == 1


def test_what_python_writes_and_is_no_json_costs_its_own_event_only(http: httpx.Client, customer: str) -> None:
    batch = [track(customer), track(customer, price=float("nan")), track(customer, category="\ud800"), track("\udfff")]
    answer = http.post("/v1/batch", content=json.dumps({"batch": batch}))
    assert answer.json()["accepted"] == 1
    assert [each["code"] for each in answer.json()["rejected"]] == ["wrong_type", "bad_text", "bad_text"]


def test_an_event_is_at_most_32_kib(http: httpx.Client, customer: str) -> None:
    answer = http.post("/v1/batch", json={"batch": [track(customer, search_text="x" * 33_000), track(customer)]})
    assert answer.json()["accepted"] == 1
    assert answer.json()["rejected"][0]["code"] == "too_large"


# Bodies


@pytest.mark.parametrize("said", [{"content-encoding": "gzip"}, {}])
def test_what_is_gzip_is_unpacked_whatever_is_said(http: httpx.Client, customer: str, said: dict[str, str]) -> None:
    packed = gzip.compress(json.dumps(viewed(customer)).encode())
    assert http.post("/v1/events", content=packed, headers=said).json()["accepted"] == 1
    half = json.dumps([viewed(customer), viewed(customer)]).encode()
    members = gzip.compress(half[:50]) + gzip.compress(half[50:])
    assert http.post("/v1/events", content=members, headers=said).json()["accepted"] == 2


def test_what_is_said_to_be_gzip_and_is_not_is_taken_as_it_is(http: httpx.Client, customer: str) -> None:
    answer = http.post("/v1/events", json=viewed(customer), headers={"content-encoding": "gzip"})
    assert answer.json()["accepted"] == 1


@pytest.mark.parametrize("path", ["/v1/events", "/v1/batch"])
def test_a_body_that_cannot_be_unpacked_is_refused(http: httpx.Client, path: str) -> None:
    packed = gzip.compress(json.dumps({"batch": [{"a": number} for number in range(1000)]}).encode())
    damaged = packed[:100] + bytes(8) + packed[108:]
    for body in (packed[:-10], packed[:20], damaged, packed + b"more", gzip.compress(packed)):
        refused(http.post(path, content=body, headers={"content-encoding": "gzip"}), 400, "malformed_body")


@pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, gzip"])
def test_other_encodings_are_refused(http: httpx.Client, encoding: str) -> None:
    answer = http.post("/v1/batch", content=b"x", headers={"content-encoding": encoding})
    refused(answer, 415, "unsupported_media_type")


@pytest.mark.parametrize("path", ["/v1/events", "/v1/batch"])
@pytest.mark.parametrize(
    "body", [b"", b"{", b"null", b"3", b'"x"', b"\xff\xfe", b'{"batch": 3}', b"[" * 100_000, b'{"a":' * 50_000, b"\x1f"]
)
def test_what_is_no_json_is_refused(http: httpx.Client, path: str, body: bytes) -> None:
    if path == "/v1/events" and body == b'{"batch": 3}':
        pytest.skip("an object is an event here")
    refused(http.post(path, content=body), 400, "malformed_json")


def test_a_bomb_is_refused_in_constant_memory(server: Server, http: httpx.Client) -> None:
    """Two gigabytes of zeros in two megabytes."""
    assert server._process is not None
    process = psutil.Process(server._process.pid)
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    head = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    again = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)  # the same for each megabyte to come
    bomb = head + again * 2047
    assert len(bomb) < 3 * 1024 * 1024
    http.post("/v1/batch", content=bomb[:1000])
    before = process.memory_info().rss
    Path(f"/proc/{process.pid}/clear_refs").write_text("5")  # the highest so far is now (proc_pid_clear_refs(5))
    for _ in range(5):
        refused(http.post("/v1/batch", content=bomb, headers={"content-encoding": "gzip"}), 413, "payload_too_large")
    highest = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
    assert highest is not None
    assert int(highest[1]) * 1024 - before < 40 * 1024 * 1024


def test_a_body_over_the_limit_is_refused_and_one_of_four_megabytes_is_not(http: httpx.Client, customer: str) -> None:
    batch = [track(customer, search_text="x" * 900) for _ in range(3_900)]
    body = json.dumps({"batch": batch})
    assert 4_000_000 < len(body) < 5 * 1024 * 1024
    assert http.post("/v1/batch", content=body).json()["accepted"] == 3_900
    refused(http.post("/v1/batch", content=json.dumps({"batch": batch * 2})), 413, "payload_too_large")


def test_too_many_events_are_refused(http: httpx.Client) -> None:
    refused(http.post("/v1/events", json=[{}] * 5_001), 413, "payload_too_large")


# Keys


@pytest.mark.parametrize("path", PATHS)
def test_a_key_that_may_not_collect_is_refused_in_words_that_clients_read(
    stranger: httpx.Client, keys: Keys, path: str
) -> None:
    for header in (f"Bearer {keys.decide}", basic(keys.read)):
        refused(stranger.post(path, json={}, headers={"authorization": header}), 403, "forbidden")
    unknown = ["Bearer nbk_unknown", basic("nbk_unknown"), basic(keys.collect, "password"), "Basic %%%", "x", ""]
    for header in unknown:
        refused(stranger.post(path, json={}, headers={"authorization": header}), 401, "unauthenticated")
    refused(stranger.post(path, json={}), 401, "unauthenticated")


def test_a_write_key_is_taken_wherever_clients_put_it(stranger: httpx.Client, keys: Keys, customer: str) -> None:
    body: dict[str, Any] = {"batch": [track(customer)]}
    for header in (basic(keys.collect), f"Bearer {keys.collect}", basic(keys.collect).removesuffix("=")):
        answer = stranger.post("/v1/batch", json=body, headers={"authorization": header})
        assert answer.status_code in (200, 401)  # the last one is no base64
    assert stranger.post("/v1/batch", json=body, headers={"authorization": basic(keys.collect)}).status_code == 200
    assert stranger.post("/v1/batch", json=body, params={"writeKey": keys.collect}).status_code == 200
    assert stranger.post("/v1/batch", json=body | {"writeKey": keys.collect}).status_code == 200
    for wrong in ("nbk_unknown", 3, None, "\ud800"):
        answer = stranger.post("/v1/batch", content=json.dumps(body | {"writeKey": wrong}))
        refused(answer, 401, "unauthenticated")
    refused(stranger.post("/v1/batch", json=body, params={"writeKey": keys.decide}), 403, "forbidden")


def test_what_holds_its_own_key_may_be_less_large(stranger: httpx.Client, keys: Keys) -> None:
    body = json.dumps({"writeKey": keys.collect, "batch": [], "padding": "x" * 600_000})
    refused(stranger.post("/v1/batch", content=body), 413, "payload_too_large")
    assert stranger.post("/v1/batch", content=body, headers={"authorization": basic(keys.collect)}).status_code == 200


@pytest.mark.parametrize("header", ["bearer", "basic"])
def test_a_write_key_may_collect_and_nothing_else(stranger: httpx.Client, keys: Keys, header: str) -> None:
    authorization = {"authorization": f"Bearer {keys.collect}" if header == "bearer" else basic(keys.collect)}
    asked = ["POST /v1/decide", "GET /v1/customers/cus_1", "DELETE /v1/customers/cus_1", "GET /metrics"]
    for method, path in map(str.split, [*asked, "PUT /v1/switches/all/*", "GET /v1/bundle"]):
        assert stranger.request(method, path, json={}, headers=authorization).status_code == 403


def test_what_another_key_sends_under_the_same_id_is_no_repeat(
    http: httpx.Client, keys: Keys, streams: Streams, customer: str
) -> None:
    message = track(customer) | {"messageId": "m1"}
    for _ in range(2):
        http.post("/v1/batch", json={"batch": [message]})
    assert len({each.message_id for each in streams.events(customer)}) == 1
    http.post("/v1/batch", json={"batch": [message]}, headers={"authorization": f"Bearer {keys.other}"})
    assert len({each.message_id for each in streams.events(customer)}) == 2


def test_metrics_count_what_became_of_events(
    http: httpx.Client, stranger: httpx.Client, keys: Keys, customer: str
) -> None:
    def counted(result: str) -> float:
        text = stranger.get("/metrics", headers={"authorization": f"Bearer {keys.read}"}).text
        (line,) = [each for each in text.splitlines() if each.startswith(f'nextbest_events_total{{result="{result}"}}')]
        return float(line.rsplit(" ", 1)[1])

    before = {result: counted(result) for result in ("accepted", "undeclared", "wrong_type")}
    http.post("/v1/events", json=[viewed(customer), viewed(customer, price="x"), viewed(customer) | {"event": "y"}])
    assert {result: counted(result) - at for result, at in before.items()} == {
        "accepted": 1, "undeclared": 1, "wrong_type": 1,
    }  # fmt: skip


def test_no_direct_identifier_reaches_the_store(http: httpx.Client, streams: Streams, server: Server) -> None:
    """Whatever a careless client sends, in whatever place."""
    someone = "grace.hopper@example.com"
    context = {"traits": {"email": someone}, "ip": "192.0.2.99", "library": {"name": someone}}
    traits = {"email": someone, "phone": "+1 555 123 4567", "name": someone}
    batch = [
        {"type": "identify", "userId": someone, "traits": traits},
        track(someone, search_text=someone, note=someone) | {"messageId": someone, "context": context},
        track(someone, price=someone, search_text="192.0.2.99"),
        {"type": someone},
        {"type": "track", "event": someone},
        track(someone) | {"event": someone},
        {"type": "alias", "userId": "u1", "previousId": someone},
    ]
    http.post("/v1/batch", json={"batch": batch})
    http.post("/v1/events", json=[{"event": someone, "customer": someone}, viewed("cus_1") | {"source": someone}])
    for name in streams.redis.scan_iter():
        kind = streams.redis.type(name)
        raw = repr(streams.redis.xrange(name)) if kind == b"stream" else streams.redis.dump(name).decode("latin1")
        assert "hopper" not in raw + name.decode("latin1")
        assert "192.0.2.99" not in raw
    assert "hopper" not in server.log()
