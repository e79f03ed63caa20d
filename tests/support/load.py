"""Callers who ask without a pause while something happens to the store, and what they were told."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.support.server import HANGS_AFTER_S, Answer, Client, eventually


@dataclass
class Load:
    """Every answer so far. A refused connection or a broken one would end the load, and the test."""

    answers: list[Answer] = field(default_factory=list)

    @property
    def reasons(self) -> Counter[str]:
        """Of the first decisions; problems by their code."""
        return Counter(a.first["reason"] if a.status == 200 else a.json()["code"] for a in self.answers)

    @property
    def sends(self) -> list[str]:
        """Ids of the first decisions that said `send`."""
        return [a.first["decision_id"] for a in self.answers if a.status == 200 and a.sends]

    async def more(self, n: int, timeout_s: float = HANGS_AFTER_S) -> list[Answer]:
        """Wait for `n` more answers, and give them."""
        before = len(self.answers)
        await eventually(lambda: len(self.answers) >= before + n, timeout_s)
        return self.answers[before:]

    async def until_it_sends(self, timeout_s: float = HANGS_AFTER_S) -> None:
        """Wait until one of the answers from now on says `send`."""
        before = len(self.answers)
        await eventually(lambda: any(a.status == 200 and a.sends for a in self.answers[before:]), timeout_s)


@asynccontextmanager
async def load(
    client: Client, customers: list[str], placement: str = "open", *, budget_ms: int = 100, callers: int = 4
) -> AsyncIterator[Load]:
    """Callers who ask as long as the block runs."""
    going, made = [True], Load()

    async def ask(n: int) -> None:
        while going:
            made.answers.append(await client.decide(customers[n % len(customers)], placement, budget_ms=budget_ms))
            n += callers

    async with asyncio.TaskGroup() as group:
        for n in range(callers):
            group.create_task(ask(n))
        try:
            yield made
        finally:
            going.clear()
