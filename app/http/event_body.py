"""The bodies of collection routes, unpacked in bounded memory, and how these routes say no.

Clients say little that is true of their bodies: gzip comes without its header, plain JSON with it, and any content type
with either. So the bytes decide. A body is inflated as it arrives, and refused when what comes out is over the limit:
a bomb costs no more than an honest body.
"""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import TYPE_CHECKING

import orjson
from fastapi import Request, Response

from app.errors import Problem
from app.telemetry import series

if TYPE_CHECKING:
    from app.flows.room import Room

GZIP = b"\x1f\x8b"
GZIP_WINDOW = 16 + zlib.MAX_WBITS
KNOWN_ENCODINGS = frozenset({"", "identity", "gzip", "x-gzip"})
PIECE_BYTES = 64 * 1024
#: What of a refused body is read to its end. Beyond, the connection ends instead.
DROPPED_BYTES_MAX = 64 * 1024 * 1024


class Gone(Exception):
    """The caller hung up."""


class Body:
    """The bytes of a request as they come."""

    def __init__(self, request: Request) -> None:
        self._receive = request.receive
        self._ended = False

    async def pieces(self) -> AsyncIterator[bytes]:
        """What has not been read yet. Raises Gone."""
        while not self._ended:
            message = await self._receive()
            if message["type"] != "http.request":
                raise Gone
            self._ended = not message.get("more_body", False)
            yield message.get("body", b"")

    async def drop(self) -> None:
        """Read the rest and forget it: a refusal that comes while its caller still writes is not seen, and the
        connection is lost with it. Raises Gone."""
        dropped = 0
        async for piece in self.pieces():
            dropped += len(piece)
            if dropped > DROPPED_BYTES_MAX:
                return


async def answered(request: Request, answer: Callable[[Body], Awaitable[Response]]) -> Response:
    """The answer, or the problem with a `message`, which these clients read: without it some take a refusal for a
    broken network, and send the same again eleven times."""
    body = Body(request)
    try:
        try:
            return await answer(body)
        except Problem as problem:
            await body.drop()
            return _refusal(request, problem)
    except Gone:
        return Response(status_code=400)  # nobody is left to read it


def _refusal(request: Request, problem: Problem) -> Response:
    metrics = request.app.state.services.metrics
    metrics.count(series.PROBLEMS, problem.code)
    if problem.code == "rate_limited":
        metrics.count(series.SHED)
    return refusal(problem)


def refusal(problem: Problem) -> Response:
    """A problem as these clients read it."""
    body = orjson.dumps({**problem.body(), "message": problem.detail})
    return Response(body, problem.status, {name.decode(): value.decode() for name, value in problem.headers()})


class Held:
    """The bytes of one request, held against what a process may hold; a context manager gives them back."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._bytes = 0

    def __enter__(self) -> Held:
        return self

    def __exit__(self, *_: object) -> None:
        self._room.hold(-self._bytes)
        self._bytes = 0

    def add(self, size: int) -> None:
        """Raises Problem `rate_limited`."""
        self._room.hold(size)
        self._bytes += size


async def read_body(body: Body, encoding: str | None, held: Held, limit_bytes: int) -> bytes:
    """The body, unpacked. `encoding` is what its header says. Raises Problem."""
    if (encoding or "").strip().lower() not in KNOWN_ENCODINGS:
        raise Problem("unsupported_media_type", "send the body as it is, or with `Content-Encoding: gzip`")
    pieces: list[bytes] = []
    size = 0
    async for piece in _unpacked(body.pieces()):
        size += len(piece)
        if size > limit_bytes:
            raise Problem("payload_too_large", f"at most {limit_bytes} bytes, unpacked")
        held.add(len(piece))
        pieces.append(piece)
    unpacked = b"".join(pieces)
    if unpacked.startswith(GZIP):
        raise Problem("malformed_body", "the body is compressed twice: compress it once")
    return unpacked


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

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What a piece of the compressed body adds, at most 64 KiB at a time: whoever takes no more unpacks no more.
        Raises Problem."""
        while data:
            if self._member.eof:
                self._member = zlib.decompressobj(GZIP_WINDOW)
            try:
                unpacked = self._member.decompress(data, PIECE_BYTES)
            except zlib.error:
                raise Problem("malformed_body", "the compressed body is damaged") from None
            if unpacked:
                yield unpacked
            data = self._member.unconsumed_tail or self._member.unused_data

    def close(self) -> None:
        """Raises Problem when the body ended in the middle."""
        if not self._member.eof:
            raise Problem("malformed_body", "the compressed body ends before its end")
