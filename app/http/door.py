"""Refusals written before anything is worked on: by the connection, for a whole request that came in one piece.

Under overload the refusals are most of the work: parsed, routed and rendered each costs a seventh of a decision. Here
it costs the parser's look at where the request ends (1 µs without a callback for each header), and one write. The
bytes are those that the route would answer. Who asks is not looked at: a flood without keys is refused as cheaply.

A request that is unusual in any way (in pieces, pipelined, with a query, of another version) goes the usual way, and is
refused there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

from fastapi import Response
from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from app.admission import Admission, Rank
from app.core.webhooks.registry import NAMES, provider_of
from app.errors import Problem
from app.flows.room import decisions_first
from app.http import event_body, webhooks
from app.http.budget import budget_s
from app.http.line import Line
from app.http.reply import Reply
from app.telemetry import series

if TYPE_CHECKING:
    from app.services import Services

DECIDE_PATH = "/v1/decide"
EVENT_PATHS = ("/v1/events", *(f"/v1/{n}" for n in ("track", "identify", "alias", "page", "screen", "group", "batch")))
REQUEST_LINE_BYTES_MAX = 64


def too_many() -> Problem:
    """What a decision is refused with; it says nothing of the request."""
    return Problem("overloaded", "more decisions are in flight than fit the budget: try again", retry_after_s=1)


class Sieve:
    """Tells whether bytes are one whole request. The strict parser of the server says so, not a search for what its end
    might look like: what is refused here and what follows it on the connection cannot be mixed up."""

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._parser = HttpRequestParser(self)
        self._begun = self._ended = 0
        self._keep_alive = False

    def whole(self, data: bytes) -> bool | None:
        """Whether the connection is kept after this one request; None where it is not exactly one."""
        self._begun = self._ended = 0
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade):
            self._begin()
            return None
        if self._begun != 1 or self._ended != 1:
            self._begin()
            return None
        if not self._keep_alive:
            self._begin()  # a parser takes nothing after the last request of a connection
            return False
        return True

    # What the parser calls. Less than it could: each callback costs as much as the rest of a short request.

    def on_message_begin(self) -> None:
        self._begun += 1

    def on_message_complete(self) -> None:
        self._ended += 1
        self._keep_alive = self._parser.should_keep_alive()


@dataclass(frozen=True, slots=True)
class Refusal:
    """The answer to every refused request for one path."""

    rank: Rank
    kept: bytes  # where the connection stays open
    closed: bytes
    count: Callable[[], None]


class Door:
    """What a connection asks before it parses anything. One a process."""

    def __init__(self, services: Services, line: Line, now_s: Callable[[], float]) -> None:
        """`now_s`: the loop's clock, which stands still within a turn."""
        self.line = line
        self.admission: Admission = services.admission
        self._now_s = now_s
        self._sieve = Sieve()
        self._refusals = {b"POST %b HTTP/1.1" % path.encode(): each for path, each in _refusals(services)}
        self._decision = self._refusals[b"POST %b HTTP/1.1" % DECIDE_PATH.encode()]

    def answer_at_once(self, data: bytes, *, may_stay: bool) -> tuple[bytes, bool] | None:
        """The refusal of what came on a connection with nothing unanswered, and whether the connection is kept, which
        it only is where it `may_stay`; None: it is to be worked on."""
        refusal = self._refusals.get(data[: data.find(b"\r\n", 0, REQUEST_LINE_BYTES_MAX)])
        if refusal is None:
            return None
        asked_s = float("inf")
        if refusal.rank is Rank.DECISIONS:
            asked_s = budget_s(data, self.admission.patience_s)
            if self.line.has_room(self._now_s() + asked_s, asked_s):
                return None
        elif self.admission.takes(refusal.rank):
            return None
        keep_alive = self._sieve.whole(data)
        if keep_alive is None:
            return None
        keep_alive &= may_stay
        return self._told(refusal, keep_alive, asked_s), keep_alive

    def decision_refused(self, keep_alive: bool, asked_s: float) -> bytes:
        """The refusal of a decision whose request was parsed before."""
        return self._told(self._decision, keep_alive, asked_s)

    def _told(self, refusal: Refusal, keep_alive: bool, asked_s: float) -> bytes:
        self.admission.shed(refusal.rank, asked_s)
        refusal.count()
        answer = refusal.kept if keep_alive else refusal.closed
        if refusal.rank is not Rank.DECISIONS:
            return answer
        return answer % ((monotonic() - self._now_s()) * 1000)  # since it was read: in this turn of the loop


def _refusals(services: Services) -> Iterator[tuple[str, Refusal]]:
    """Path → refusal."""
    metrics = services.metrics
    shed, problems = metrics.slot(series.SHED), series.PROBLEMS

    def counting(*slots: int) -> Callable[[], None]:
        def count() -> None:
            for slot in slots:
                metrics.add(slot)

        return count

    problem = too_many()
    timed = [*problem.headers(), (b"server-timing", b"admit;dur=%.3f")]  # where the bytes are sent, the time is put in
    overloaded = metrics.slot(problems, problem.code)
    reply = Reply(problem.status, timed, problem.render())
    yield DECIDE_PATH, _refusal(Rank.DECISIONS, reply, counting(shed, overloaded))

    problem = decisions_first()
    limited = metrics.slot(problems, problem.code)
    for path in EVENT_PATHS:
        yield path, _refusal(Rank.EVENTS, _reply(event_body.refusal(problem)), counting(shed, limited))
    for name in filter(services.webhooks.is_configured, NAMES):
        refused = metrics.slot(series.WEBHOOKS_REFUSED, name, problem.code)
        answer = _reply(webhooks.refusal(provider_of(name), problem))
        yield f"/v1/webhooks/{name}", _refusal(Rank.WEBHOOKS, answer, counting(shed, limited, refused))


def _reply(response: Response) -> Reply:
    headers = [header for header in response.raw_headers if header[0] != b"content-length"]
    return Reply(response.status_code, headers, bytes(response.body))


def _refusal(rank: Rank, reply: Reply, count: Callable[[], None]) -> Refusal:
    return Refusal(rank, reply.wire(keep_alive=True), reply.wire(keep_alive=False), count)
