"""Probes: alive is not ready, and a server that is asked to stop says so before it refuses anybody."""

from __future__ import annotations

import asyncio
import os
import signal
from types import SimpleNamespace

import httpx
import pytest
from fastapi import FastAPI

from app.http import health
from app.http.drain import Drain


@pytest.fixture
def app() -> FastAPI:
    app = FastAPI()
    app.include_router(health.router)
    app.state.drain = Drain()
    app.state.findings = []
    app.state.services = SimpleNamespace(readiness=lambda: list(app.state.findings))
    return app


async def get(app: FastAPI, path: str) -> httpx.Response:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://example.com") as client:
        return await client.get(path)


async def test_a_node_without_findings_is_ready(app: FastAPI) -> None:
    answer = await get(app, "/health/ready")
    assert (answer.status_code, answer.json()) == (200, {"status": "ready", "findings": []})
    assert answer.headers["cache-control"] == "no-store"


async def test_a_node_that_lacks_its_store_is_alive_and_not_ready_and_says_why(app: FastAPI) -> None:
    app.state.findings = ["the store cannot be reached"]
    answer = await get(app, "/health/ready")
    assert (answer.status_code, answer.json()["findings"]) == (503, ["the store cannot be reached"])
    assert (await get(app, "/health/live")).status_code == 200


async def test_sigterm_turns_readiness_first_and_reaches_the_server_later(app: FastAPI) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    before = signal.signal(signal.SIGTERM, lambda *_: loop.call_soon_threadsafe(stopped.set))
    try:
        with app.state.drain.on_signals(0.05):
            os.kill(os.getpid(), signal.SIGTERM)
            assert (await get(app, "/health/ready")).status_code == 503
            assert not stopped.is_set()
            await asyncio.wait_for(stopped.wait(), 2)
            stopped.clear()
            os.kill(os.getpid(), signal.SIGTERM)  # a second one does not wait
            await asyncio.sleep(0)
            await asyncio.wait_for(stopped.wait(), 0.04)
    finally:
        signal.signal(signal.SIGTERM, before)
