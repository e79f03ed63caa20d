"""The hot path's one multiplexed connection to a store node, kept alive for ever.

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
from redis.asyncio.connection import AbstractConnection

from app.store.clients import open_pool
from app.store.resp import Word, bulk, command_prefix, pack
from app.store.wire import LinkCounters, StoreBusy, StoreDown, StoreError, StoreTimeout, Wire

__all__ = [
    "Link",
    "LinkCounters",
    "ReplyError",
    "StoreBusy",
    "StoreDown",
    "StoreError",
    "StoreTimeout",
    "StoreUnfit",
    "Wire",
    "Word",
    "bulk",
    "command_prefix",
    "pack",
]

HANDSHAKE_TIMEOUT_S = 1.0
RETRY_S_MIN = 0.02
RETRY_S_MAX = 1.0

OnConnect = Callable[[Wire], Awaitable[None]]
log = logging.getLogger("nextbest.store")


class StoreUnfit(Exception):
    """A server answered, and cannot be the store now: a replica, loading, or refused by an `on_connect` hook."""


class Link:
    """One connection to one store node: `start()`, then `call()` from any task of this loop, `close()` at the end.

    `on_connect(wire)` runs after every handshake, before the link counts as connected: to load scripts, to check the
    server. It calls `wire.call`; whatever it raises keeps the link down, to be tried again, with its message as
    `last_error` (so it must hold no secret).
    """

    def __init__(self, url: str, *, client_name: str = "nextbest", on_connect: OnConnect | None = None) -> None:
        self._pool = open_pool(url, client_name=client_name, reply_timeout_s=HANDSHAKE_TIMEOUT_S)
        self._on_connect = on_connect
        self._wire: Wire | None = None
        self._ended = asyncio.Event()
        self._usable = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.counters = LinkCounters()
        #: Why there is no connection; None while there is one. For readiness reports: never holds a secret.
        self.last_error: str | None = "the store has not been reached yet"

    @property
    def connected(self) -> bool:
        return self._wire is not None

    @property
    def bytes_pending(self) -> int:
        """Bytes of commands whose replies have not come yet."""
        return self._wire.bytes_pending if self._wire is not None else 0

    def start(self) -> None:
        """Begin to connect, in the background; there need be no server yet. Called on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._keep_connected(), name="store link")

    async def wait_connected(self, timeout_s: float) -> bool:
        """Whether the link became usable within `timeout_s`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._usable.wait()
        return self.connected

    def call(self, packed: bytes, replies: int, deadline: float) -> asyncio.Future[list[Any]]:
        """Send `packed`, one or several commands (`pack`), and get their replies in order.

        `replies` is the number of commands; `deadline` is on the loop's clock (`loop.time()`, s). A command that the
        store refused has a `ReplyError` in its place in the list: it is not raised, since its neighbours succeeded.
        The future fails with `StoreTimeout`, `StoreDown` or `StoreBusy`; each says by `sent` whether the store may
        have carried out what it was asked. Cancelling the future gives up the reply, not the connection.
        """
        wire = self._wire
        if wire is not None:
            return wire.call(packed, replies, deadline)
        future: asyncio.Future[list[Any]] = self._loop.create_future()
        future.set_exception(StoreDown(self.last_error or "the store cannot be reached", sent=False))
        return future

    def drop(self, reason: str) -> None:
        """End this connection and make another: for callers whom a reply told that it leads to the wrong place
        (`READONLY`, `MASTERDOWN`). What waits on it fails at once."""
        if self._wire is not None:
            self._wire.end(reason)

    async def close(self) -> None:
        """End the connection and stop making new ones. What still waits on it fails."""
        if self._task is None:
            return
        self._wire, self.last_error = None, "the link was closed"  # an end we asked for is no disconnect
        self._usable.clear()
        while not self._task.done():
            # More than once: before Python 3.12 `wait_for`, with which redis-py sends, swallows a cancellation that
            # comes as it ends (https://github.com/python/cpython/issues/86296).
            self._task.cancel()
            await asyncio.wait([self._task], timeout=0.05)
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
        self._wire = wire
        self.last_error = None
        self._usable.set()
        if self.counters.reconnects < self.counters.disconnects:
            self.counters.reconnects += 1
        log.info("connected to the store")

    def _on_end(self, wire: Wire, reason: str) -> None:
        self._ended.set()
        if wire is self._wire:
            self._wire = None
            self._usable.clear()
            self.last_error = reason
            self.counters.disconnects += 1
            log.warning("lost the store: %s", reason)

    def _report(self, error: Exception) -> None:
        """Say once, not at every attempt, why the store cannot be reached."""
        reason = str(error) or type(error).__name__
        if reason != self.last_error:
            log.warning("cannot use the store: %s", reason)
        self.last_error = reason


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


def _retry_delay_s(failures: int) -> float:
    """Exponential, capped, with jitter, so that nodes do not come back in step."""
    return random.uniform(0.5, 1.0) * min(RETRY_S_MAX, RETRY_S_MIN * 2.0 ** min(failures, 10))
