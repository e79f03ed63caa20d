"""`POST /v1/decisions/{decision_id}/outcomes`: what happened to a message, told by whoever sent it.

Fails closed: an outcome is acknowledged only after the store has applied all of it; from then on the next decision for
the customer sees it.
"""

from __future__ import annotations

from typing import Annotated

import orjson
from fastapi import APIRouter, Path, Request, Response

from app.core.decision.ids import parse_id
from app.core.heard import Heard, Take
from app.errors import Problem
from app.http import customer_bodies
from app.http import outcome_bodies as bodies
from app.http.customer_view import iso
from app.http.openapi import answered, problems, request_body
from app.store.outcomes import Told

router = APIRouter(tags=["decisions"])

#: Who a suppression says that it comes from.
SOURCE = "outcome"
ID = "dec_0110197a1c2b3c4d5e6f70819200"
CLICKED = {"type": "clicked", "at": "2026-01-05T09:12:00Z", "event_id": "evt_8812"}
SENT = {"type": "sent", "provider": "customerio", "message_id": "RPILAgABcRhIBqSrnD4"}
CONVERTED = {"type": "converted", "value": 12.5, "event_id": "order_4711"}
ANSWER = {
    "decision_id": ID,
    "type": "clicked",
    "at": "2026-01-05T09:12:00.000Z",
    "applied": True,
    "duplicate": False,
    "effects": ["contact_sent", "contact_engaged"],
}


@router.post(
    "/v1/decisions/{decision_id}/outcomes",
    summary="What happened to a message",
    description="For whoever sends without a provider that reports back. Order does not matter, and repeats are "
    "harmless: what is known of a decision is the set of its outcomes. A contact counts at the instant of `sent`, and "
    "not at all after `not_sent`, `dropped` or a bounce, unless it arrived. `bounced_hard`, `complained` and "
    "`unsubscribed` suppress; once answered, they win over every decision that is not committed. Taken for 35 days.",
    openapi_extra=request_body(bodies.OutcomeBody, {"a click": CLICKED, "a purchase": CONVERTED, "a mail": SENT}),
    responses={
        **answered(bodies.OutcomeAnswer, "It is noted", ANSWER),
        **problems(
            "malformed_json",
            "invalid_request",
            "future_time",
            "not_found",
            "decision_expired",
            "nothing_sent",
            "payload_too_large",
            "store_unavailable",
            "durability_unmet",
        ),
    },
    response_model=None,
)
async def tell_outcome(request: Request, decision_id: Annotated[str, Path(examples=[ID])]) -> Response:
    services = request.app.state.services
    decision = parse_id(decision_id)
    if decision is None or decision.shard >= services.keys.shards:
        raise Problem("not_found", "a decision id is `dec_` and 28 hexadecimal digits")
    said = customer_bodies.parse(bodies.OUTCOME, await request.body())
    outcome = said.outcome()
    told = Told(SOURCE, services.authenticator.who(request.scope["headers"]))
    (taken,) = await services.outcome_taker.take([Heard(outcome, decision, said.message())], told)
    if taken.status is Take.REJECTED:
        raise Problem(taken.code, taken.detail)
    body = {
        "decision_id": decision_id,
        "type": outcome.type,
        "at": iso(taken.at_ms),
        "applied": bool(taken.effects),
        "duplicate": taken.status is Take.DUPLICATE,
        "effects": taken.effects,
    }
    return Response(orjson.dumps(body), media_type="application/json")
