"""Proxies that stand between callers and a server, and between a server and its store."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from pathlib import Path

from app.store.decisions import COMMIT
from tests.support.scripted import ScriptedProxy

#: An end that is a reset: what is not sent yet is thrown away, and the other side is told so.
ABRUPT = struct.pack("ii", 1, 0)


class StoreWay(ScriptedProxy):
    """To the store. `refuse_every(10)`: each tenth connection that is made ends at once."""

    def __init__(self, upstream: Path) -> None:
        super().__init__(upstream)
        self._every: int | None = None

    def refuse_every(self, number: int) -> None:
        self._every = number

    def lose_a_commit(self) -> None:
        """The next commit is made, and its connection ends before the reply."""
        self.when(COMMIT.sha, lambda: self.cut_after(0))

    def heal(self) -> None:
        super().heal()
        self._every = None

    async def _serve(self, client_reader: asyncio.StreamReader, client_writer: asyncio.StreamWriter) -> None:
        if self._every is not None and (self.accepted + 1) % self._every == 0:
            self.accepted += 1
            client_writer.transport.abort()
            return
        await super()._serve(client_reader, client_writer)


class Door(ScriptedProxy):
    """To a server's port. `reset(share)`: that share of requests is cut in the middle by a reset, and that share of
    answers."""

    def __init__(self, port: int, chance: random.Random) -> None:
        super().__init__(Path())
        self._port = port
        self._chance = chance
        self._share = 0.0
        self.resets = 0

    def reset(self, share: float) -> None:
        self._share = share

    def heal(self) -> None:
        super().heal()
        self._share = 0.0

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self._port)

    async def _commands(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._pass(reader, writer)

    async def _replies(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._pass(reader, writer)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                if self._chance.random() < self._share:
                    self.resets += 1
                    writer.write(data[: len(data) // 2])
                    await asyncio.sleep(0.001)  # so that the half arrives before the reset
                    end = writer.get_extra_info("socket")
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABRUPT)
                    return
                writer.write(data)
                await writer.drain()
