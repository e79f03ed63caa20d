"""Is the process alive, and should it get traffic? Two questions with two answers, for two kinds of probe."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

router = APIRouter(prefix="/health", tags=["health"])


class Liveness(BaseModel):
    """Answered by any process that can answer at all; restart it when it does not."""

    status: Literal["live"] = "live"


class Readiness(BaseModel):
    """Whether this node should get traffic, and if not, everything that stands in the way."""

    status: Literal["ready", "not_ready"]
    findings: list[str] = Field(description="what is missing, in words for the operator; empty when ready")


@router.get("/live", summary="Is the process alive?")
async def live() -> Liveness:
    return Liveness()


@router.get(
    "/ready",
    summary="Should this node get traffic?",
    responses={503: {"model": Readiness, "description": "Not ready; `findings` say why"}},
)
async def ready(request: Request, response: Response) -> Readiness:
    findings = ["draining: the server was asked to stop"] if request.app.state.drain.begun else []
    findings += request.app.state.services.readiness()
    response.headers["cache-control"] = "no-store"
    if findings:
        response.status_code = 503
    return Readiness(status="not_ready" if findings else "ready", findings=findings)


class Drain:
    """The way out: readiness turns first, so that balancers look elsewhere, and only later are connections refused."""

    def __init__(self) -> None:
        self.begun = False

    @contextmanager
    def on_sigterm(self, delay_s: float) -> Iterator[None]:
        """While open, SIGTERM turns readiness at once and reaches the server's own handler `delay_s` seconds later.

        A second SIGTERM goes through at once. Open it in the lifespan, when the server has installed its handler.
        """
        if threading.current_thread() is not threading.main_thread():
            yield  # signals reach the main thread alone: an application inside a test client has none
            return
        loop = asyncio.get_running_loop()
        server_handler = signal.getsignal(signal.SIGTERM)

        def handle(number: int, frame: FrameType | None) -> None:
            if not callable(server_handler):
                return
            if self.begun or delay_s <= 0:
                self.begun = True
                server_handler(number, frame)
                return
            self.begun = True
            loop.call_soon_threadsafe(loop.call_later, delay_s, server_handler, number, None)

        signal.signal(signal.SIGTERM, handle)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, server_handler)
