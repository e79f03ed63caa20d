"""`POST /v1/decide`: which message, if any, should this customer get now?

The route keeps its place in the OpenAPI document, and answers without FastAPI's dependency solving and response
validation: bytes in, one pydantic validation, the flow, bytes out. The composition root sends requests for it straight
here, past the other routes and middleware, so it authenticates, sheds load and renders problems itself.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

from fastapi import APIRouter, Response
from fastapi.routing import APIRoute
from starlette.types import Message, Receive, Scope, Send

from app.admission import Rank
from app.errors import Problem
from app.http import answers
from app.http.answers import DecideAnswer
from app.http.decide_body import EXAMPLE, GPC_HEADER, GPC_ON, DecideBody, parse
from app.http.door import Door, too_many
from app.http.line import Line
from app.http.openapi import GPC_PARAMETER, answered, problems, request_body
from app.http.problems import send_problem
from app.http.protocol import FIRST_BYTE
from app.http.reply import Reply
from app.http.unsubscribe_links import UnsubscribeLinks
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
    """Answers decision requests: whole ones handed over by the connection (`answer`), others as an ASGI application."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._decider = services.decider
        self.links = UnsubscribeLinks(services)
        self.links.warn()
        loop = asyncio.get_running_loop()
        self._now_s = loop.time
        self.door = Door(services, Line(services.admission, loop), loop.time)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request by ASGI. `scope` carries when its first byte was read; budgets count from there."""
        first_byte_s = scope.get(FIRST_BYTE, self._now_s())
        if scope["method"] != "POST":
            self._services.metrics.count(series.PROBLEMS, "method_not_allowed")
            await send_problem(send, Problem("method_not_allowed", "send a POST"), [(b"allow", b"POST")])
            return
        raw = await _body(receive)
        if raw is None:
            return  # the caller hung up, or the connection's own limits refused it
        reply = await self._answer_unusual(raw, scope["headers"], first_byte_s)
        headers = [*reply.headers, (b"content-length", b"%d" % len(reply.body))]
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": reply.body})
        reply.observe()

    async def _answer_unusual(self, raw: bytes, headers: Iterable[tuple[bytes, bytes]], first_byte_s: float) -> Reply:
        """A request that takes no part in the line: few do."""
        admission = self._services.admission
        if not admission.has_room(admission.patience_s):
            admission.shed(Rank.DECISIONS)
            return self._refuse(too_many(), Watch(int((self._now_s() - first_byte_s) * 1e9)))
        admission.in_flight += 1
        try:
            return await self.answer(raw, headers, first_byte_s)
        finally:
            admission.in_flight -= 1

    async def answer(self, raw: bytes, headers: Iterable[tuple[bytes, bytes]], first_byte_s: float) -> Reply:
        """The answer to a request whose first byte was read at `first_byte_s` (loop time), and which is counted among
        those in flight by who calls. Never raises."""
        watch = Watch(int((self._now_s() - first_byte_s) * 1e9))
        try:
            reply = await self._answer(raw, headers, watch, first_byte_s)
        except Problem as problem:
            reply = self._refuse(problem, watch)
        except Exception:
            log.exception("a decision request failed")
            reply = self._refuse(Problem("internal", "the server's log has more"), watch)
        authenticator = self._services.authenticator
        if authenticator.limits_some:
            reply.headers += authenticator.rate_headers(headers)
        return reply

    def _refuse(self, problem: Problem, watch: Watch) -> Reply:
        self._services.metrics.count(series.PROBLEMS, problem.code)
        if problem.code == "overloaded":
            self._services.metrics.count(series.SHED)
        if watch.durations_ns[ADMIT] < 0:  # it was not admitted, and that took its time
            watch.mark(ADMIT)
        return Reply(problem.status, [*problem.headers(), (b"server-timing", watch.server_timing())], problem.render())

    async def _answer(
        self, raw: bytes, headers: Iterable[tuple[bytes, bytes]], watch: Watch, first_byte_s: float
    ) -> Reply:
        services = self._services
        given = {name: value for name, value in headers if name in _READ_HEADERS}
        refusal = services.authenticator.scope_problem(given.items(), "decide")
        if refusal is not None:
            raise refusal
        key = given.get(b"idempotency-key")
        context = trace_context(given.get(b"traceparent"))
        request = parse(
            raw,
            services.bundle,
            new_request_id(),
            None if key is None else key.decode("latin-1"),
            context.trace_id.to_bytes(16, "big"),
            services.idempotency_of,
            given.get(GPC_HEADER) == GPC_ON,
        )
        if request.unsubscribe:
            self.links.check(given.get(b"host"))
        admission = services.admission
        if admission.alert and not admission.can_keep(request.budget_ms / 1000):
            raise too_many()
        watch.mark(ADMIT)
        answered = await self._decider.decide(request, watch, first_byte_s + request.budget_ms / 1000)
        if answered.unmet_durability:
            raise Problem("durability_unmet", "the store could not promise that the decision is on disk", None, 1)
        body = answered.body
        if request.unsubscribe or self.links.by_default:
            body = self.links.added(body, request, given.get(b"host"))
        watch.mark(RESPOND)
        admission.answered()
        observe = partial(services.observer.answered, answered, watch, context, request.budget_ms, request.request_id)
        reply_headers = [_JSON, (b"server-timing", watch.server_timing())]
        if answered.replayed:
            reply_headers.append((b"idempotency-replayed", b"true"))
        return Reply(200, reply_headers, body, observe)


_JSON = (b"content-type", b"application/json")
_READ_HEADERS = frozenset({b"authorization", b"host", b"idempotency-key", b"traceparent", GPC_HEADER})


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


class DecideRoute(APIRoute):
    """Hands the request to the endpoint, without what FastAPI does around an ordinary route."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        await scope["app"].state.decide_endpoint(scope, receive, send)


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
            "rate_limited",
            "not_configured",
            "overloaded",
        ),
    },
    openapi_extra={**request_body(DecideBody, {"the weekly offer": EXAMPLE}), "parameters": [GPC_PARAMETER]},
)
async def decide() -> Response:
    """Described here; answered by `DecideEndpoint`."""
    raise NotImplementedError


__all__ = ["PATH", "DecideEndpoint", "new_request_id", "router"]
