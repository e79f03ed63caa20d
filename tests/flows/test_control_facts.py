"""What a process knows of the world before and while it decides."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

from redis.asyncio import Redis

from app.http.auth import Authenticator
from app.settings import Settings
from app.wiring import open_services
from policy.control import Control
from tests.flows.conftest import Flow
from tests.support.server import eventually

TRIALS = Path(__file__).parents[1] / "support" / "trials_bundle"


async def test_what_is_switched_off_is_known_before_the_first_decision(flow: Flow) -> None:
    """The fixture waits for the connection, and for nothing else."""
    assert not flow.services.control.current.stale
    assert flow.services.readiness() == []


async def test_it_is_known_before_the_first_decision_on_a_new_connection_too(flow: Flow) -> None:
    services = flow.services
    services.control.current = Control(stale=True)
    services.link.drop("as a store that was restarted")
    assert await services.link.wait_connected(5)
    assert not services.control.current.stale


async def test_counts_of_variants_are_followed_where_a_placement_compares_them_and_nowhere_else(
    flow: Flow, store_url: str
) -> None:
    assert flow.services.switches.compared == ()
    async with AsyncExitStack() as stack:
        settings = Settings(bundle=TRIALS, redis_url=store_url, trace_exporter="none")  # type: ignore[arg-type]  # pydantic reads a text
        services = await open_services(settings, Authenticator(None), stack)
        message, version, variant = services.switches.compared[0]
        client: Redis = services.client
        for shard in (1, 200):
            stem = f"{message}@{version}.{variant}"
            await client.hset(services.keys.variants(shard), mapping={f"{stem}:n": shard, f"{stem}:r": 1})
        await eventually(lambda: services.control.current.earned == {(message, version, variant): (2, 201)})
