"""`GET /metrics`: this server's counters, summed over its workers, for Prometheus."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request, Response

from app.telemetry.exposition import CONTENT_TYPE

router = APIRouter(tags=["operations"])


@router.get("/metrics", summary="Metrics of all workers", response_class=Response)
async def read_metrics(request: Request) -> Response:
    """The text exposition format 0.0.4."""
    services = request.app.state.services
    services.refresh_gauges()
    text = await asyncio.to_thread(services.metrics.render)
    return Response(text, media_type=CONTENT_TYPE)
