"""`POST /v1/{track,identify,alias,page,screen,group,batch}`: what unmodified Segment and RudderStack clients send.

They are pointed here by their host alone, so what they need is the contract: 200 and nothing else for success (one of
them sends a batch again until it sees a 200), a `message` in what is refused, the content type ignored, the key
wherever they put it. One bad message never costs its batch: the answer is 200, and it is put aside with the reason.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from app.core.events import segment
from app.core.events.json_text import soundly
from app.errors import Problem
from app.http.event_body import Body, Held, answered, read_body
from app.http.events import ANSWER, CollectedAnswer, at_most, document, tally_body
from app.http.openapi import answered as documented
from app.http.openapi import problems, request_body

if TYPE_CHECKING:
    from app.http.auth import Authenticator
    from app.services import Services

router = APIRouter(tags=["events"])

#: A body that holds its own key is read before anybody knows who sends it: no more of it than Segment's clients send.
KEYLESS_BYTES_MAX = 512 * 1024
PROBLEMS = (
    "malformed_body",
    "malformed_json",
    "unauthenticated",
    "forbidden",
    "payload_too_large",
    "unsupported_media_type",
    "rate_limited",
    "store_unavailable",
    "durability_unmet",
)
MESSAGE = {
    "type": "track",
    "userId": "u_1",
    "event": "Product Viewed",
    "properties": {"product_id": "p_1"},
    "messageId": "c4c59fd2-90d1-4a40-a2c5-2f1b4e6d7a01",
}
IDENTIFIED = {"type": "identify", "userId": "u_1", "anonymousId": "a_77", "traits": {"plan": "gold"}}
ALIASED = {"type": "alias", "userId": "u_1", "previousId": "a_77"}
SEEN = {"userId": "u_1", "name": "Shirts", "properties": {"category": "men"}}
GROUPED = {"type": "group", "userId": "u_1", "groupId": "g_4"}


class SegmentMessage(BaseModel):
    """One message of the Segment specification; what else it holds is passed over."""

    model_config = ConfigDict(extra="allow")

    type: str | None = Field(None, description="track, identify, alias, page, screen or group; in a batch only.")
    user_id: str | None = Field(None, alias="userId")
    anonymous_id: str | None = Field(None, alias="anonymousId")
    message_id: str | None = Field(None, alias="messageId", description="Repeats are known by it, for each key.")
    timestamp: str | None = None
    event: str | None = Field(None, description="Of track.")
    properties: dict[str, Any] | None = None
    traits: dict[str, Any] | None = None


class SegmentBatch(BaseModel):
    """Several messages, and what stands once for all of them."""

    model_config = ConfigDict(extra="allow")

    batch: list[SegmentMessage]
    sent_at: str | None = Field(None, alias="sentAt", description="On the clock of `timestamp`, which may be wrong.")
    write_key: str | None = Field(None, alias="writeKey", description="The key, where no header holds it.")


class SegmentAnswer(CollectedAnswer):
    """What became of the messages of a request."""

    success: bool


ANSWERS = {**documented(SegmentAnswer, "What became of them", {"success": True, **ANSWER}), **problems(*PROBLEMS)}


@router.post(
    "/v1/batch",
    summary="What customers did, from Segment's and RudderStack's clients",
    description="Set a client's host (`dataPlaneUrl`) to this server and its write key to a key with the scope "
    "`collect`. The key may be the user name of Basic authorisation, a bearer token, `writeKey` in the body or in the "
    "query.",
    openapi_extra=request_body(SegmentBatch, {"a batch": {"batch": [MESSAGE]}}),
    responses=ANSWERS,
    response_model=None,
)
async def collect_batch(request: Request) -> Response:
    return await _collect(request, None)


@router.post("/v1/track", summary="A customer did something", responses=ANSWERS, response_model=None,
             openapi_extra=request_body(SegmentMessage, {"a product was viewed": MESSAGE}))  # fmt: skip
async def collect_track(request: Request) -> Response:
    return await _collect(request, "track")


@router.post("/v1/identify", summary="Who a visitor is", responses=ANSWERS, response_model=None,
             openapi_extra=request_body(SegmentMessage, {"a visitor signed in": IDENTIFIED}))  # fmt: skip
async def collect_identify(request: Request) -> Response:
    return await _collect(request, "identify")


@router.post("/v1/alias", summary="Two ids are one person's", responses=ANSWERS, response_model=None,
             openapi_extra=request_body(SegmentMessage, {"two ids": ALIASED}))  # fmt: skip
async def collect_alias(request: Request) -> Response:
    return await _collect(request, "alias")


@router.post("/v1/page", summary="A customer saw a page", responses=ANSWERS, response_model=None,
             openapi_extra=request_body(SegmentMessage, {"a page": SEEN}))  # fmt: skip
async def collect_page(request: Request) -> Response:
    return await _collect(request, "page")


@router.post("/v1/screen", summary="A customer saw a screen", responses=ANSWERS, response_model=None,
             openapi_extra=request_body(SegmentMessage, {"a screen": SEEN}))  # fmt: skip
async def collect_screen(request: Request) -> Response:
    return await _collect(request, "screen")


@router.post("/v1/group", summary="A customer belongs to a group", responses=ANSWERS, response_model=None,
             openapi_extra=request_body(SegmentMessage, {"a group": GROUPED}))  # fmt: skip
async def collect_group(request: Request) -> Response:
    return await _collect(request, "group")


async def _collect(request: Request, kind: str | None) -> Response:
    """`kind`: the type of the one message; None: a batch."""

    async def answer(coming: Body) -> Response:
        services: Services = request.app.state.services
        limit = services.settings.events_body_limit_bytes
        sender = _sender_by_head(request, services.authenticator)
        services.collector.admit()
        with Held(services.collector.room) as held:
            if sender is None:
                limit = min(limit, KEYLESS_BYTES_MAX)
            body = await read_body(coming, request.headers.get("content-encoding"), held, limit)
            found = document(body)
            said = found.said
            if not isinstance(said, dict):
                raise Problem("malformed_json", "expected an object")
            if sender is None:
                sender = _sender_of(said.get("writeKey"), services.authenticator)
            items = [said] if kind is not None else segment.batch(said)
            if items is None:
                raise Problem("malformed_json", "expected a list in `batch`")
            sent_at = said.get("sentAt")
            read = soundly(lambda item: segment.message(item, kind, sent_at), len(body), found.doubtful)
            tally = await services.collector.collect(at_most(items), read, sender)
        return Response(orjson.dumps({"success": True, **tally_body(tally)}), media_type="application/json")

    return await answered(request, answer)


def _sender_by_head(request: Request, authenticator: Authenticator) -> str | None:
    """The id of the key that is in the header or the query; None where neither has one. Raises Problem."""
    headers = request.scope["headers"]
    if authenticator.is_open or any(name == b"authorization" for name, _ in headers):
        problem = authenticator.scope_problem(headers, "collect")
        if problem is not None:
            raise problem
        return authenticator.who(headers)
    key = request.query_params.get("writeKey")
    return None if key is None else _sender_of(key, authenticator)


def _sender_of(key: Any, authenticator: Authenticator) -> str:
    """The id of a key that may collect. Raises Problem."""
    if not isinstance(key, str) or not key:
        raise Problem("unauthenticated", "send the write key: in the header, as `writeKey` in the query or the body")
    presented = key.encode(errors="replace")
    problem = authenticator.key_problem(presented, "collect")
    if problem is not None:
        raise problem
    return authenticator.who_holds(presented)
