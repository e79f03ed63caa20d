"""`POST /v1/events`: what customers did, as native events or CloudEvents.

Fails closed: an event is acknowledged when it is durable in its stream, and refused before that can be in doubt.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import orjson
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field, RootModel

from app.core.events import cloudevents, native
from app.core.events.event import Arrived, Misfit, Misfits
from app.core.events.json_text import Document, NotJson, parsed, parsed_lines, soundly
from app.errors import Problem
from app.flows.collect import Tally
from app.http.event_body import Body, Held, answered, read_body
from app.http.openapi import answered as documented
from app.http.openapi import problems, request_body

if TYPE_CHECKING:
    from app.services import Services

router = APIRouter(tags=["events"])

Read: TypeAlias = Callable[[Any], Arrived | Misfit]
NDJSON = ("application/x-ndjson", "application/jsonl", "application/ndjson")
#: Events of one request; clients send up to 2,500.
EVENTS_MAX = 5_000
#: Rejected ones that an answer lists.
LISTED_MAX = 1_000

VIEWED = {
    "event": "product_viewed",
    "customer": {"user_id": "u_1", "anonymous_id": "a_77"},
    "id": "evt_8812",
    "properties": {"product_id": "p_1", "price": 19.9},
}
HEARTBEAT = {"type": "heartbeat"}
ANSWER = {
    "accepted": 99,
    "undeclared": 0,
    "properties_dropped": 3,
    "rejected": [{"index": 17, "code": "wrong_type", "detail": "`price` is no float"}],
}


class EventBody(BaseModel):
    """An event of our own format. Unlike most bodies its parts are checked one by one, and nothing is refused whole."""

    event: str = Field(description="The name under which the bundle declares it, or `identify` or `alias`.")
    customer: str | dict[str, str] = Field(
        description="The customer's key, or identities of one person: `customer`, `user_id`, `anonymous_id`, "
        "`external`, `email_sha256`, `phone_sha256`."
    )
    at: str | None = Field(None, description="When it happened, ISO 8601 with a zone; absent: now.")
    id: str | None = Field(None, description="Your own id of it: repeats are known by it. Only its hash is kept.")
    properties: dict[str, Any] | None = None
    version: int | None = Field(None, description="Of its declaration; absent: the one in force.")
    source: str | None = Field(None, description="The system that tells it.")
    previous: str | dict[str, str] | None = Field(None, description="Of `alias`: who that was before.")


class HeartbeatBody(BaseModel):
    """Says that of these events none is on its way, so that features under a contract (`max_lag`) stay fresh."""

    type: Literal["heartbeat"]
    events: list[str] | None = Field(None, description="Absent: all that the bundle declares.")


class Told(RootModel[EventBody | HeartbeatBody]):
    """An event or a heartbeat."""


class RejectedEvent(BaseModel):
    """An event that was put aside."""

    index: int = Field(description="Its place in the request, from 0; of NDJSON, blank lines not counted.")
    code: Misfits
    detail: str


class CollectedAnswer(BaseModel):
    """What became of the events of a request."""

    accepted: int = Field(description="Durable. Repeats of an earlier one are dropped later.")
    undeclared: int = Field(description="Events that the bundle does not declare: passed over. Whom they link is kept.")
    properties_dropped: int = Field(description="Properties that the bundle does not declare.")
    rejected: list[RejectedEvent] = Field(description="Put aside with the reason; the first 1,000.")


@router.post(
    "/v1/events",
    summary="What customers did",
    description="An event, an array of them, or newline-delimited JSON (by content type); or CloudEvents 1.0 in "
    "binary, structured or batched mode. At most 32 KiB an event, 5 MiB a request after unpacking; gzip is understood. "
    "The answer is 200 when everything that fits is durable: what does not fit is put aside with the reason "
    "(`nextbest deadletters`) and listed. Sending the same again is harmless where events have an `id`.",
    openapi_extra=request_body(Told, {"an event": VIEWED, "a heartbeat": HEARTBEAT}),
    responses={
        **documented(CollectedAnswer, "What became of them", ANSWER),
        **problems(
            "malformed_body",
            "malformed_json",
            "unauthenticated",
            "forbidden",
            "payload_too_large",
            "unsupported_media_type",
            "rate_limited",
            "store_unavailable",
            "durability_unmet",
        ),
    },
    response_model=None,
)
async def collect_events(request: Request) -> Response:
    async def answer(coming: Body) -> Response:
        services: Services = request.app.state.services
        limit = services.settings.events_body_limit_bytes
        headers = request.scope["headers"]
        if (problem := services.authenticator.scope_problem(headers, "collect")) is not None:
            raise problem
        services.collector.admit()
        with Held(services.collector.room) as held:
            body = await read_body(coming, request.headers.get("content-encoding"), held, limit)
            items, read = _items(request, body)
            tally = await services.collector.collect(items, read, services.authenticator.who(headers))
        return Response(orjson.dumps(tally_body(tally)), media_type="application/json")

    return await answered(request, answer)


def _items(request: Request, body: bytes) -> tuple[list[Any], Read]:
    """The events of a body, and how one of them is to be read. Raises Problem."""
    content_type = request.headers.get("content-type", "")
    headers = request.scope["headers"]
    try:
        mode = cloudevents.mode(content_type, (name for name, _ in headers))
    except cloudevents.UnknownFormat:
        raise Problem("unsupported_media_type", "of CloudEvents only the JSON format is understood") from None
    if mode == "binary":
        found = document(body) if body.strip() else Document(None)
        return [found.said], soundly(lambda data: cloudevents.binary(headers, data), len(body), found.doubtful)
    read: Read = native.message if mode is None else cloudevents.structured
    if mode is None and content_type.partition(";")[0].strip().lower() in NDJSON:
        found = parsed_lines(body)
        return at_most(found.said), soundly(read, len(body), found.doubtful)
    found = document(body)
    items = [found.said] if isinstance(found.said, dict) and mode != "batched" else found.said
    if not isinstance(items, list) or (mode == "structured" and items is found.said):
        expected = {"structured": "an object", "batched": "an array"}.get(mode or "", "an object or an array")
        raise Problem("malformed_json", f"expected {expected}")
    return at_most(items), soundly(read, len(body), found.doubtful)


def document(body: bytes) -> Document:
    """The JSON of a body. Raises Problem."""
    try:
        return parsed(body)
    except NotJson:
        raise Problem("malformed_json", "the body could not be parsed as JSON") from None


def at_most(items: list[Any]) -> list[Any]:
    """The events of a body. Raises Problem where they are too many."""
    if len(items) > EVENTS_MAX:
        raise Problem("payload_too_large", f"at most {EVENTS_MAX} events")
    return items


def tally_body(tally: Tally) -> dict[str, Any]:
    """What became of them, for the caller."""
    rejected = [
        {"index": place, "code": misfit.code.value, "detail": misfit.detail}
        for place, misfit in tally.rejected[:LISTED_MAX]
    ]
    return {
        "accepted": tally.accepted,
        "undeclared": tally.passed,
        "properties_dropped": tally.properties_dropped,
        "rejected": rejected,
    }
