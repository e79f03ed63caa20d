"""Callers that misbehave, and what stands between callers and a server."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import cycle

from tests.chaos.crowd import Crowd
from tests.chaos.fault import Fault
from tests.chaos.site import Site

HALF_OPEN, HALF_OPEN_QUICK = 10_000, 500
SLOW_CALLERS, SLOW_CALLERS_QUICK = 400, 60
#: File descriptors that a process needs for all else.
OWN_FILES = 1000
HEAD = b"POST /v1/decide HTTP/1.1\r\nhost: example.com\r\ncontent-length: 4000\r\n"
#: One third says nothing at all, one third begins a head, one third owes the body.
BEGINNINGS = (b"", HEAD[:30], HEAD + b"\r\n")
#: An answer that ends in it.
TIMED_OUT = b"408"
RESET_SHARE = 0.05


def room_for(connections: int) -> int:
    """As many as the limit on open files allows, of which the server has the same."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(connections, soft - OWN_FILES)


@asynccontextmanager
async def half_open(site: Site, _: Crowd) -> AsyncIterator[None]:
    """Connections that are made, say nothing or begin to, and are left alone. Those that the server ends stay ended."""
    held: list[socket.socket] = []
    try:
        await asyncio.to_thread(_hold, held, room_for(HALF_OPEN_QUICK if site.quick else HALF_OPEN), site.struck.port)
        yield
    finally:
        for each in held:
            each.close()


def _hold(held: list[socket.socket], connections: int, port: int) -> None:
    beginnings = cycle(BEGINNINGS)
    for number in range(connections):
        connection = socket.socket()
        # The ports of one address are fewer than may be wanted, and those of a connection that ended rest for a minute.
        connection.bind((f"127.0.0.{2 + number % 50}", 0))
        connection.connect(("127.0.0.1", port))
        with contextlib.suppress(OSError):
            connection.sendall(next(beginnings))
        held.append(connection)


@asynccontextmanager
async def slow_callers(site: Site, _: Crowd) -> AsyncIterator[None]:
    """Slow-loris: heads and bodies that come byte by byte, and never to an end. Who is given up begins anew."""
    ended: Counter[bytes] = Counter()
    callers = SLOW_CALLERS_QUICK if site.quick else SLOW_CALLERS
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(_drip(site.struck.port, beginning, ended))
            for _, beginning in zip(range(callers), cycle(BEGINNINGS[1:]), strict=False)
        ]
        try:
            yield
            # Each was given up in time, or has not had its time yet.
            assert ended.total() == 0 or set(ended) == {TIMED_OUT}, ended
            assert ended.total() >= callers or not site.quick, "slow callers were not given up"
        finally:
            for task in tasks:
                task.cancel()


async def _drip(port: int, beginning: bytes, ended: Counter[bytes]) -> None:
    while True:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(beginning)
            answering = asyncio.create_task(reader.read(4096))
            for piece in _pieces(in_head=beginning != BEGINNINGS[2]):
                done, _ = await asyncio.wait([answering], timeout=0.1)
                if done:
                    break
                writer.write(piece)
            ended[answering.result()[9:12]] += 1
        finally:
            answering.cancel()
            writer.transport.abort()


def _pieces(in_head: bool) -> Iterator[bytes]:
    yield from cycle((b"x",)) if not in_head else cycle((b"x", b":", b"y", b"\r\n"))


@asynccontextmanager
async def resets(site: Site, crowd: Crowd) -> AsyncIterator[None]:
    """A proxy in front of the server that resets connections in the middle of requests and of answers."""
    site.door.do(lambda door: door.reset(RESET_SHARE))
    before = site.door.do(lambda door: door.resets)
    try:
        yield
        assert site.door.do(lambda door: door.resets) > before, "nothing was reset"
        assert crowd.unanswered, "nobody missed an answer"
    finally:
        site.door.heal()


CALLER_FAULTS = (
    Fault("half_open_connections", "10,000 connections that say nothing or half a request", half_open, 12),
    Fault("slow_callers", "400 callers that send a byte at a time, of heads and of bodies", slow_callers, 25, 1.4),
    Fault("proxy_resets", "a proxy resets one in twenty requests and answers halfway", resets, 5, through_door=True),
)
