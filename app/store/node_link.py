"""One multiplexed connection to one store server, kept alive for ever.

redis-py connects: TCP, TLS, unix sockets, AUTH, SELECT. When its handshake is done its transport is given to a `Wire`,
which is all that speaks on it from then on. While there is no usable connection every call fails at once: a decision
has no time to wait for a store, and answers without it (marketing fails closed, by the callers).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Any, cast

from hiredis import ReplyError
from redis.asyncio.connection import AbstractConnection, SSLConnection

from app.ending import end_task
from app.store.clients import open_pool
from app.store.resp import pack
from app.store.tls import in_words
from app.store.wire import Caller, LinkCounters, StoreDown, Wire

HANDSHAKE_TIMEOUT_S = 1.0
RETRY_S_MIN = 0.02
RETRY_S_MAX = 1.0

OnConnect = Callable[[Caller], Awaitable[None]]
log = logging.getLogger("nextbest.store")


class StoreUnfit(Exception):
    """A server answered, and cannot be the store now: a replica, loading, or refused by an `on_connect` hook."""


class NodeLink:
    """A `Link` of one connection to one server.

    `on_connect(wire)` runs after every handshake, before the link counts as connected: to load scripts, to check the
    server. It calls `wire.call`; whatever it raises keeps the link down, to be tried again, with its message as
    `last_error` (so it must hold no secret). `on_change` is told when the link has become usable, or is so no longer.
    """

    def __init__(
        self,
        url: str,
        *,
        client_name: str = "nextbest",
        on_connect: OnConnect | None = None,
        on_change: Callable[[], None] | None = None,
        counters: LinkCounters | None = None,
    ) -> None:
        self._pool = open_pool(url, client_name=client_name, reply_timeout_s=HANDSHAKE_TIMEOUT_S)
        self._over_tls = issubclass(self._pool.connection_class, SSLConnection)
        self._on_connect = on_connect
        self._on_change = on_change
        self.wire: Wire | None = None  # the living connection; None while there is none
        #: Host and port of the server that the last connection led to; None for a unix socket.
        self.peer: tuple[str, int] | None = None
        self._ended = asyncio.Event()
        self._usable = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.counters = counters or LinkCounters()
        #: Why there is no connection; None while there is one. For readiness reports: never holds a secret.
        self.last_error: str | None = "the store has not been reached yet"

    @property
    def connected(self) -> bool:
        return self.wire is not None

    @property
    def bytes_pending(self) -> int:
        """Bytes of commands whose replies have not come yet."""
        return self.wire.bytes_pending if self.wire is not None else 0

    def start(self) -> None:
        """Begin to connect, in the background; there need be no server yet. Called on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._keep_connected(), name="store link")

    async def wait_connected(self, timeout_s: float) -> bool:
        """Whether the link became usable within `timeout_s`."""
        await within(timeout_s, self._usable)
        return self.connected

    def call(self, packed: bytes, replies: int, deadline: float) -> asyncio.Future[list[Any]]:
        """See `Link.call`."""
        wire = self.wire
        if wire is not None:
            return wire.call(packed, replies, deadline)
        future: asyncio.Future[list[Any]] = self._loop.create_future()
        future.set_exception(StoreDown(self.last_error or "the store cannot be reached", sent=False))
        return future

    def drop(self, reason: str) -> None:
        """End this connection and make another: for callers whom a reply told that it leads to the wrong place
        (`READONLY`, `MASTERDOWN`). What waits on it fails at once."""
        if self.wire is not None:
            self.wire.end(reason)

    async def close(self) -> None:
        """End the connection and stop making new ones. What still waits on it fails."""
        if self._task is None:
            return
        self.wire, self.last_error = None, "the link was closed"  # an end we asked for is no disconnect
        self._usable.clear()
        await end_task(self._task)
        self._task = None

    # Keeping connected

    async def _keep_connected(self) -> None:
        failures = 0
        while True:
            started_at = self._loop.time()
            try:
                await self._connect_and_serve()
            except Exception as error:  # whatever a server, a network or a hook does, the link tries again
                self._report(error)
            # A connection that did not live long is a failure too: one that is dropped at once must not spin.
            failures = 0 if self._loop.time() - started_at > 2 * RETRY_S_MAX else failures + 1
            await asyncio.sleep(_retry_delay_s(failures))

    async def _connect_and_serve(self) -> None:
        """One life of a connection: connect, take over, serve until it ends."""
        connection: AbstractConnection = self._pool.make_connection()  # type: ignore[no-untyped-call]  # redis-py
        wire = Wire(self._loop, self.counters, self._on_end)
        self._ended.clear()
        try:
            async with asyncio.timeout(2 * HANDSHAKE_TIMEOUT_S):  # a connect and the handshake's few replies
                await connection.connect()  # type: ignore[no-untyped-call]  # redis-py
                self.peer = _peer(connection)
                await _take_over(connection, wire)
                await _check_primary(wire, self._loop.time() + HANDSHAKE_TIMEOUT_S)
            if self._on_connect is not None:
                await self._on_connect(wire)
            self._announce(wire)
            await self._ended.wait()
        finally:
            wire.end("the link was closed")
            await connection.disconnect(nowait=True)

    def _announce(self, wire: Wire) -> None:
        if wire.end_reason is not None:
            raise StoreDown(wire.end_reason, sent=False)
        self.wire = wire
        self.last_error = None
        self._usable.set()
        if self.counters.reconnects < self.counters.disconnects:
            self.counters.reconnects += 1
        log.info("connected to the store")
        if self._on_change is not None:
            self._on_change()

    def _on_end(self, wire: Wire, reason: str) -> None:
        self._ended.set()
        if wire is self.wire:
            self.wire = None
            self._usable.clear()
            self.last_error = reason
            self.counters.disconnects += 1
            log.warning("lost the store: %s", reason)
            if self._on_change is not None:
                self._on_change()

    def _report(self, error: Exception) -> None:
        """Say once, not at every attempt, why the store cannot be reached."""
        reason = in_words(error, over_tls=self._over_tls)
        if reason != self.last_error:
            log.warning("cannot use the store: %s", reason)
        self.last_error = reason


async def within(timeout_s: float, event: asyncio.Event) -> None:
    """Wait for an event, no longer than `timeout_s`."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await event.wait()


async def _take_over(connection: AbstractConnection, wire: Wire) -> None:
    """Give the connection's transport to `wire`. The handshake is answered in full, so nothing should be left unread;
    what is, goes to the wire, which knows that nobody asked for it."""
    stream, writer = connection._reader, connection._writer
    if stream is None or writer is None:
        raise StoreDown("the store closed the connection", sent=False)
    stream.feed_eof()  # reading what is left then never waits, so nothing can arrive in between
    wire.take_over(cast(asyncio.Transport, writer.transport), await stream.read())


async def _check_primary(wire: Wire, deadline: float) -> None:
    """Only primaries are read: a replica may show a limit that is already spent. HELLO tells the role and is open to
    every user; PING is refused while a server loads its data."""
    hello, ping = await wire.call(pack("HELLO", 2) + pack("PING"), 2, deadline)
    for reply in (hello, ping):
        if isinstance(reply, ReplyError):
            raise StoreUnfit(f"the store is not ready: {reply}")
    facts = dict(zip(hello[::2], hello[1::2], strict=False))
    if facts.get(b"role") != b"master":
        raise StoreUnfit("the store is a replica: point the server at the primary")


def _peer(connection: AbstractConnection) -> tuple[str, int] | None:
    host, port = getattr(connection, "host", None), getattr(connection, "port", None)
    return None if host is None or port is None else (str(host), int(port))


def _retry_delay_s(failures: int) -> float:
    """Exponential, capped, with jitter, so that nodes do not come back in step."""
    return random.uniform(0.5, 1.0) * min(RETRY_S_MAX, RETRY_S_MIN * 2.0 ** min(failures, 10))
