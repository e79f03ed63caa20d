"""What customers did, as anybody may send it: unpacking, JSON, NDJSON, CloudEvents and Segment messages, and their way
to the bytes of the stream.

Input: how it is sent (a byte), and the body as it comes.
"""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Iterator
from functools import cache
from typing import Any

from fastapi import Request

from app.core.events import segment
from app.core.events.entry import decode, decode_letter, encode, encode_letter
from app.core.events.event import Arrived, Collected, Letter, Misfit
from app.core.events.json_text import soundly
from app.core.events.quality import judge_again
from app.core.events.who import who_is_it
from app.errors import Problem
from app.flows.room import Room
from app.http.event_body import Body, Held, read_body
from app.http.events import _items, at_most, document
from tests.support.event_bundle import HASH_KEY, event_bundle, judged

LIMIT_BYTES = 1_000_000
ITEMS_MAX = 50
NATIVE, LINES, STRUCTURED, BATCHED, BINARY, TRACK, BATCH, ANY = range(8)
HEADERS = {
    NATIVE: [(b"content-type", b"application/json")],
    LINES: [(b"content-type", b"application/x-ndjson")],
    STRUCTURED: [(b"content-type", b"application/cloudevents+json")],
    BATCHED: [(b"content-type", b"application/cloudevents-batch+json; charset=utf-8")],
    BINARY: [
        (b"ce-specversion", b"1.0"), (b"ce-id", b"1"), (b"ce-source", b"/shop"), (b"ce-type", b"product_viewed"),
        (b"ce-subject", b"cus_1"), (b"ce-time", b"2026-11-30T23:00:00Z"),
    ],
}  # fmt: skip
VIEWED = {"event": "product_viewed", "customer": {"user_id": "u_1"}, "properties": {"product_id": "p1", "price": 1.5}}
CLOUD = {
    "specversion": "1.0",
    "id": "1",
    "source": "s",
    "type": "product_viewed",
    "subject": "u1",
    "data": {"product_id": "p1"},
}
TRACKED = {"type": "track", "event": "Product Viewed", "userId": "u1", "properties": {"product_id": "p1"},
           "timestamp": "2026-11-30T23:00:00Z", "context": {"traits": {"email": "reader@example.com"}}}  # fmt: skip
WORDS = (
    b'"event"', b'"customer"', b'"properties"', b'"at"', b'"id"', b'"previous"', b'"identify"', b'"alias"', b'"type"',
    b'"heartbeat"', b'"data_base64"', b'"specversion"', b'"traits"', b'"anonymousId"', b'"messageId"', b'"email"',
    b"reader@example.com", b"\\ud800", b"NaN", b"1e999", b"2026-11-24T00:00:00+25:00", b"\x1f\x8b\x08",
    b"\xef\xbb\xbf",
)  # fmt: skip


def seeds() -> Iterator[bytes]:
    bodies: dict[int, Any] = {
        NATIVE: VIEWED, LINES: VIEWED, STRUCTURED: CLOUD, BATCHED: [CLOUD, {**CLOUD, "data_base64": "e30="}],
        BINARY: {"product_id": "p1"}, TRACK: TRACKED, BATCH: {"batch": [TRACKED], "sentAt": "2026-11-30T23:00:00Z"},
    }  # fmt: skip
    for kind, body in bodies.items():
        yield bytes((kind,)) + json.dumps(body).encode()
    whole = {**VIEWED, "at": "2026-11-30T22:00:00Z", "id": "e1", "version": 1, "source": "shop", "previous": "p"}
    yield bytes((NATIVE,)) + json.dumps([whole, {"type": "heartbeat", "events": ["product_viewed"]}]).encode()
    yield bytes((LINES,)) + b"\n".join([json.dumps(VIEWED).encode(), b"", b'{"event": "\\ud800"}'])
    yield bytes((NATIVE,)) + gzip.compress(json.dumps(VIEWED).encode(), mtime=0)
    for call in ("identify", "alias", "page", "screen", "group"):
        said = {**TRACKED, "type": call, "previousId": "u0", "groupId": "g", "name": "n", "traits": {"plan": "a"}}
        yield bytes((BATCH,)) + json.dumps({"batch": [said]}).encode()


@cache
def loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


def run(data: bytes) -> None:
    if not data:
        return
    kind, pieces = data[0] % 8, [data[1:]] if data[0] < 128 else [data[1:9], data[9:10], data[10:]]
    try:
        for arrived in loop().run_until_complete(_arrived(kind, pieces)):
            _judged(arrived)
    except Problem as problem:
        problem.render()


async def _arrived(kind: int, pieces: list[bytes]) -> list[Arrived | Misfit]:
    """The events of a body, as the routes take them apart. Raises Problem."""
    messages = [{"type": "http.request", "body": each, "more_body": True} for each in pieces]
    messages.append({"type": "http.request", "body": b"", "more_body": False})

    async def receive() -> Any:
        return messages.pop(0)

    request = Request({"type": "http", "headers": HEADERS.get(kind, [])}, receive)
    with Held(Room(lambda _: True, lambda: 0)) as held:
        body = await read_body(Body(request), "gzip", held, LIMIT_BYTES)
    if kind not in (TRACK, BATCH):
        items, read = _items(request, body)
        return [read(item) for item in items[:ITEMS_MAX]]
    found = document(body)
    if not isinstance(found.said, dict):
        return []
    several = segment.batch(found.said) if kind == BATCH else [found.said]
    sent_at = found.said.get("sentAt")
    named = None if kind == BATCH else "track"
    read = soundly(lambda item: segment.message(item, named, sent_at), len(body), found.doubtful)
    return [read(item) for item in at_most(several or [])[:ITEMS_MAX]]


def _judged(arrived: Arrived | Misfit) -> None:
    """What is kept of it is read back as it was."""
    if isinstance(arrived, Misfit) or isinstance(who_is_it(arrived, frozenset()), Misfit):
        return
    result = judged(arrived).result
    if isinstance(result, Collected):
        assert decode(encode(result)) == result
    elif isinstance(result, Letter):
        assert decode_letter(encode_letter(result)) == result
        judge_again(result, event_bundle().events, HASH_KEY)
