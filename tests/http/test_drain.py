"""The last turns of a connection, on a real socket: what is on its way when a server stops is answered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from app.http.drain import Drain
from app.http.protocol import DecisionProtocol, ServerConfig
from tests.support.link import until

REQUEST = b"GET / HTTP/1.1\r\nhost: example.com\r\n\r\n"


class Application:
    """Answers when it is let."""

    def __init__(self) -> None:
        self.drain = Drain()
        self.asked = 0
        self.let = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked += 1
        await self.let.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})


class Wire:
    """The application behind a socket, and how a server stops it."""

    def __init__(self, application: Application, path: str) -> None:
        self.application, self._path, self.state = application, path, ServerState()

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        connections = len(self.state.connections)
        opened = await asyncio.open_unix_connection(self._path)
        await until(lambda: len(self.state.connections) > connections)
        return opened

    def stop(self) -> None:
        """As uvicorn does, once nobody is accepted any more."""
        for connection in list(self.state.connections):
            connection.shutdown()


@asynccontextmanager
async def wire(folder: Path) -> AsyncIterator[Wire]:
    application = Application()
    config = ServerConfig(
        application, interface="asgi3", log_config=None, access_log=False, proxy_headers=False, ws="none"
    )
    config.load()
    made, loop = Wire(application, str(folder / "s")), asyncio.get_running_loop()
    server = await loop.create_unix_server(lambda: DecisionProtocol(config, made.state, {}, loop), str(folder / "s"))
    try:
        async with asyncio.timeout(5):
            yield made
    finally:
        server.close()
        for connection in list(made.state.connections):
            connection.transport.abort()
        await asyncio.gather(*made.state.tasks, return_exceptions=True)


async def test_pipelined_requests_are_all_answered_and_only_the_last_answer_ends_the_connection(tmp_path: Path) -> None:
    async with wire(tmp_path) as server:
        reader, writer = await server.connect()
        writer.write(REQUEST * 2)
        await until(lambda: server.application.asked == 1)
        server.application.drain.begun = True
        writer.write(REQUEST * 2)
        await asyncio.sleep(0)
        server.application.let.set()
        told = await reader.read()
        assert told.count(b"200 OK") == 4
        assert told.count(b"connection: close") == 1
        assert told.rindex(b"connection: close") > told.rindex(b"200 OK")
        writer.close()


async def test_who_has_just_connected_when_the_server_stops_gets_an_answer(tmp_path: Path) -> None:
    async with wire(tmp_path) as server:
        server.application.let.set()
        reader, writer = await server.connect()
        server.stop()
        await asyncio.sleep(0.05)
        writer.write(REQUEST)
        told = await reader.read()
        assert b"200 OK" in told
        assert b"connection: close" in told
        writer.close()


async def test_a_request_that_has_arrived_in_part_when_the_server_stops_is_answered(tmp_path: Path) -> None:
    async with wire(tmp_path) as server:
        server.application.let.set()
        reader, writer = await server.connect()
        writer.write(REQUEST)
        await reader.readuntil(b"ok")
        writer.write(REQUEST[:20])
        await until(lambda: any(each._arriving for each in server.state.connections))  # type: ignore[union-attr]  # these are the protocol's own, not uvicorn's
        server.stop()
        writer.write(REQUEST[20:])
        told = await reader.read()
        assert b"200 OK" in told
        assert b"connection: close" in told
        writer.close()


async def test_what_is_under_way_when_the_server_stops_is_answered(tmp_path: Path) -> None:
    async with wire(tmp_path) as server:
        reader, writer = await server.connect()
        writer.write(REQUEST)
        await until(lambda: server.application.asked == 1)
        server.stop()
        server.application.let.set()
        told = await reader.read()
        assert b"200 OK" in told
        assert b"connection: close" in told
        writer.close()


async def test_an_idle_connection_is_closed_at_once_by_a_node_that_has_drained_and_late_by_a_worker_that_was_replaced(
    tmp_path: Path,
) -> None:
    async with wire(tmp_path) as server:
        server.application.let.set()
        reader, writer = await server.connect()
        writer.write(REQUEST)
        await reader.readuntil(b"ok")
        server.application.drain.idle_s = 0.3
        server.stop()
        writer.write(REQUEST)
        assert b"connection: close" in await reader.read()
        other, writing = await server.connect()
        writing.write(REQUEST)
        await other.readuntil(b"ok")
        server.application.drain.idle_s = 0.0
        server.stop()
        assert await other.read() == b""
        for each in (writer, writing):
            each.close()
