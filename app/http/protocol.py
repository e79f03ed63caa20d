"""The wire: uvicorn's httptools protocol, with the limits that must hold before an application sees a request.

1. `scope["nextbest.first_byte"]` is the loop's time (seconds) at which the first byte of the request was read, so that
   a budget counts from there, whatever the request waited for before it was handled.
2. A body is at most `Limits.body_bytes` (413), a head at most `head_bytes` and `header_count` (431).
3. A request arrives within `Limits.request_timeout_s` of its first byte (408). Streamed bodies may take as long as they
   keep coming: for them the timeout runs between two pieces, and stands still while the application is not reading.
4. What is not HTTP gets a problem+json like every other error (400).

5. Under overload a decision waits in line or is refused (`app.http.line`), and whole requests that there is no room for
   are refused before they are parsed (`app.http.door`). Those keep their connection.

A request refused by 2 to 4 ends its connection, since what follows on it cannot be told from the rest of that request.
The timer is armed only when a request did not arrive in one piece: healthy requests pay nothing for it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from app.errors import Problem
from app.http.budget import budget_s
from app.http.drain import FRESH_S, Drain
from app.http.exchange import Exchange
from app.http.reply import Reply
from app.http.server_config import Limits, ServerConfig

if TYPE_CHECKING:
    from app.http.decide import DecideEndpoint
    from app.http.door import Door

__all__ = ["FIRST_BYTE", "DecisionProtocol", "Limits", "ServerConfig"]

FIRST_BYTE = "nextbest.first_byte"

#: Whole requests for this URL are handed to the application's `decide_endpoint` past ASGI.
DIRECT = b"/v1/decide"

#: NDJSON bodies that are read line by line, bounded by line, not as a whole; and those of events, which are bounded by
#: what they unpack to.
STREAMED = frozenset(
    {b"/v1/decide/batch", b"/v1/customers/bulk", b"/v1/suppressions/bulk", b"/v1/events"}
    | {b"/v1/" + name for name in (b"track", b"identify", b"alias", b"page", b"screen", b"group", b"batch")}
)

#: What is under it has a limit of its own as well.
WEBHOOKS = b"/v1/webhooks/"

LINGER_S = 2.0  # enough for what is in flight on a slow line (nginx's `lingering_timeout` is 5 s)


class DecisionProtocol(HttpToolsProtocol):
    """One connection."""

    # Slots, since CPython's fast attribute access ends at thirty entries in an instance's dict, and uvicorn's
    # protocol has twenty-seven.
    __slots__ = (
        "_arrival_timer",
        "_arriving",
        "_body_bytes",
        "_door",
        "_drain",
        "_endpoint",
        "_exchanging",
        "_first_byte",
        "_head_bytes",
        "_in_head",
        "_last_piece",
        "_piece_bytes",
        "_refused",
        "_turned_away_s",
        "limits",
    )

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.limits = config.limits if isinstance(config, ServerConfig) else Limits()
        self._exchanging: Exchange | None = None  # the request that is arriving, if it is for `_endpoint`
        self._endpoint: DecideEndpoint | None = getattr(self.app, "decide_endpoint", None)
        self._drain: Drain = getattr(self.app, "drain", None) or Drain()
        self._door: Door | None = None if self._endpoint is None else self._endpoint.door
        self._turned_away_s = 0.0  # loop time of the last refusal that no parser saw
        self._arriving = False  # between a request's first byte and its last
        self._in_head = False
        self._refused = False
        self._head_bytes = self._piece_bytes = 0
        self._body_bytes = 0
        self._first_byte = 0.0
        self._last_piece = 0.0
        self._arrival_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(transport)
        # A connection that never sends a byte is closed when a request would have had to be there.
        self.timeout_keep_alive_task = self.loop.call_later(
            self.limits.request_timeout_s, self.timeout_keep_alive_handler
        )

    def connection_lost(self, exc: Exception | None) -> None:
        self._unset_keepalive_if_required()
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        door = self._door
        if door is not None and door.admission.alert and self._is_turned_away(door, data):
            return
        self._piece_bytes = len(data)
        super().data_received(data)
        if self._arriving and not self._refused:
            self._came_in_pieces(len(data))

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._arriving = self._in_head = True
        self._body_bytes = 0
        self.scope[FIRST_BYTE] = self._first_byte = self.loop.time()  # type: ignore[literal-required]  # our own key

    def on_headers_complete(self) -> None:
        if self._refused:
            return
        if len(self.headers) > self.limits.header_count:
            self._refuse(Problem("headers_too_large", f"at most {self.limits.header_count} headers"))
            return
        # Nearly always the head came in one small piece, and weighs no more than that.
        if (self._piece_bytes > self.limits.head_bytes or self._head_bytes) and self._head_weighs_too_much():
            self._refuse(Problem("headers_too_large", f"at most {self.limits.head_bytes} bytes"))
            return
        if self._endpoint is not None and self.url == DIRECT and self._is_direct():
            self.scope["raw_path"] = self.url
            keep_alive = self.parser.should_keep_alive()
            self._exchanging = Exchange(self._endpoint, self.headers, self._first_byte, keep_alive)
            self.cycle = self._exchanging  # type: ignore[assignment]  # its stand-in
        else:
            self._exchanging = None
            before = self.cycle
            super().on_headers_complete()
            if self._drain.begun and self.cycle is not before:
                self.cycle.keep_alive = False
                if before is not None and not before.response_started:
                    before.keep_alive = True  # of pipelined requests only the last answer ends the connection
        self._in_head = False  # not before: an address that cannot be parsed is refused here, as a head is

    def _head_weighs_too_much(self) -> bool:
        """By its names and values: where it ended, only the parser knows."""
        weight = len(self.url) + sum(len(name) + len(value) + len(b": \r\n") for name, value in self.headers)
        return weight > self.limits.head_bytes

    def _is_direct(self) -> bool:
        """Whether a request is answered past ASGI: an ordinary one, and nothing before it is unanswered."""
        return (
            self.parser.get_method() == b"POST"
            and self.parser.get_http_version() == "1.1"
            and not self.parser.should_upgrade()
            and not self.expect_100_continue
            and (self.cycle is None or self.cycle.response_complete)
        )

    def on_body(self, body: bytes) -> None:
        if self._refused:
            return
        self._body_bytes += len(body)
        if self._body_bytes > self.limits.body_bytes and not self._is_streamed():
            self._refuse(Problem("payload_too_large", f"at most {self.limits.body_bytes} bytes"))
            return
        if self._exchanging is not None:
            self._exchanging.body += body
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._arriving = False
        if self._arrival_timer is not None:
            self._disarm()
        if self._refused:
            return
        exchange = self._exchanging
        if exchange is None:
            super().on_message_complete()
            return
        door = exchange.endpoint.door
        admission = door.admission
        if not admission.alert and door.line.may_begin():
            admission.in_flight += 1
            self.work_on(exchange)
        else:
            self._stand_in_line(exchange, door)

    def _stand_in_line(self, exchange: Exchange, door: Door) -> None:
        """There is much to do: begin, wait, or be refused."""
        exchange.budget_s = budget_s(exchange.body, door.admission.patience_s)
        deadline = exchange.first_byte_s + exchange.budget_s
        has_room = door.line.has_room(deadline, exchange.budget_s)
        door.admission.in_flight += 1
        if not has_room:
            self.turn_away(exchange)
        elif door.line.may_begin():
            self.work_on(exchange)
        else:
            exchange.connection = self
            door.line.join(exchange, deadline)

    def work_on(self, exchange: Exchange) -> None:
        """A request that is counted among those in flight has its turn."""
        task = self.loop.create_task(self._exchange(exchange))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    def turn_away(self, exchange: Exchange) -> None:
        """A request that is counted among those in flight gets no turn."""
        door = exchange.endpoint.door
        door.admission.in_flight -= 1
        if not exchange.disconnected:
            self.transport.write(door.decision_refused(self._keeps(exchange), exchange.budget_s))
        self._end_exchange(exchange)

    async def _exchange(self, exchange: Exchange) -> None:
        """Decide and answer, in one write."""
        try:
            reply = await exchange.endpoint.answer(bytes(exchange.body), exchange.headers, exchange.first_byte_s)
        finally:
            door = exchange.endpoint.door
            door.admission.in_flight -= 1
            if door.admission.waiting:
                door.line.go_on()
        if not exchange.disconnected:
            self.transport.write(reply.wire(self._keeps(exchange)))
        self._end_exchange(exchange)
        reply.observe()

    def _keeps(self, exchange: Exchange) -> bool:
        """Whether the connection stays open after the answer."""
        if self._drain.begun and not self.pipeline:
            exchange.keep_alive = False
        return exchange.keep_alive

    def _end_exchange(self, exchange: Exchange) -> None:
        exchange.response_started = exchange.response_complete = True
        if not exchange.keep_alive:
            self.transport.close()
        self.on_response_complete()

    def _is_turned_away(self, door: Door, data: bytes) -> bool:
        """Whether what came was refused before it was parsed: only where nothing on the connection is under way."""
        cycle = self.cycle
        if self._arriving or self.pipeline or not (cycle is None or cycle.response_complete):
            return False
        refused = door.answer_at_once(data, may_stay=not self._drain.begun)
        if refused is None:
            return False
        answer, keep_alive = refused
        self.transport.write(answer)
        if keep_alive:
            self._turned_away_s = self.loop.time()  # setting the timer again would cost as much as the refusal
        else:
            self.transport.close()
        return True

    def timeout_keep_alive_handler(self) -> None:
        """Closes a connection that was idle, and was not turned away all the while."""
        left_s = self._turned_away_s + self.timeout_keep_alive - self.loop.time()
        if left_s > 0 and not self._drain.begun:
            self.timeout_keep_alive_task = self.loop.call_later(left_s, self.timeout_keep_alive_handler)
        else:
            super().timeout_keep_alive_handler()

    def shutdown(self) -> None:
        """The server takes no more connections: what was asked is answered, and who has just come may still ask."""
        self._drain.begun = True  # if it was stopped in a hurry, nobody has said so yet
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False
        elif not self._arriving:
            wait_s = max(self._drain.idle_s, FRESH_S if self.cycle is None else 0.0)
            self._unset_keepalive_if_required()
            if wait_s > 0 and not self._refused:
                self.timeout_keep_alive_task = self.loop.call_later(wait_s, self.timeout_keep_alive_handler)
            else:
                self.transport.close()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  (uvicorn's text; ours says it in a problem)
        self._refuse(Problem("malformed_http", "the request could not be parsed"))

    def _came_in_pieces(self, size: int) -> None:
        """After a piece that did not complete its request: weigh the head, arm or feed the timer."""
        self._last_piece = self.loop.time()
        if self._arrival_timer is None:
            self._head_bytes = 0
            self._arrival_timer = self.loop.call_later(self.limits.request_timeout_s, self._check_arrival)
        if self._in_head:
            self._head_bytes += size
            if self._head_bytes > self.limits.head_bytes:
                self._refuse(Problem("headers_too_large", f"at most {self.limits.head_bytes} bytes"))

    def _check_arrival(self) -> None:
        timeout_s = self.limits.request_timeout_s
        since = self._last_piece if self._is_streamed() else self._first_byte
        left_s = timeout_s if self.flow.read_paused else since + timeout_s - self.loop.time()
        if left_s > 0:
            self._arrival_timer = self.loop.call_later(left_s, self._check_arrival)
        else:
            self._refuse(Problem("request_timeout", f"the request did not arrive within {timeout_s:g} s"))

    def _refuse(self, problem: Problem) -> None:
        """Answers for the application where nothing was answered yet, and ends the connection."""
        if self._may_answer() and not self.transport.is_closing():
            self.transport.write(Reply(problem.status, problem.headers(), problem.render()).wire(keep_alive=False))
        self._refused = True
        self._disarm()
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True  # the application's `receive` ends; what it sends goes nowhere
            self.cycle.message_event.set()
        # Closing with bytes unread resets the connection, and a client still writing would never see the answer:
        # what it goes on to send is read and dropped for a while.
        self.flow.resume_reading()
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(LINGER_S, self.transport.close)

    def _may_answer(self) -> bool:
        """Whether an answer written now would be taken for the answer to the request that is refused."""
        cycle = self.cycle
        if self._in_head or not self._arriving:
            return cycle is None or cycle.response_complete  # `cycle` is the request before
        return not cycle.response_started and not self.pipeline

    def _disarm(self) -> None:
        if self._arrival_timer is not None:
            self._arrival_timer.cancel()
            self._arrival_timer = None

    def _is_streamed(self) -> bool:
        if self._in_head or self.cycle.response_complete:  # what nobody reads any more is no stream
            return False
        path = self.scope["raw_path"]
        return path in STREAMED or path.startswith(WEBHOOKS)
