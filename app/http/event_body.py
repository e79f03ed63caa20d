"""The bodies of collection routes, unpacked in bounded memory, and how these routes say no.

Clients say little that is true of their bodies: gzip comes without its header, plain JSON with it, and any content type
with either. So the bytes decide. A body is inflated as it arrives, and refused when what comes out is over the limit:
a bomb costs no more than an honest body.
"""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING

import orjson
from fastapi import Request, Response

from app.errors import Problem
from app.telemetry import series

if TYPE_CHECKING:
    from app.flows.collect import Collector

GZIP = b"\x1f\x8b"
GZIP_WINDOW = 16 + zlib.MAX_WBITS
KNOWN_ENCODINGS = frozenset({"", "identity", "gzip", "x-gzip"})
PIECE_BYTES = 64 * 1024


async def answered(request: Request, answer: Callable[[], Awaitable[Response]]) -> Response:
    """The answer, or the problem with a `message`, which these clients read: without it some take a refusal for a
    broken network, and send the same again eleven times."""
    try:
        return await answer()
    except Problem as problem:
        metrics = request.app.state.services.metrics
        metrics.count(series.PROBLEMS, problem.code)
        if problem.code == "rate_limited":
            metrics.count(series.SHED)
        body = orjson.dumps({**problem.body(), "message": problem.detail})
        return Response(body, problem.status, {name.decode(): value.decode() for name, value in problem.headers()})


class Held:
    """The bytes of one request, held against what a process may hold; a context manager gives them back."""

    def __init__(self, collector: Collector) -> None:
        self._collector = collector
        self._bytes = 0

    def __enter__(self) -> Held:
        return self

    def __exit__(self, *_: object) -> None:
        self._collector.hold(-self._bytes)
        self._bytes = 0

    def add(self, size: int) -> None:
        """Raises Problem `rate_limited`."""
        self._collector.hold(size)
        self._bytes += size


async def read_body(request: Request, held: Held, limit_bytes: int) -> bytes:
    """The body, unpacked. Raises Problem."""
    encoding = request.headers.get("content-encoding", "").strip().lower()
    if encoding not in KNOWN_ENCODINGS:
        raise Problem("unsupported_media_type", "send the body as it is, or with `Content-Encoding: gzip`")
    pieces: list[bytes] = []
    size = 0
    async for piece in _unpacked(request.stream()):
        size += len(piece)
        if size > limit_bytes:
            raise Problem("payload_too_large", f"at most {limit_bytes} bytes, unpacked")
        held.add(len(piece))
        pieces.append(piece)
    body = b"".join(pieces)
    if body.startswith(GZIP):
        raise Problem("malformed_body", "the body is compressed twice: compress it once")
    return body


async def _unpacked(stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The pieces of a body, inflated where it begins like gzip; each at most 64 KiB then."""
    inflated: Inflated | None = None
    start = b""
    begun = False
    async for piece in stream:
        data = start + piece
        if not begun:
            if len(data) < len(GZIP):
                start = data
                continue
            begun, start = True, b""
            inflated = Inflated() if data.startswith(GZIP) else None
        if inflated is None:
            yield data
            continue
        for unpacked in inflated.feed(data):
            yield unpacked
    if inflated is not None:
        inflated.close()
    elif start:
        yield start


class Inflated:
    """gzip, piece by piece; several members may follow each other (RFC 1952)."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(GZIP_WINDOW)

    def feed(self, data: bytes) -> list[bytes]:
        """What a piece of the compressed body adds, lazily: whoever takes no more pieces unpacks no more."""
        return _Pieces(self, data)  # type: ignore[return-value]

    def close(self) -> None:
        """Raises Problem when the body ended in the middle."""
        if not self._member.eof:
            raise Problem("malformed_body", "the compressed body ends before its end")
