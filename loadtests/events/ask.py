"""One request after the other on a connection, with the answer at hand: for what watches, not for what loads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from loadtests.driver import Connection


class Answer(NamedTuple):
    status: int
    head: bytes
    body: bytes

    def retry_after_s(self) -> float | None:
        """What the server asks for, where it does."""
        for line in self.head.lower().split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name == b"retry-after":
                return float(value)
        return None


class Asker:
    """A keep-alive connection. One request at a time."""

    def __init__(self) -> None:
        self.connection = Connection(self._answered)
        self._waiting: asyncio.Future[Answer] | None = None

    async def ask(self, request: bytes) -> Answer:
        """Raises ConnectionError where the server hangs up."""
        self._waiting = asyncio.get_running_loop().create_future()
        self.connection.send(request, 0)
        return await self._waiting

    def _answered(self, connection: Connection, answer: bytes, body_at: int) -> None:  # noqa: ARG002  # the driver's
        waiting, self._waiting = self._waiting, None
        if waiting is None or waiting.done():
            return
        if not answer:
            waiting.set_exception(ConnectionError("the server hung up"))
        else:
            waiting.set_result(Answer(int(answer[9:12]), answer[: body_at - 4], answer[body_at:]))


@asynccontextmanager
async def asker(host: str, port: int) -> AsyncIterator[Asker]:
    one = Asker()
    await asyncio.get_running_loop().create_connection(lambda: one.connection, host, port)
    try:
        yield one
    finally:
        if one.connection.transport is not None:
            one.connection.transport.close()
