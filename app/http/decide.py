"""`POST /v1/decide`: which message, if any, should this customer get now?

The route keeps its place in the OpenAPI document, and answers without FastAPI's dependency solving and response
validation: bytes in, one pydantic validation, the flow, bytes out. The composition root sends requests for it straight
here, past the other routes and middleware, so it authenticates, sheds load and renders problems itself.
"""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING

from fastapi import APIRouter, Response
from fastapi.routing import APIRoute
from starlette.types import Message, Receive, Scope, Send

from app.errors import Problem
from app.flows.decide import Answered
from app.http import answers
from app.http.answers import DecideAnswer
from app.http.decide_body import EXAMPLE, DecideBody, check_idempotency_key, parse
from app.http.openapi import answered, problems, request_body
from app.http.problems import send_problem
from app.http.protocol import FIRST_BYTE, PROTOCOL, DecisionProtocol
from app.telemetry import series
from app.telemetry.traceparent import trace_context
from app.watch import ADMIT, RESPOND, Watch

if TYPE_CHECKING:
    from app.services import Services

PATH = "/v1/decide"
log = logging.getLogger("nextbest.decide")


def new_request_id() -> str:
    return f"req_{random.getrandbits(96):024x}"


class DecideEndpoint:
    """The endpoint as an ASGI application."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._decider = services.decider
        self._now_s = asyncio.get_running_loop().time

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request. `scope` carries when its first byte was read; budgets count from there."""
        services = self._services
        now_s = self._now_s()
        first_byte_s = scope.get(FIRST_BYTE, now_s)
        watch = Watch(int((now_s - first_byte_s) * 1e9))
        try:
            if scope["method"] != "POST":
                raise Problem("method_not_allowed", "send a POST")
            await self._answer(scope, receive, send, watch, first_byte_s)
        except Problem as problem:
            services.metrics.count(series.PROBLEMS, problem.code)
            if watch.durations_ns[ADMIT] < 0:  # it was not admitted, and that took its time
                watch.mark(ADMIT)
            extra = [(b"server-timing", watch.server_timing())]
            await send_problem(send, problem, [*extra, (b"allow", b"POST")] if problem.status == 405 else extra)
        except Exception:
            services.metrics.count(series.PROBLEMS, "internal")
            log.exception("a decision request failed")
            await send_problem(send, Problem("internal", "the server's log has more"))

    async def _answer(self, scope: Scope, receive: Receive, send: Send, watch: Watch, first_byte_s: float) -> None:
        services = self._services
        raw = await _body(receive)
        if raw is None:
            return  # the caller hung up, or the connection's own limits refused it
        headers = {name: value for name, value in scope["headers"] if name in _READ_HEADERS}
        refusal = services.authenticator.scope_problem(headers.items(), "decide")
        if refusal is not None:
            raise refusal
        key = headers.get(b"idempotency-key")
        context = trace_context(headers.get(b"traceparent"))
        request = parse(
            raw,
            services.bundle,
            new_request_id(),
            None if key is None else key.decode("latin-1"),
            context.trace_id.to_bytes(16, "big"),
            services.idempotency_of,
        )
        admission = services.admission
        if not admission.has_room(request.budget_ms / 1000):
            services.metrics.count(series.SHED)
            raise Problem("overloaded", "more decisions are in flight than fit the budget: try again", retry_after_s=1)
        watch.mark(ADMIT)
        admission.in_flight += 1
        try:
            answered = await self._decider.decide(request, watch, first_byte_s + request.budget_ms / 1000)
        finally:
            admission.in_flight -= 1
        if answered.unmet_durability:
            raise Problem("durability_unmet", "the store could not promise that the decision is on disk", None, 1)
        watch.mark(RESPOND)
        await _send(scope, send, answered, watch)
        admission.answered()
        services.observer.answered(answered, watch, context, request.budget_ms, request.request_id)


#: The head of a usual answer, as `_send` would make it header by header.
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\nserver-timing: %b\r\n\r\n"
_READ_HEADERS = frozenset({b"authorization", b"idempotency-key", b"traceparent"})


async def _body(receive: Receive) -> bytes | None:
    """The whole body, whose size the connection has bounded; None when the caller went away."""
    message: Message = await receive()
    if message["type"] != "http.request":
        return None
    body: bytes = message.get("body", b"")
    if not message.get("more_body", False):
        return body
    pieces = [body]
    while message.get("more_body", False):
        message = await receive()
        if message["type"] != "http.request":
            return None
        pieces.append(message.get("body", b""))
    return b"".join(pieces)


async def _send(scope: Scope, send: Send, answered: Answered, watch: Watch) -> None:
    body, timing = answered.body, watch.server_timing()
    connection: DecisionProtocol | None = scope.get(PROTOCOL)
    if connection is not None and not answered.replayed:
        head = _HEAD % (len(body), timing)
        if connection.answer_at_once(scope, head, body):
            return
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"server-timing", timing),
    ]
    if answered.replayed:
        headers.append((b"idempotency-replayed", b"true"))
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class DecideRoute(APIRoute):
    """Hands the request to the endpoint, without what FastAPI does around an ordinary route."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        await scope["app"].state.services.decide_endpoint(scope, receive, send)


router = APIRouter(tags=["decisions"], route_class=DecideRoute)


@router.post(
    PATH,
    summary="Which message, if any, should this customer get now?",
    response_model=None,
    responses={
        **answered(DecideAnswer, "One decision for each placement, in the order asked for", answers.EXAMPLE),
        **problems(
            "malformed_json",
            "unauthenticated",
            "forbidden",
            "payload_too_large",
            "invalid_request",
            "unknown_placement",
            "unknown_context",
            "direct_identifier",
            "invalid_budget",
            "invalid_idempotency_key",
            "idempotency_key_reused",
            "overloaded",
        ),
    },
    openapi_extra=request_body(DecideBody, {"the weekly offer": EXAMPLE}),
)
async def decide() -> Response:
    """Described here; answered by `DecideEndpoint`."""
    raise NotImplementedError


__all__ = ["PATH", "DecideEndpoint", "check_idempotency_key", "new_request_id", "router"]
