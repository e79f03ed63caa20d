"""The flow with everything that a server gives it, on a real store, without the wire."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from app.core.decision.request import DecideRequest
from app.core.keeping import keeping
from app.flows.decide import Answered
from app.http.auth import Authenticator
from app.http.customer_bodies import CUSTOMER, Checker, parse
from app.services import Services
from app.settings import Settings
from app.store.customers import CustomerStore
from app.watch import Watch
from app.wiring import open_services
from tests.support.contract import FOLDER
from tests.support.link import soon
from tests.support.valkey import Store, store_server, store_url

__all__ = ["store_server", "store_url"]


@dataclass
class Flow:
    """A decider and its surroundings."""

    services: Services
    store: Store
    before_commit: Callable[[], Any] | None = None  # called once, when facts are read and nothing is committed

    async def know(self, customer: str, **known: Any) -> None:
        write = Checker(self.services.bundle).write(customer, parse(CUSTOMER, json.dumps(known).encode()))
        services = self.services
        await CustomerStore(
            services.client, services.keys, services.fields, services.hash_key, keeping(self.services.bundle)
        ).write(write)

    async def decide(self, customer: str, *placements: str, budget_ms: int = 2000, **more: Any) -> Answered:
        bundle = self.services.bundle
        asked: dict[str, Any] = {
            "request_id": "req_1", "customer": customer, "placements": tuple(bundle.placements[p] for p in placements),
            "context": {}, "budget_ms": budget_ms, "explain": False, "dry_run": False, "idempotency": None,
            "trace_id": None,
        }  # fmt: skip
        request = DecideRequest(**(asked | more))
        return await self.services.decider.decide(request, Watch(), soon(budget_ms / 1000))


class Interrupting:
    """The models of a flow, which let something happen between its read and its commit."""

    def __init__(self, flow: Flow) -> None:
        self._models = flow.services.models
        self._flow = flow

    def score(self, *args: Any) -> Any:
        happening = self._flow.before_commit
        if happening is not None:
            happening()
        return self._models.score(*args)


@pytest.fixture
async def flow(store_server: Store, store_url: str) -> AsyncIterator[Flow]:
    async with AsyncExitStack() as stack:
        settings = Settings(bundle=FOLDER, redis_url=store_url, trace_exporter="none")  # type: ignore[arg-type]  # pydantic reads a text
        services = await open_services(settings, Authenticator(None), stack)
        assert await services.link.wait_connected(5), services.link.last_error
        made = Flow(services, store_server)
        services.decider._models = Interrupting(made)  # type: ignore[assignment]  # a stand-in
        yield made
        await asyncio.sleep(0)
