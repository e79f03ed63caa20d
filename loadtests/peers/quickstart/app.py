"""The standard job, written from each library's own quickstart.

Not crippled: uvicorn with uvloop and httptools, pipelines, compiled rules, one model run for all messages. Not tuned
either: it is what a competent team has after a week. It counts caps (check, then increment: two racing requests can
both pass), keeps no explanation and has no ladder.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from functools import partial
from typing import Any

import numpy as np
import onnxruntime as ort
from fastapi import FastAPI, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, Field

from loadtests.peers.quickstart import store
from loadtests.peers.quickstart.rules import eligible
from loadtests.peers.quickstart.telemetry import DECISIONS, step
from loadtests.standard.job import ATTRIBUTES, CATEGORIES, MESSAGE_FEATURES, MESSAGES, MODEL

AT_MOST = {"day": 1_000_000, "week": 1_000_000} | {f"category_{i}": 1_000_000 for i in range(CATEGORIES)}
MESSAGE_NUMBERS = [[(4 * i + j) * 0.37 % 1 for j in range(len(MESSAGE_FEATURES))] for i in range(MESSAGES)]
VALUES = [1 + i / 20 for i in range(MESSAGES)]

session = ort.InferenceSession(os.environ.get("MODEL", str(MODEL)), providers=["CPUExecutionProvider"])
app = FastAPI(title="quickstart")


class DecideRequest(BaseModel):
    customer: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    placements: list[str] = Field(min_length=1, max_length=8)
    context: dict[str, str] = {}


class Message(BaseModel):
    id: str
    template: str


class Decision(BaseModel):
    decision_id: str
    placement: str
    action: str
    rung: str
    message: Message | None
    score: float | None


class DecideResponse(BaseModel):
    customer: str
    decisions: list[Decision]


@app.post("/v1/decide")
async def decide(request: DecideRequest) -> DecideResponse:
    with step("decide"):
        decisions = [await decide_placement(request, placement) for placement in request.placements]
        return DecideResponse(customer=request.customer, decisions=decisions)


async def decide_placement(request: DecideRequest, placement: str) -> Decision:
    with step("read"):
        caps = store.counters(request.customer)
        profile, counts = await store.read(request.customer, caps)
        customer: dict[str, Any] = {name: float(profile[name]) for name in ATTRIBUTES if name in profile}
        customer["lifecycle"] = profile.get("lifecycle", "")
    with step("gate"):
        if profile.get("consent_email") != "granted" or profile.get("consent_personalisation") != "granted":
            return answer(placement, "suppress", "suppress")
    with step("eligible"):
        candidates = eligible(customer, request.context)
    with step("score"):
        propensities = await score(customer, candidates)
    with step("limits"):
        admissible = [
            (i, p)
            for i, p in zip(candidates, propensities, strict=True)
            if all(counts[limit] < AT_MOST[limit] for limit in limits_of(i))
        ]
    with step("arbitrate"):
        if not admissible:
            return answer(placement, "suppress", "rules")
        chosen, worth = max(((i, p * VALUES[i]) for i, p in admissible), key=lambda pair: pair[1])
    with step("commit"):
        decision = answer(placement, "send", "model", chosen, float(worth))
        record = {"id": decision.decision_id, "customer": request.customer, "message": f"m{chosen}", "score": worth}
        await store.commit([caps[limit] for limit in limits_of(chosen)], record)
    return decision


async def score(customer: dict[str, Any], candidates: list[int]) -> list[float]:
    """Propensity of each candidate: one model run for all, in the default executor."""
    if not candidates:
        return []
    numbers = [customer.get(name, float("nan")) for name in ATTRIBUTES]
    x = np.array([numbers + MESSAGE_NUMBERS[i] for i in candidates], dtype=np.float32)
    loop = asyncio.get_running_loop()
    (probabilities,) = await loop.run_in_executor(None, partial(session.run, ["probabilities"], {"x": x}))
    return [float(p) for p in probabilities[:, 1]]


def limits_of(message: int) -> list[str]:
    return ["day", "week", f"category_{message % CATEGORIES}"]


def answer(placement: str, action: str, rung: str, message: int | None = None, worth: float | None = None) -> Decision:
    DECISIONS.labels(action, rung).inc()
    return Decision(
        decision_id=f"dec_{uuid.uuid4().hex}",
        placement=placement,
        action=action,
        rung=rung,
        message=None if message is None else Message(id=f"m{message}", template="standard"),
        score=worth,
    )


@app.get("/metrics")
def metrics() -> Response:
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


@app.get("/health/ready")
async def ready() -> dict[str, bool]:
    return {"ready": bool(await store.client.ping())}
