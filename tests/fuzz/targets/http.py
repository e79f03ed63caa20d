"""Bytes of a connection, in any pieces: each request gets an answer, or the connection ends; nothing reaches the loop.

Input: in what pieces the bytes come (a byte, of which the highest bit says that the server is overloaded), and the
bytes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from functools import cache
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import httptools
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from app.admission import Admission
from app.http.door import Door
from app.http.line import Line
from app.http.protocol import DecisionProtocol, Limits, ServerConfig
from app.http.reply import Reply

if TYPE_CHECKING:
    from app.services import Services

LIMITS = Limits(body_bytes=2_000, head_bytes=2_000, header_count=20, request_timeout_s=10.0)
PIECES_MAX, TURNS = 64, 500
WORDS = (
    b"GET ", b"POST ", b"HEAD ", b"CONNECT ", b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", b" HTTP/2.0\r\n", b"\r\n\r\n",
    b"\r\n", b"/v1/decide", b"/v1/events", b"/v1/webhooks/generic", b"content-length: ",
    b"transfer-encoding: chunked\r\n", b"connection: upgrade\r\nupgrade: websocket\r\n", b"connection: close\r\n",
    b"expect: 100-continue\r\n", b"0\r\n\r\n", b"upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n",
    b"host: example.com\r\n", b"5\r\nhello\r\n", b"?q=%00", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01",
    b"ffffffffffffffff\r\n", b"\x00", b"\xff", b"http://a/b", b"#",
)  # fmt: skip


class Endpoint:
    """Decides nothing, behind the door of the server."""

    def __init__(self) -> None:
        self.admission = Admission(8, 0.04)
        nothing = SimpleNamespace(slot=lambda *_: 0, add=lambda *_: None)
        services = SimpleNamespace(
            admission=self.admission,
            metrics=nothing,
            webhooks=SimpleNamespace(is_configured=lambda name: name == "generic"),
        )
        self.door = Door(cast("Services", services), Line(self.admission, loop()), loop().time)

    async def answer(self, raw: bytes, headers: object, first_byte_s: float) -> Reply:
        return Reply(200, [(b"content-type", b"application/json")], b"%d" % len(raw))


class Application:
    """Reads bodies and answers their size."""

    def __init__(self) -> None:
        self.decide_endpoint = Endpoint()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        size, more = 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            size += len(message.get("body", b""))
            more = message.get("more_body", False)
        body = str(size).encode()
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


class Wire(asyncio.Transport):
    """A connection whose other end is us."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.closing = False
        self.protocol: Any = None

    def write(self, data: Any) -> None:
        assert not self.closing, "written after the end"
        self.written += data

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.closing = True

    def is_closing(self) -> bool:
        return self.closing

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        return cast("asyncio.BaseProtocol", self.protocol)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...


@cache
def loop() -> asyncio.AbstractEventLoop:
    made = asyncio.new_event_loop()
    made.set_exception_handler(lambda _, context: trouble.append(context))
    return made


trouble: list[Any] = []


@cache
def application() -> Application:
    return Application()


@cache
def config() -> ServerConfig:
    made = ServerConfig(
        application(), interface="asgi3", log_config=None, access_log=False, proxy_headers=False, ws="none"
    )
    made.limits = LIMITS
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # every broken request would be a line
    made.load()
    return made


def seeds() -> Iterator[bytes]:
    host = b"host: example.com\r\n"
    body = b'{"customer": "cus_1"}'
    ask = b"POST /v1/decide HTTP/1.1\r\n" + host + b"content-length: %d\r\n\r\n%b" % (len(body), body)
    yield b"\x00" + ask
    yield b"\x07" + ask + ask
    yield b"\x80" + ask
    yield b"\xff" + ask + ask
    yield b"\x80POST /v1/webhooks/generic HTTP/1.1\r\n" + host + b"content-length: 2\r\n\r\n{}"
    yield b"\x00GET /health/live HTTP/1.1\r\n" + host + b"\r\n" + ask
    yield b"\x00POST /v1/events HTTP/1.1\r\n" + host + b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    yield b"\x03POST /v1/events HTTP/1.0\r\ncontent-length: 3\r\nexpect: 100-continue\r\n\r\nabc"
    yield b"\x00GET / HTTP/1.1\r\n" + host + b"connection: upgrade\r\nupgrade: websocket\r\n\r\n\x81\x05hello"
    yield b"\x00POST /v1/decide HTTP/1.1\r\n" + host + b"content-length: 9999\r\n\r\n" + b"x" * 2500
    yield b"\x01GET / HTTP/1.1\r\n" + b"a: b\r\n" * 25 + b"\r\n"
    yield b"\x00PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def run(data: bytes) -> None:
    if not data:
        return
    size = data[0] % 128 or len(data)
    pieces = [data[at : at + size] for at in range(1, len(data), size)][:PIECES_MAX]
    del trouble[:]
    admission = application().decide_endpoint.admission
    others = 1_000 if data[0] >= 128 else 0
    admission.in_flight = others
    loop().run_until_complete(_spoken(pieces))
    assert admission.in_flight == others, "what is in flight is miscounted"
    assert not trouble, trouble


async def _spoken(pieces: list[bytes]) -> None:
    line, state = Wire(), ServerState()
    parser = httptools.HttpRequestParser(object())
    parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's
    broken = False
    protocol = DecisionProtocol(config(), state, {}, loop())
    protocol.connection_made(line)
    for piece in pieces:
        if line.closing:
            break
        protocol.data_received(piece)
        broken = broken or _breaks(parser, piece)
        await asyncio.sleep(0)
    for _ in range(TURNS):  # requests that came together are answered one after another
        if not _is_waiting(protocol):
            await asyncio.sleep(0)
    assert line.closing or protocol._refused or not broken, "what is no HTTP is kept waiting"
    assert line.closing or protocol._refused or _is_waiting(protocol), "a whole request without an answer"
    assert not line.written or line.written.startswith(b"HTTP/1.1 "), bytes(line.written[:40])
    protocol.connection_lost(None)
    for _ in range(TURNS):
        if state.tasks:
            await asyncio.sleep(0)
    assert not state.tasks, "a task outlives its connection"
    if protocol.timeout_keep_alive_task is not None:
        protocol.timeout_keep_alive_task.cancel()


def _breaks(parser: httptools.HttpRequestParser, piece: bytes) -> bool:
    """Whether what came is no HTTP, by the parser alone. An upgrade is none that we know, and ends what it can tell."""
    try:
        parser.feed_data(piece)
    except httptools.HttpParserUpgrade:
        return False
    except httptools.HttpParserError:
        return True
    return False


def _is_waiting(protocol: DecisionProtocol) -> bool:
    """Whether all that came whole is answered."""
    return protocol._arriving or protocol.cycle is None or protocol.cycle.response_complete
