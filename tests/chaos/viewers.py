"""Visitors whose events are collected while something happens, and what must have become of them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

from redis.asyncio import Redis

from app.core.features.plan import FoldPlan
from app.store.clients import open_client
from tests.chaos.bundle import VIEWED, VIEWS
from tests.chaos.crowd import Crowd, Lost
from tests.chaos.site import Site
from tests.support.look import KEYS
from tests.support.server import eventually
from tests.support.working import features_in
from tests.support.working_process import is_worked_off

#: Of one request; so many are on their way at once that a worker is always in the middle of a batch.
EVENTS, SENDERS = 40, 2
PAUSE_S = 0.02


class Viewers:
    """Every event is sent until it is acknowledged, under the same id."""

    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd
        self._numbers = count()
        self.views: Counter[str] = Counter()

    async def keep_viewing(self, going: list[bool]) -> None:
        while going:
            events = [self._event(next(self._numbers)) for _ in range(EVENTS)]
            await self._send(events)
            self.views.update(event["customer"] for event in events)
            await asyncio.sleep(PAUSE_S)

    def _event(self, number: int) -> dict[str, Any]:
        customers = self._crowd.customers
        customer = customers[number % len(customers)]
        told = {"event": VIEWED, "customer": customer, "id": f"{customers[0]}-{number}"}
        return told | {"properties": {"product_id": f"p{number % 7}"}}

    async def _send(self, events: list[dict[str, Any]]) -> None:
        while True:
            with contextlib.suppress(Lost):
                answer = await self._crowd.clients[0].ask("POST", "/v1/events", events)
                if answer.status == 200:
                    assert not answer.json()["rejected"], answer.body
                    return
                assert answer.status in (429, 503), answer.body
            await asyncio.sleep(0.05)


@asynccontextmanager
async def viewers(site: Site, crowd: Crowd) -> AsyncIterator[None]:
    """While the block runs; afterwards every event that was acknowledged must have been counted, once, for whoever its
    customer became meanwhile."""
    made, going = Viewers(crowd), [True]
    async with asyncio.TaskGroup() as group:
        for _ in range(SENDERS):
            group.create_task(made.keep_viewing(going))
        try:
            yield
        finally:
            going.clear()
    await eventually(lambda: all(crowd.history.winner_of(loser) == winner for loser, winner in crowd.couples), 30)
    viewed = Counter[str]()
    for customer, views in made.views.items():
        viewed[crowd.history.winner_of(customer)] += views
    async with open_client(site.store.url) as client:
        await eventually(lambda: is_worked_off(client, KEYS), 30)
        for customer, views in viewed.items():
            counted = await _counted(site, client, customer)
            assert counted == views, f"{customer} viewed {views} products, and {counted} were counted"


async def _counted(site: Site, client: Redis, customer: str) -> object:
    plan = FoldPlan.of(site.served.bundle)
    return (await features_in(client, customer, round(time.time() * 1000), plan, KEYS))[VIEWS]
