"""`GET /metrics`: this server's counters, summed over its workers, for Prometheus."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response

from app.errors import Problem
from app.http.deliverability import braked
from app.store.watch import WatchStore
from app.telemetry import deliverability
from app.telemetry.exposition import CONTENT_TYPE

if TYPE_CHECKING:
    from app.services import Services

router = APIRouter(tags=["operations"])
#: A scrape waits no longer for what the store has to say.
STORE_WITHIN_S = 0.5


@router.get("/metrics", summary="Metrics of all workers", response_class=Response)
async def read_metrics(request: Request) -> Response:
    """The text exposition format 0.0.4."""
    services = request.app.state.services
    services.refresh_gauges()
    text = await asyncio.to_thread(services.metrics.render)
    return Response(text + await _deliverability(services), media_type=CONTENT_TYPE)


async def _deliverability(services: Services) -> bytes:
    """What the store keeps of it; nothing while the store is away, which has gauges of its own."""
    if not services.link.connected:
        return b""
    try:
        async with asyncio.timeout(STORE_WITHIN_S):
            judgement = await WatchStore(services.client, services.keys).last()
    except (Problem, TimeoutError):
        return b""
    now_ms = time.time_ns() // 1_000_000
    return deliverability.render(judgement, {each.message for each in braked(services, now_ms)}, now_ms)
