"""A proxy between a client and a store that makes the network, or the store, misbehave on command.

Listens on 127.0.0.1 (a free port), or on TLS there when it gets a context, and forwards to a store's unix socket. It
knows nothing of the protocol: faults are about bytes and time.

    async with FaultProxy(store.socket_path) as proxy:
        link = open_link(proxy.url)
        proxy.freeze()          # nothing passes, in either direction, until heal()
        proxy.cut_after(3)      # the next reply bytes: three pass, then the connection closes
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from pathlib import Path
from types import TracebackType


class FaultProxy:
    """Faults are set by its methods at any time and hold for every connection, new ones included, until `heal()`."""

    def __init__(self, upstream: Path, *, tls: ssl.SSLContext | None = None) -> None:
        self.upstream = upstream
        #: How many connections clients have made so far.
        self.accepted = 0
        self._tls = tls
        self._delay_s = 0.0
        self._piece_bytes: int | None = None
        self._piece_every_s = 0.0
        self._passing = asyncio.Event()
        self._passing.set()
        self._bytes_left: int | None = None
        self._stall_at_cut = False
        self._garbage = b""
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        assert self._server is not None, "the proxy does not run"
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def url(self) -> str:
        return f"{'rediss' if self._tls else 'redis'}://localhost:{self.port}"

    # Faults

    def delay(self, seconds: float) -> None:
        """Every chunk of a reply arrives this much later."""
        self._delay_s = seconds

    def fragment(self, piece_bytes: int, *, every_s: float = 0.0) -> None:
        """Replies arrive in pieces of this size, one every `every_s`."""
        self._piece_bytes, self._piece_every_s = piece_bytes, every_s

    def freeze(self) -> None:
        """Nothing passes in either direction; connections stay open."""
        self._passing.clear()

    def cut_after(self, reply_bytes: int) -> None:
        """`reply_bytes` more bytes reach the client, then its connection closes; counted over all connections, once."""
        self._bytes_left, self._stall_at_cut = reply_bytes, False

    def stall_after(self, reply_bytes: int) -> None:
        """`reply_bytes` more bytes reach the client, then replies stop while the connection stays open."""
        self._bytes_left, self._stall_at_cut = reply_bytes, True

    def garble(self, garbage: bytes = b"\x00\xffgarbage\r\n") -> None:
        """The next reply is preceded by bytes that are none."""
        self._garbage = garbage

    def drop_connections(self) -> None:
        """Close what is open now, at once; new connections are welcome."""
        for writer in list(self._writers):
            writer.transport.abort()

    def heal(self) -> None:
        """No faults from now on; bytes that were frozen, or came in pieces, go on their way."""
        self._delay_s, self._piece_bytes, self._bytes_left, self._garbage = 0.0, None, None, b""
        self._passing.set()

    # Running

    async def __aenter__(self) -> FaultProxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.drop_connections()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, client_reader: asyncio.StreamReader, client_writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self._writers.add(client_writer)
        try:
            store_reader, store_writer = await self._connect()
        except OSError:
            self._forget(client_writer)
            return
        self._writers.add(store_writer)
        ways = (self._commands(client_reader, store_writer), self._replies(store_reader, client_writer))
        tasks = [asyncio.create_task(way) for way in ways]
        self._tasks.update(tasks)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            self._forget(client_writer, store_writer)
            self._tasks.difference_update(tasks)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_unix_connection(str(self.upstream))

    async def _commands(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while data := await reader.read(65536):
                await self._passing.wait()
                writer.write(data)
                await writer.drain()

    async def _replies(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while data := await reader.read(65536):
                if self._delay_s:
                    await asyncio.sleep(self._delay_s)
                await self._passing.wait()
                data, self._garbage = self._garbage + data, b""
                cut = self._bytes_left is not None and len(data) >= self._bytes_left
                await self._write(writer, data[: self._bytes_left] if cut else data)
                if cut:
                    self._bytes_left = None
                    if self._stall_at_cut:
                        await asyncio.Event().wait()
                    return
                if self._bytes_left is not None:
                    self._bytes_left -= len(data)

    async def _write(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        while data:
            size = self._piece_bytes or len(data)  # looked at again for each piece: `heal` lets the rest go at once
            writer.write(data[:size])
            data = data[size:]
            await writer.drain()
            if self._piece_bytes is not None:
                await asyncio.sleep(self._piece_every_s)

    def _forget(self, *writers: asyncio.StreamWriter) -> None:
        for writer in writers:
            self._writers.discard(writer)
            writer.close()
