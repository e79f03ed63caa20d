"""`POST /v1/decide/batch`: decisions for many customers, newline-delimited JSON both ways, streamed, in order.

Every line goes the way of a `POST /v1/decide` (`app.flows.decide`); this file turns lines into requests and the spool
into a response body. A line's budget counts from when its decision begins, not from when it was received: lines wait
for those before them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

import orjson
from fastapi import APIRouter, Request, Response
from starlette.datastructures import State
from starlette.types import Message, Receive, Scope, Send

from app.admission import Rank
from app.core.lines import Line
from app.errors import Problem
from app.flows.batch import LINE_BYTES_MAX, Batch
from app.flows.pace import Pace
from app.http.decide import new_request_id
from app.http.decide_body import EXAMPLE, GPC_HEADER, GPC_ON, BatchLine, parse_line
from app.http.ndjson import NDJSON, check_content
from app.http.openapi import GPC_PARAMETER, PROBLEM_SCHEMA, problems, request_body
from app.http.unsubscribe_links import LinksOfHost
from app.spool import Spool, Untaken
from app.telemetry import series
from app.telemetry.traceparent import trace_context
from app.watch import ADMIT, RESPOND, Watch

if TYPE_CHECKING:
    from app.services import Services

PATH = "/v1/decide/batch"
#: Batches at once in a process. More would not be faster, since all share one pace, and each may fill its spool.
BATCHES_MAX = 4
#: A batch takes minutes, and whoever sends one is in no hurry.
RETRY_AFTER_S = 10
#: How long answers may wait for a caller who neither takes them nor sends anything.
UNTAKEN_S = 30.0
#: How soon a stop is noticed while nothing comes.
LOOK_EVERY_S = 0.2

LINE_PROBLEM: dict[str, Any] = {
    **PROBLEM_SCHEMA,
    "required": ["line", *PROBLEM_SCHEMA["required"]],
    "properties": {"line": {"type": "integer", "minimum": 1}, **PROBLEM_SCHEMA["properties"]},
}

log = logging.getLogger("nextbest.batch")


class Gone(Exception):
    """The caller hung up."""


class LineDecider:
    """Answers lines."""

    def __init__(self, services: Services, gpc: bool, links: LinksOfHost | None = None) -> None:
        """`gpc`: the batch carried `Sec-GPC: 1`, which then holds for every line. `links`: puts links into answers."""
        self._services = services
        self._links = links
        self._gpc = gpc
        self._now_s = asyncio.get_running_loop().time
        metrics = services.metrics
        self._answered = metrics.slot(series.BATCH_LINES, "answered")
        self._problem = metrics.slot(series.BATCH_LINES, "problem")

    async def answer(self, line: Line) -> bytes:
        """The bytes of `POST /v1/decide`'s answer, or of a problem; with a newline. Never raises: one bad line must not
        end the batch."""
        try:
            body = await self._decide(line)
        except Problem as problem:
            return self.refuse(line.number, problem)
        except Exception:
            log.exception("a line of a batch failed")
            return self.refuse(line.number, Problem("internal", "the server's log has more"))
        self._services.metrics.add(self._answered)
        return body + b"\n"

    def refuse(self, number: int, problem: Problem) -> bytes:
        """The answer to a line that gets none."""
        self._services.metrics.add(self._problem)
        self._services.metrics.count(series.PROBLEMS, problem.code)
        return orjson.dumps({"line": number, **problem.body()}, option=orjson.OPT_APPEND_NEWLINE)

    async def _decide(self, line: Line) -> bytes:
        services = self._services
        if line.text is None:
            raise Problem("payload_too_large", f"a line is at most {LINE_BYTES_MAX // 1024} KiB")
        watch = Watch()
        context = trace_context(None)  # a trace of its own: one for a million lines would be kept, or lost, as a whole
        request = parse_line(
            line.text,
            services.bundle,
            new_request_id(),
            context.trace_id.to_bytes(16, "big"),
            services.idempotency_of,
            self._gpc,
        )
        links = self._links
        if links is not None and request.unsubscribe:
            links.check()
        watch.mark(ADMIT)
        answered = await services.decider.decide(request, watch, self._now_s() + request.budget_ms / 1000)
        if answered.unmet_durability:
            raise Problem("durability_unmet", "the store could not promise that the decision is on disk")
        watch.mark(RESPOND)
        services.admission.answered()  # not in flight there, but in the processor time that it divides by decisions
        services.observer.answered(answered, watch, context, request.budget_ms, request.request_id)
        if links is not None and (request.unsubscribe or links.by_default):
            return links.added(answered.body, request)
        return answered.body


class Body:
    """The request's body as pieces; empty ones while nothing comes. Raises `Gone` when the caller hung up.

    A caller who hangs up is noticed when the pieces received before are used up, at most 320 KB.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._receiving: asyncio.Task[Message] | None = None
        self.ended_s: float | None = None  # loop time

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self.ended_s is not None:
            raise StopAsyncIteration
        if self._receiving is None:
            self._receiving = asyncio.ensure_future(self._receive())
        done, _ = await asyncio.wait({self._receiving}, timeout=LOOK_EVERY_S)
        if not done:
            return b""
        message, self._receiving = self._receiving.result(), None
        if message["type"] != "http.request":
            raise Gone
        if not message.get("more_body", False):
            self.ended_s = asyncio.get_running_loop().time()
        piece: bytes = message.get("body", b"")
        return piece

    def close(self) -> None:
        if self._receiving is not None:
            self._receiving.cancel()


class Answers:
    """The response's body: what the spool gives, as soon as the caller takes it."""

    def __init__(self, send: Send, body: Body) -> None:
        self._send = send
        self._body = body

    async def stream(self, spool: Spool) -> None:
        """Everything but the end. Raises `Untaken` when the caller takes nothing any more."""
        data = await spool.take()  # until here an error may still be an ordinary problem
        await self._send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-type", NDJSON.encode())]}
        )
        while data:
            await self._patiently({"type": "http.response.body", "body": data, "more_body": True})
            data = await spool.take()

    async def end(self) -> None:
        await self._patiently({"type": "http.response.body", "body": b"", "more_body": False})

    async def _patiently(self, message: Message) -> None:
        """Send, however long the caller takes while its body still comes: it may want to write all before it reads.

        The server waits before it writes anything of a message, so one that was waited for in vain can be sent again.
        """
        now_s = asyncio.get_running_loop().time
        begun_s = now_s()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(UNTAKEN_S):
                    await self._send(message)
                    return
            if self._body.ended_s is not None and now_s() - max(begun_s, self._body.ended_s) >= UNTAKEN_S:
                raise Untaken


class AnswerStream(Response):
    """The response: reads the request's body while it writes its own."""

    def __init__(
        self,
        services: Services,
        pace: Pace,
        stopping: Callable[[], bool],
        gpc: bool = False,
        links: LinksOfHost | None = None,
    ) -> None:
        super().__init__()
        self._gpc = gpc
        self._links = links
        self._services = services
        self._pace = pace
        self._stopping = stopping

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  (ASGI's signature)
        if not self._services.admission.takes(Rank.BATCH):
            self._services.metrics.count(series.SHED)
            raise Problem("overloaded", "single decisions come first: try again later", retry_after_s=RETRY_AFTER_S)
        if self._pace.batches >= BATCHES_MAX:
            self._services.metrics.count(series.SHED)
            why = f"{BATCHES_MAX} batches are being decided: try again later"
            raise Problem("overloaded", why, retry_after_s=RETRY_AFTER_S)
        self._pace.batches += 1
        try:
            await self._stream(Body(receive), send)
        finally:
            self._pace.batches -= 1

    async def _stream(self, body: Body, send: Send) -> None:
        answers, lines = Answers(send, body), LineDecider(self._services, self._gpc, self._links)
        try:
            async with Spool(UNTAKEN_S) as spool:
                batch = Batch(lines.answer, lines.refuse, self._pace, spool, self._stopping)
                async with asyncio.TaskGroup() as group:
                    group.create_task(batch.run(body))
                    group.create_task(answers.stream(spool))
                await answers.end()
        except* Gone:
            pass  # nobody is left to be told
        except* Untaken:
            log.warning("a caller took no answers of its batch for %g s: its connection is closed", UNTAKEN_S)
        finally:
            body.close()


router = APIRouter(tags=["decisions"])


@router.post(
    PATH,
    summary="Which message, if any, should each of these customers get now?",
    description="Newline-delimited JSON both ways, streamed: one request a line, of at most 64 KiB, and one answer a "
    "line, in the same order. A line that cannot be answered comes back as a problem with its number, and the stream "
    "goes on; blank lines are passed over. `batch_interrupted` is always the last line: send the lines from its number "
    "on again. An idempotency key is a member of its line.",
    response_description="A line for each line: the answer of `/v1/decide`, or a problem.",
    responses={
        200: {"content": {NDJSON: {"schema": {"anyOf": [{"type": "object"}, LINE_PROBLEM]}}}},
        **problems("unauthenticated", "forbidden", "unsupported_media_type", "overloaded"),
    },
    openapi_extra={
        **request_body(BatchLine, {"a line": {**EXAMPLE, "idempotency_key": "weekly-2026-48-1"}}, NDJSON),
        "parameters": [{**GPC_PARAMETER, "description": f"{GPC_PARAMETER['description']} It holds for every line."}],
    },
)
async def decide_batch(request: Request) -> Response:
    check_content(request.headers)
    state = request.app.state
    gpc = request.headers.get(GPC_HEADER.decode()) == GPC_ON.decode()
    links = state.decide_endpoint.links.of(request.headers.get("host", "").encode("latin-1"))
    return AnswerStream(state.services, pace_of(state), lambda: state.drain.begun, gpc, links)


def pace_of(state: State) -> Pace:
    """The pace that all batches of this process share; made for the first one."""
    if not hasattr(state, "batch_pace"):
        admission = state.services.admission
        state.batch_pace = Pace(lambda: admission.in_flight, asyncio.get_running_loop().time)
    pace: Pace = state.batch_pace
    return pace
