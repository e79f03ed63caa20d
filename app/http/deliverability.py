"""`GET /v1/deliverability`: bounces, complaints and unsubscribes of every message, and which the watch switched off."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from app.core.deliverability_view import Braked, braked_by_watch, view
from app.http.decisions import json_response
from app.http.openapi import answered, problems
from app.store.watch import WatchStore

if TYPE_CHECKING:
    from app.services import Services

router = APIRouter(tags=["operations"])


class CountsAnswer(BaseModel):
    """Contacts by what is known of them; each is counted once under each."""

    sent: int
    delivered: int
    bounced: int = Field(description="Hard.")
    soft_bounced: int
    complained: int
    unsubscribed: int


class RateAnswer(BaseModel):
    """A rate and its 95 % interval; null where there is nothing to divide by."""

    rate: float | None
    low: float | None
    high: float | None
    of: int = Field(description="How many mails it is a share of: of those sent, or of those delivered.")


class LimitAnswer(BaseModel):
    """From when on a rate alerts, and from when on it switches the message off."""

    alert: float | None
    brake: float | None


class RowAnswer(BaseModel):
    """One message in one class of mailboxes. `*` adds up several."""

    placement: str
    message: str
    domain: str = Field(description="A class of mailboxes, such as `gmail`; `other`; `unknown` where nobody told it.")
    state: Literal["ok", "few", "alert", "braked"] = Field(description="`few`: too few mails for a rate to mean much.")
    alerts: list[str]
    counts: CountsAnswer
    rates: dict[str, RateAnswer]


class BrakeAnswer(BaseModel):
    """A message that the watch switched off."""

    message: str
    at: str
    why: str
    lift: str = Field(description='How it is switched on again: with body `{"state": "on"}`.')
    scope: str = Field(description="What the key must hold that does so.")


class Deliverability(BaseModel):
    """What the watch found when it looked last."""

    judged_at: str | None
    stale: bool = Field(description="Nobody has looked for a minute.")
    note: str | None
    window_s: int | None
    at_least: int | None = Field(description="Mails from which on a rate means something.")
    limits: dict[str, LimitAnswer]
    rows: list[RowAnswer] = Field(description="Those with the most mails first.")
    left_out: int = Field(description="Further lines, those with the fewest mails, that are not kept.")
    brakes: list[BrakeAnswer]


@router.get(
    "/v1/deliverability",
    summary="Bounces, complaints, and what the brake did",
    responses={
        **answered(Deliverability, "What the watch found when it looked last", None),
        **problems("store_unavailable"),
    },
    response_model=None,
)
async def read_deliverability(request: Request) -> Response:
    """Rates by placement, message and class of mailboxes, over the window that the bundle names."""
    services = request.app.state.services
    judgement = await WatchStore(services.client, services.keys).last()
    now_ms = time.time_ns() // 1_000_000
    return json_response(view(judgement, braked(services, now_ms), now_ms))


def braked(services: Services, now_ms: int) -> list[Braked]:
    """What is off by the watch, as far as this node has heard: for at most half a second it may not have."""
    return braked_by_watch(services.control.current.switches, now_ms)
