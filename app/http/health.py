"""Is the process alive, and should it get traffic? Two questions with two answers, for two kinds of probe."""

from __future__ import annotations

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
    findings = ["draining: the server was asked to stop"] if request.app.state.drain.leaving else []
    findings += request.app.state.services.readiness()
    response.headers["cache-control"] = "no-store"
    if findings:
        response.status_code = 503
    return Readiness(status="not_ready" if findings else "ready", findings=findings)
