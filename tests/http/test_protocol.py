"""The wire's limits, on a real socket: what is too big, too slow or no HTTP gets a problem, and ends its connection."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from app.http.protocol import FIRST_BYTE, DecisionProtocol, Limits, ServerConfig

Connect = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]
SMALL = Limits(body_bytes=1000, head_bytes=2000, header_count=10, request_timeout_s=0.15)


class Application:
    """Reads a body and answers its size; remembers the scopes it saw and whether a caller left."""

    def __init__(self) -> None:
        self.scopes: list[Scope] = []
        self.sizes: list[int] = []
        self.left = 0
        self.reading = asyncio.Event()
        self.reading.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        await self.reading.wait()
        size, more = 0, scope["path"] != "/unread"
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.left += 1
                return
            size += len(message.get("body", b""))
            more = message.get("more_body", False)
        self.sizes.append(size)
        body = str(size).encode()
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def serving(folder: Path, application: Application, limits: Limits = SMALL) -> AsyncIterator[Connect]:
    config = ServerConfig(
        application, interface="asgi3", log_config=None, access_log=False, proxy_headers=False, ws="none"
    )
    config.limits = limits
    config.load()
    loop, state, path = asyncio.get_running_loop(), ServerState(), str(folder / "s")
    server = await loop.create_unix_server(lambda: DecisionProtocol(config, state, {}, loop), path)
    writers: list[asyncio.StreamWriter] = []

    async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_unix_connection(path)
        writers.append(writer)
        return reader, writer

    try:
        async with asyncio.timeout(5):
            yield connect
    finally:
        for writer in writers:
            writer.close()
        server.close()
        for connection in list(state.connections):
            connection.transport.abort()
        await asyncio.gather(*state.tasks, return_exceptions=True)


async def answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
    return int(head[0].split()[1]), headers, await reader.readexactly(int(headers["content-length"]))


def request(body: bytes = b"", path: str = "/v1/decide", extra: bytes = b"") -> bytes:
    head = b"POST %s HTTP/1.1\r\nhost: example.com\r\ncontent-length: %d\r\n%s\r\n"
    return head % (path.encode(), len(body), extra) + body


async def refused(connect: Connect, *pieces: bytes, code: str, status: int) -> Any:
    """Sends the pieces, checks the problem, and that the connection is of no more use."""
    reader, writer = await connect()
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(0)
    got, headers, body = await answer(reader)
    problem = json.loads(body)
    assert (got, problem["code"], headers["content-type"]) == (status, code, "application/problem+json")
    assert headers["connection"] == "close"
    return problem


async def test_a_budget_counts_from_the_first_byte_of_the_request(tmp_path: Path) -> None:
    application, loop = Application(), asyncio.get_running_loop()
    async with serving(tmp_path, application, Limits(request_timeout_s=5)) as connect:
        reader, writer = await connect()
        whole = request(b"x" * 10)
        before = loop.time()
        writer.write(whole[:30])
        await asyncio.sleep(0.05)
        after = loop.time()
        writer.write(whole[30:])
        assert (await answer(reader))[0] == 200
        assert before - 0.002 <= application.scopes[0][FIRST_BYTE] < after - 0.03
        writer.write(whole)
        await answer(reader)
        assert application.scopes[1][FIRST_BYTE] >= after


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_over_the_limit_is_a_413_and_the_application_stops_reading(tmp_path: Path, chunked: bool) -> None:
    application = Application()
    async with serving(tmp_path, application) as connect:
        if chunked:
            head = b"POST /v1/decide HTTP/1.1\r\nhost: example.com\r\ntransfer-encoding: chunked\r\n\r\n"
            pieces = [head, *[b"1f4\r\n" + b"x" * 500 + b"\r\n"] * 3]
        else:
            pieces = [request(b"x" * 1001)]
        await refused(connect, *pieces, code="payload_too_large", status=413)
        assert application.sizes == []
    assert application.left == len(application.scopes)


async def test_a_body_at_the_limit_passes(tmp_path: Path) -> None:
    application = Application()
    async with serving(tmp_path, application) as connect:
        reader, writer = await connect()
        for _ in range(2):
            writer.write(request(b"x" * 1000))
            assert (await answer(reader))[0] == 200


async def test_a_client_that_writes_everything_before_it_reads_still_gets_the_413(tmp_path: Path) -> None:
    async with serving(tmp_path, Application()) as connect:
        await refused(connect, request(b"x" * 3_000_000), code="payload_too_large", status=413)


async def test_a_streamed_body_may_be_as_long_as_it_likes(tmp_path: Path) -> None:
    application = Application()
    async with serving(tmp_path, application) as connect:
        reader, writer = await connect()
        writer.write(request(b"x" * 300_000, "/v1/customers/bulk"))
        assert await answer(reader) == (200, {"content-length": "6"}, b"300000")


@pytest.mark.parametrize("sent", [5, 60, 90])
async def test_a_request_that_stops_half_way_is_a_408(tmp_path: Path, sent: int) -> None:
    async with serving(tmp_path, Application()) as connect:
        await refused(connect, request(b"x" * 100)[:sent], code="request_timeout", status=408)


async def test_a_body_that_drips_is_a_408_however_steady(tmp_path: Path) -> None:
    application = Application()
    async with serving(tmp_path, application) as connect:
        reader, writer = await connect()
        drip = asyncio.create_task(dripping(writer, request(b"x" * 900), every_s=0.01))
        status, _, _ = await answer(reader)
        assert status == 408
        drip.cancel()
    assert application.sizes == []


@pytest.mark.clock
async def test_a_streamed_body_that_keeps_coming_is_not_timed_out(tmp_path: Path) -> None:
    application = Application()
    async with serving(tmp_path, application) as connect:
        reader, writer = await connect()
        whole = request(b"x" * 20, "/v1/decide/batch")
        writer.write(whole[:-20])
        await dripping(writer, whole[-20:], every_s=0.02)  # 0.4 s in all, where a whole request may take 0.15 s
        assert (await answer(reader))[0] == 200


async def test_a_streamed_body_that_stops_coming_is_a_408(tmp_path: Path) -> None:
    async with serving(tmp_path, Application()) as connect:
        half = request(b"x" * 500, "/v1/decide/batch")[:-100]
        await refused(connect, half, code="request_timeout", status=408)


async def test_a_client_that_waits_for_the_application_to_read_is_not_blamed(tmp_path: Path) -> None:
    application = Application()
    application.reading.clear()
    async with serving(tmp_path, application) as connect:
        reader, writer = await connect()
        writer.write(request(b"x" * 1_000_000, "/v1/decide/batch"))
        await asyncio.sleep(0.4)  # more than twice the timeout, with the body stuck behind the application
        application.reading.set()
        assert (await answer(reader))[2] == b"1000000"


async def test_too_many_headers_are_a_431(tmp_path: Path) -> None:
    async with serving(tmp_path, Application()) as connect:
        await refused(connect, request(b"{}", extra=b"a: b\r\n" * 20), code="headers_too_large", status=431)


@pytest.mark.parametrize("first", [100, 1_800, 10_000])
async def test_a_head_that_is_too_large_and_whole_is_a_431_in_however_few_pieces(tmp_path: Path, first: int) -> None:
    head = request(b"{}", extra=b"a: " + b"x" * 2_000 + b"\r\n")
    async with serving(tmp_path, Application()) as connect:
        await refused(connect, *filter(None, (head[:first], head[first:])), code="headers_too_large", status=431)


async def test_a_head_that_does_not_end_is_a_431(tmp_path: Path) -> None:
    async with serving(tmp_path, Application()) as connect:
        pieces = [b"GET / HTTP/1.1\r\na: ", *[b"x" * 700] * 3]
        await refused(connect, *pieces, code="headers_too_large", status=431)


@pytest.mark.parametrize(
    "bytes_sent", [b"\x16\x03\x01 hello\r\n\r\n", b"POST /v1/decide HTTP/1.1\r\nbad header\r\n\r\n"]
)
async def test_what_is_not_http_is_a_400(tmp_path: Path, bytes_sent: bytes) -> None:
    async with serving(tmp_path, Application()) as connect:
        await refused(connect, bytes_sent, code="malformed_http", status=400)


async def test_a_body_nobody_reads_gets_one_answer_only(tmp_path: Path) -> None:
    """Once an application has answered, a second answer would be taken for the one to the next request."""
    application = Application()
    async with serving(tmp_path, application) as connect:
        reader, writer = await connect()
        writer.write(request(b"x" * 2000, "/unread")[:-1500])
        assert (await answer(reader))[0] == 200
        writer.write(b"x" * 1500)
        writer.write_eof()
        assert await reader.read() == b""


async def test_requests_sent_at_once_are_answered_in_order(tmp_path: Path) -> None:
    async with serving(tmp_path, Application()) as connect:
        reader, writer = await connect()
        writer.write(b"".join(request(b"x" * size) for size in (1, 22, 333)))
        assert [(await answer(reader))[2] for _ in range(3)] == [b"1", b"22", b"333"]


async def test_a_refused_request_does_not_answer_for_the_one_before_it(tmp_path: Path) -> None:
    application = Application()
    application.reading.clear()
    async with serving(tmp_path, application) as connect:
        reader, writer = await connect()
        writer.write(request(b"x") + b"nonsense\r\n\r\n")
        writer.write_eof()
        assert await reader.read() == b""
        application.reading.set()


async def dripping(writer: asyncio.StreamWriter, data: bytes, every_s: float) -> None:
    for byte in data:
        writer.write(bytes([byte]))
        await asyncio.sleep(every_s)
