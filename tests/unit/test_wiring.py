"""What runs beside requests starts in one order and ends in the other."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from types import SimpleNamespace
from typing import cast

from app.services import Services
from app.wiring import start

#: The link of decisions is there first and goes last: the others may still write over it.
ORDER = [
    "link", "reconciler", "budgets", "control", "features", "merges", "erasures", "event_link", "outcome_link",
]  # fmt: skip


class Part:
    def __init__(self, name: str, said: list[str]) -> None:
        self._name, self._said = name, said

    def start(self) -> None:
        self._said.append(f"{self._name} started")

    async def close(self) -> None:
        self._said.append(f"{self._name} closed")


async def test_what_started_first_ends_last_and_tasks_end_before_all_of_it() -> None:
    said: list[str] = []

    async def watching() -> None:
        said.append("watching")
        try:
            await asyncio.Event().wait()
        finally:
            said.append("watched")

    parts = {name: Part(name, said) for name in ORDER}
    watched = SimpleNamespace(watch=watching)
    services = cast("Services", SimpleNamespace(authenticator=watched, collector=watched, **parts))
    async with AsyncExitStack() as stack:
        start(services, stack)
        await asyncio.sleep(0)
    assert said == [
        *(f"{name} started" for name in ORDER),
        *["watching"] * 2,
        *["watched"] * 2,
        *(f"{name} closed" for name in reversed(ORDER)),
    ]
