"""Callers of several nodes, who follow readiness as the endpoints of a Kubernetes service do, and never try again."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from tests.support.server import Answer, Client, Server, eventually

PROBE_EVERY_S = 0.05


class Nodes:
    """The nodes that are ready, in turns; what each caller was told. A request that gets no answer is `lost`."""

    def __init__(self) -> None:
        self.told: Counter[str] = Counter()
        self.trouble: list[str] = []  # what was no good answer, in words
        self.bundles: list[str] = []  # of each good decision, in order
        self.closed = 0  # answers that ended their connection
        self.going = True
        self._known: list[Server] = []
        self._ready: list[Server] = []
        self._turn = 0

    def add(self, *servers: Server) -> None:
        self._known.extend(servers)

    def is_ready(self, server: Server) -> bool:
        return server in self._ready

    async def hang_up(self) -> None:
        for server in self._known:
            await server.client.close()

    async def probe(self) -> None:
        while self.going:
            for server in list(self._known):
                ready = await self._is_ready(server)
                if ready and server not in self._ready:
                    self._ready.append(server)
                elif not ready and server in self._ready:
                    self._ready.remove(server)
            await asyncio.sleep(PROBE_EVERY_S)

    async def _is_ready(self, server: Server) -> bool:
        client = Client(server.port)  # a connection of its own each time, as probes do
        try:
            return (await client.ask("GET", "/health/ready")).status == 200
        except (OSError, asyncio.IncompleteReadError):
            return False
        finally:
            await client.close()

    async def ask(self, customer: str, *, anew: bool = False) -> None:
        """One decision of the node whose turn it is: on a connection that is kept, or on one of its own."""
        self._turn += 1
        server = self._ready[self._turn % len(self._ready)]
        client = Client(server.port) if anew else server.client
        self._note(await _asked(client.decide(customer, "open")), decided=True)
        if anew:
            await client.close()

    async def look(self) -> None:
        """Something else than a decision, which goes another way through the server."""
        server = self._ready[self._turn % len(self._ready)]
        self._note(await _asked(server.client.ask("GET", "/v1/bundle")), decided=False)

    def _note(self, answer: Answer | str, *, decided: bool) -> None:
        if isinstance(answer, str):
            self.told["lost"] += 1
            self.trouble.append(answer)
            return
        self.closed += answer.headers.get("connection") == "close"
        good = answer.status == 200 and (not decided or answer.sends)
        if good and decided:
            self.bundles.append(answer.json()["bundle"])
        elif not good:
            self.trouble.append(f"{answer.status} {answer.body[:300]!r}")
        self.told["sends" if good and decided else "looks" if good else "trouble"] += 1

    async def more(self, n: int = 100) -> None:
        """Wait for so many further sends."""
        until = self.told["sends"] + n
        await eventually(lambda: self.told["sends"] >= until, 30)


async def _asked(asking: Any) -> Answer | str:
    try:
        answer: Answer = await asking
    except (OSError, asyncio.IncompleteReadError) as error:
        return repr(error)
    return answer


@asynccontextmanager
async def called(customers: Sequence[str], *servers: Server, callers: int = 6) -> AsyncIterator[Nodes]:
    """Callers ask the servers as long as the block runs: every other one on kept connections, the rest on new ones."""
    nodes = Nodes()
    nodes.add(*servers)

    async def decide(number: int) -> None:
        turn = number
        while nodes.going:
            await nodes.ask(customers[turn % len(customers)], anew=number % 2 == 1)
            turn += callers
            await asyncio.sleep(0.01)

    async def look() -> None:
        while nodes.going:
            await nodes.look()
            await asyncio.sleep(0.01)

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(nodes.probe())
            await eventually(lambda: all(map(nodes.is_ready, servers)))
            for number in range(callers):
                group.create_task(decide(number))
            group.create_task(look())
            try:
                yield nodes
            finally:
                nodes.going = False
    finally:
        await nodes.hang_up()
