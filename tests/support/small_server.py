"""A small real HTTP server whose answers a test makes up."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from loadtests.driver import Target, http_request

OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 13\r\n\r\n" + b'{"fine": true}'[:13]
REFUSED = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\n{}"

Answer = Callable[[int, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def server(answer: Answer) -> AsyncIterator[Target]:
    """`answer` gets the number of the request, counted over all connections."""
    numbers = itertools.count()
    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.current_task())  # type: ignore[arg-type]  # there is one
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while not writer.is_closing():
                await reader.readuntil(b"\r\n\r\n{}")
                await answer(next(numbers), writer)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listening:
        port = listening.sockets[0].getsockname()[1]
        yield Target("127.0.0.1", port, itertools.repeat(http_request("/", b"{}")))
        await asyncio.wait(serving, timeout=5)


async def fine(_: int, writer: asyncio.StreamWriter) -> None:
    writer.write(OK)


async def in_pieces(_: int, writer: asyncio.StreamWriter) -> None:
    """An answer that does not come at once."""
    for piece in (OK[:20], OK[20:-5], OK[-5:]):
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(0.001)
