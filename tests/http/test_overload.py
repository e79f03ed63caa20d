"""How a server that is full says no, over real connections. One decision at a time is let in here, and it waits for a
store that does not answer: so whatever else comes is refused for sure."""

from __future__ import annotations

import asyncio
import json
import socket
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest

from tests.support.scripted import ProxyBeside, proxy_beside
from tests.support.server import Server, eventually
from tests.support.valkey import Store
from tests.support.webhooks import sendgrid

BODY = json.dumps({"customer": "cus_full", "placements": ["receipt"], "dry_run": True}).encode()
SEEN: Counter[int] = Counter()  # all answers, by status
EVENT = json.dumps({"event": "seen", "customer": "cus_full"}).encode()


@pytest.fixture(scope="module")
def way() -> Iterator[ProxyBeside]:
    store = Store()
    store.start()
    with proxy_beside(store.socket_path) as proxy:
        yield proxy
    store.remove()


@pytest.fixture(scope="module")
def server(way: ProxyBeside) -> Iterator[Server]:
    secrets: dict[str, Any] = {"NEXTBEST_WEBHOOK_SENDGRID_SECRETS": sendgrid.SAMPLE.trust.secrets[0]}
    with Server.on(way.url, max_in_flight="1", **secrets) as running:
        yield running


@asynccontextmanager
async def full(server: Server, way: ProxyBeside) -> AsyncIterator[None]:
    """While this is open, the one place is taken."""
    await asyncio.to_thread(server.wait, server.is_ready)
    way.do(lambda proxy: proxy.freeze())
    async with asyncio.TaskGroup() as group:
        first = group.create_task(server.client.decide("cus_first", "receipt", budget_ms=2000))
        await eventually(lambda: _is_refused(server))
        yield
        way.heal()
    assert first.result().status == 200
    await server.client.close()
    await eventually(lambda: not _is_refused(server))


def _is_refused(server: Server) -> bool:
    with connection(server) as wire:
        wire.sendall(request("/v1/decide"))
        return answers(wire, 1)[0][0] == 503


@contextmanager
def connection(server: Server) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as wire:
        yield wire


def request(path: str, *headers: str, body: bytes = BODY, version: str = "1.1") -> bytes:
    lines = [f"POST {path} HTTP/{version}", "host: example.com", f"content-length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def answers(wire: socket.socket, count: int) -> list[tuple[int, dict[str, str], bytes]]:
    """Status, headers and body of so many answers, and nothing after them."""
    data = b""
    found: list[tuple[int, dict[str, str], bytes]] = []
    while len(found) < count:
        piece = wire.recv(65536)
        assert piece, f"the connection ended after {len(found)} answers: {data[:200]!r}"
        data += piece
        while (end := data.find(b"\r\n\r\n")) >= 0:
            first, *lines = data[:end].decode().split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in lines)
            length = int(headers["content-length"])
            if len(data) < end + 4 + length:
                break
            SEEN[int(first.split(" ")[1])] += 1
            found.append((int(first.split(" ")[1]), headers, data[end + 4 : end + 4 + length]))
            data = data[end + 4 + length :]
    assert not data
    return found


async def test_a_refusal_says_when_to_come_back_and_leaves_the_connection_open(
    server: Server, way: ProxyBeside
) -> None:
    with connection(server) as wire:
        async with full(server, way):
            for _ in range(3):
                wire.sendall(request("/v1/decide"))
                ((status, headers, body),) = answers(wire, 1)
                assert (status, headers["content-type"]) == (503, "application/problem+json")
                assert (headers["retry-after"], json.loads(body)["code"]) == ("1", "overloaded")
                assert 0 <= float(headers["server-timing"].removeprefix("admit;dur=")) < 1000
                assert "connection" not in headers
        wire.sendall(request("/v1/decide"))
        assert answers(wire, 1)[0][0] == 200


@pytest.mark.parametrize(("path", "body"), [("/v1/decide", BODY), ("/v1/events", EVENT), ("/v1/track", EVENT),
                                            ("/v1/webhooks/sendgrid", b"[]")])  # fmt: skip
async def test_what_the_connection_refuses_is_what_the_route_would_refuse(
    server: Server, way: ProxyBeside, path: str, body: bytes
) -> None:
    """With a query, a request goes the usual way through parser and route."""
    async with full(server, way):
        with connection(server) as wire:
            wire.sendall(request(path, body=body))
            (early,) = answers(wire, 1)
            wire.sendall(request(f"{path}?x=1", body=body))
            (routed,) = answers(wire, 1)
    assert early[0] == routed[0]
    assert early[2] == routed[2]
    assert {**early[1], "server-timing": ""} == {**routed[1], "server-timing": ""}


async def test_events_are_refused_with_429_and_a_message_while_decisions_are(server: Server, way: ProxyBeside) -> None:
    async with full(server, way):
        for path in ("/v1/events", "/v1/track", "/v1/batch"):
            with connection(server) as wire:
                wire.sendall(request(path, body=EVENT))
                ((status, headers, body),) = answers(wire, 1)
            problem = json.loads(body)
            assert (status, headers["retry-after"], problem["code"]) == (429, "1", "rate_limited")
            assert problem["message"] == problem["detail"]


async def test_a_batch_is_refused_before_anything_of_it_is_decided(server: Server, way: ProxyBeside) -> None:
    async with full(server, way):
        answer = await server.client.ask("POST", "/v1/decide/batch", BODY)
    assert (answer.status, answer.json()["code"], answer.headers["retry-after"]) == (503, "overloaded", "10")


@pytest.mark.parametrize("pieces", [2, 7])
async def test_a_request_that_comes_in_pieces_is_refused_all_the_same(
    server: Server, way: ProxyBeside, pieces: int
) -> None:
    async with full(server, way):
        with connection(server) as wire:
            wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            whole = request("/v1/decide")
            size = len(whole) // pieces + 1
            for begin in range(0, len(whole), size):
                wire.sendall(whole[begin : begin + size])
                await asyncio.sleep(0.01)  # or they come as one
            ((status, headers, _),) = answers(wire, 1)
            assert (status, headers["retry-after"]) == (503, "1")
            wire.sendall(whole)
            assert answers(wire, 1)[0][0] == 503


async def test_requests_that_follow_one_another_before_an_answer_are_refused_in_order(
    server: Server, way: ProxyBeside
) -> None:
    async with full(server, way):
        with connection(server) as wire:
            wire.sendall(request("/v1/decide") + request("/v1/events", body=EVENT) + request("/v1/decide"))
            assert [status for status, _, _ in answers(wire, 3)] == [503, 429, 503]


async def test_a_request_behind_one_that_is_decided_is_not_answered_before_it(server: Server, way: ProxyBeside) -> None:
    await asyncio.to_thread(server.wait, server.is_ready)
    with connection(server) as wire:
        way.do(lambda proxy: proxy.freeze())
        wire.sendall(request("/v1/decide", body=BODY.replace(b"{", b'{"budget_ms": 2000, ', 1)))
        await eventually(lambda: _is_refused(server))
        wire.sendall(request("/v1/decide"))
        wire.settimeout(0.1)
        with pytest.raises(TimeoutError):
            wire.recv(1)
        wire.settimeout(5)
        way.heal()
        assert next(status for status, _, _ in answers(wire, 2)) == 200
    await eventually(lambda: not _is_refused(server))


async def test_a_caller_who_wants_the_connection_closed_is_refused_and_it_ends(
    server: Server, way: ProxyBeside
) -> None:
    async with full(server, way):
        with connection(server) as wire:
            wire.sendall(request("/v1/decide", "connection: close"))
            ((status, headers, _),) = answers(wire, 1)
            assert (status, headers["connection"]) == (503, "close")
            assert wire.recv(1) == b""


async def test_bytes_that_are_no_request_are_told_so_also_by_a_server_that_is_full(
    server: Server, way: ProxyBeside
) -> None:
    """Where its end could be told in two ways, a request is not refused early: what follows it might be taken for the
    next one."""
    two_ends = request("/v1/decide", "transfer-encoding: chunked")
    async with full(server, way):
        for data in (two_ends, request("/v1/decide").replace(b"host:", b"host :")):
            with connection(server) as wire:
                wire.sendall(data)
                assert answers(wire, 1)[0][0] == 400
                assert wire.recv(1) == b""


async def test_every_refusal_is_counted(server: Server, way: ProxyBeside) -> None:
    names = ("shed_total", 'problems_total{code="overloaded"}')
    before, seen_before = [server.metric(name) for name in names], SEEN[503]
    async with full(server, way):
        with connection(server) as wire:
            for _ in range(5):
                wire.sendall(request("/v1/decide"))
                assert answers(wire, 1)[0][0] == 503
    seen = SEEN[503] - seen_before
    assert [server.metric(name) for name in names] == [count + seen for count in before]
