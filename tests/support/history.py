"""What callers asked and told, and what they were answered, each with the times between which it took effect.

Nobody outside knows when a server's commit was applied: only that it was between the question and the answer. So a
contact *surely* counts from its answer until its release is asked for, and it *may* count from its question until its
release is answered. What is sure of all that was asked is enough to convict; what may be is enough to excuse.

Plain Python over plain events: it shares no code with what it judges, but for the time in a decision's id.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from tests.support.everything import EXPIRING, RESERVE_TTL_S

FOREVER = math.inf
#: Answers name whole seconds.
ROUNDING_S = 1.0
FAILED = frozenset({"not_sent", "dropped"})
REACHED = frozenset({"delivered", "opened", "clicked", "converted", "complained"})


class Span(NamedTuple):
    """From the first to the second, in Unix seconds."""

    start: float
    end: float

    def covers(self, other: Span) -> bool:
        return self.start <= other.start and other.end <= self.end

    def meets(self, other: Span) -> bool:
        return self.start <= other.end and other.start <= self.end


NOT_YET = Span(FOREVER, FOREVER)


@dataclass(frozen=True)
class Asked:
    """A request that was answered. `at.start`: when its idempotency key was first used, where it had one."""

    customer: str
    placements: tuple[str, ...]
    server: int
    at: Span
    decisions: tuple[dict[str, Any], ...]
    key: str | None = None


@dataclass(frozen=True)
class Told:
    """An outcome that was acknowledged. `happened_s`: the time that it is counted from."""

    decision_id: str
    what: str
    at: Span
    happened_s: float


@dataclass(frozen=True)
class Said:
    """A consent to marketing by e-mail that was acknowledged."""

    customer: str
    granted: bool
    at: Span
    expires_s: float = FOREVER


@dataclass
class Stop:
    """A suppression of all marketing by e-mail, from its acknowledgement until it was lifted."""

    customer: str
    set_at: Span
    lifted_at: Span = NOT_YET


@dataclass
class Off:
    """A switch that was turned off, and on again. `server` is the one that took it, and goes by it at once."""

    kind: str
    name: str
    server: int
    off_at: Span
    on_at: Span = NOT_YET


@dataclass(frozen=True)
class Merge:
    """Two customers became one: what either had is the winner's from then on."""

    loser: str
    winner: str
    at: Span


@dataclass
class History:
    """Everything that happened, in the order in which it was acknowledged."""

    asked: list[Asked] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
    said: list[Said] = field(default_factory=list)
    stops: list[Stop] = field(default_factory=list)
    switches: list[Off] = field(default_factory=list)
    merges: list[Merge] = field(default_factory=list)
    committed: dict[str, Span] = field(default_factory=dict)  # decision → when, where the log was looked at

    def contacts(self) -> list[Contact]:
        """Every contact that some answer told a caller to make, once."""
        stories: dict[str, list[Told]] = {}
        for told in sorted(self.told, key=lambda each: each.at):
            stories.setdefault(told.decision_id, []).append(told)
        asked: dict[str, list[tuple[Asked, dict[str, Any]]]] = {}
        for request in self.asked:
            for decision in request.decisions:
                if decision["action"] == "send":
                    asked.setdefault(decision["decision_id"], []).append((request, decision))
        return [
            _contact(of_one, tuple(stories.get(name, ())), self.committed.get(name)) for name, of_one in asked.items()
        ]

    def lost(self) -> list[Asked]:
        """Requests of which not even the server knows whether they were committed. They are taken back in the end."""
        return [each for each in self.asked if any("commit_unknown" in d["degraded"] for d in each.decisions)]

    def winner_of(self, customer: str, at_s: float = FOREVER) -> str:
        """Whom a customer surely had become."""
        return next((each.winner for each in self.merges if each.loser == customer and each.at.end <= at_s), customer)

    def may_be(self, customer: str) -> frozenset[str]:
        """All keys whose past may at some time have become the customer's, or theirs its."""
        keys = {customer}
        for merge in self.merges:
            if keys & {merge.loser, merge.winner}:
                keys |= {merge.loser, merge.winner}
        return frozenset(keys)

    def of_each(self) -> Iterator[History]:
        """A history for every customer, those together who became one. What is switched concerns them all."""
        asked_of = {decision["decision_id"]: asked.customer for asked in self.asked for decision in asked.decisions}
        for keys in {self.may_be(asked.customer) for asked in self.asked}:
            yield History(
                [each for each in self.asked if each.customer in keys],
                [each for each in self.told if asked_of[each.decision_id] in keys],
                [each for each in self.said if each.customer in keys],
                [each for each in self.stops if each.customer in keys],
                self.switches,
                [each for each in self.merges if each.loser in keys],
                self.committed,
            )


@dataclass(frozen=True)
class Contact:
    """A message that a caller was told to send.

    `again_s`: when it surely counted once more, after it had been released or had expired. Whoever sends nevertheless
    may exceed a limit by that; what is decided afterwards must not.
    """

    decision_id: str
    customer: str
    placement: str
    message: str
    made: Span  # between question and answer, or when it was committed
    window: Span  # in which it was to be sent
    instant: Span  # the same, or when it was sent, once that was told
    sure: tuple[Span, ...]
    may: tuple[Span, ...]
    again_s: float = -FOREVER
    released: bool = False  # in the end

    def surely_at(self, at_s: float) -> bool:
        return any(span.start <= at_s < span.end for span in self.sure)

    def maybe_within(self, span: Span) -> bool:
        return any(each.meets(span) for each in self.may)


def _contact(
    answers: Sequence[tuple[Asked, dict[str, Any]]], story: tuple[Told, ...], committed: Span | None
) -> Contact:
    request, decision = answers[0]
    made = committed or Span(min(each.at.start for each, _ in answers), min(each.at.end for each, _ in answers))
    offered = decision["send_window"]
    window = instant = Span(_seconds(offered["not_before"]), _seconds(offered["not_after"]) + ROUNDING_S)
    life = _Life(made, _expiry(decision, window))
    for told in story:
        life.goes_on(told)
        if told.what == "sent" or told.what in REACHED:
            instant = Span(told.happened_s, told.happened_s + 0.001)
    return Contact(
        decision["decision_id"],
        request.customer,
        decision["placement"],
        decision["message"]["id"],
        made,
        window,
        instant,
        *life.spans(),
        life.again_s,
        life.failed,
    )


def _expiry(decision: dict[str, Any], window: Span) -> Span | None:
    """Between when an unconfirmed contact stops counting; None: never."""
    if decision["placement"] != EXPIRING:
        return None
    ttl_over_s = reserved_at_s(decision["decision_id"]) + RESERVE_TTL_S
    return Span(max(ttl_over_s, window.end - ROUNDING_S), max(ttl_over_s, window.end))


class _Life:
    """When a contact surely counts and when it may, as its story is told.

    What happened last holds, whatever was told last: the two differ once the store's clock was set back between them.
    Of one instant a `sent` outdoes a `not_sent`, and a `dropped` outdoes a `sent` (docs/api.md, Outcomes)."""

    def __init__(self, made: Span, expiry: Span | None) -> None:
        self.failed = False
        self.again_s = -FOREVER
        self._expiry = expiry
        self._sure, self._may = [Span(made.end, FOREVER)], [Span(made.start, FOREVER)]
        self._reached = False
        self._latest_s = {"sent": -FOREVER, "not_sent": -FOREVER, "dropped": -FOREVER}

    def goes_on(self, told: Told) -> None:
        if told.what in self._latest_s:
            self._latest_s[told.what] = max(self._latest_s[told.what], told.happened_s)
        self._reached = self._reached or told.what in REACHED
        if told.what in FAILED and not self._stands and not self.failed:
            self._ends(told.at)
            self.failed = True
        elif (told.what == "sent" or told.what in REACHED) and self._stands:
            self._is_sent(told.at)

    @property
    def _stands(self) -> bool:
        sent_s = self._latest_s["sent"]
        return self._reached or (sent_s > self._latest_s["dropped"] and sent_s >= self._latest_s["not_sent"])

    def _is_sent(self, at: Span) -> None:
        expiry, self._expiry = self._expiry, None
        over = expiry is not None and expiry.start < at.end
        if over and expiry is not None:
            self._ends(expiry)
        if over or self.failed:
            self.failed = False
            self.again_s = at.end
            self._sure.append(Span(at.end, FOREVER))
            self._may.append(Span(at.start, FOREVER))

    def _ends(self, at: Span) -> None:
        """Whatever comes first ends it."""
        self._sure[-1] = self._sure[-1]._replace(end=min(at.start, self._sure[-1].end))
        self._may[-1] = self._may[-1]._replace(end=min(at.end, self._may[-1].end))

    def spans(self) -> tuple[tuple[Span, ...], tuple[Span, ...]]:
        if self._expiry is not None:
            self._ends(self._expiry)
        return tuple(span for span in self._sure if span.start < span.end), tuple(self._may)


def reserved_at_s(decision_id: str) -> float:
    """A decision's id carries the store's time at which it was made."""
    return int(decision_id[7:18], 16) / 1000


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
