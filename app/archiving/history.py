"""Features of all customers at past instants, by the fold that live events go through.

Each shard's rows pass once, in the order of its stream, as they passed its worker: repeats are dropped, what cannot be
folded is left out, and who became somebody else counts for them from then on. What the worker handed on for that
(`$take_in`) is not read: the events themselves are.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import orjson

from app.archiving.columns import Passed
from app.archiving.reading import Progress, Slice, Snapshot
from app.archiving.states import States
from app.core.events.event import Event
from app.core.features.fold import fold, united
from app.core.features.lanes import UnfoldableEvent
from app.core.features.plan import FoldPlan, State, new_state
from app.core.features.read import read
from app.core.features.streams import Order, Repeats, absorbed
from app.store.archive_positions import order


class Vector(NamedTuple):
    """A customer's features at an instant (Unix ms)."""

    customer: str
    at_ms: int
    values: Mapping[str, Any]


class Wanted(NamedTuple):
    """Whose features, and when. `instants` holds those of each customer; where it is None, all are wanted at `at_ms`:
    those of `customers`, or (None) of everybody of whom anything was folded. `at_ms` is never before an instant."""

    at_ms: int
    customers: Collection[str] | None = None
    instants: Mapping[str, Collection[int]] | None = None

    @property
    def whose(self) -> Collection[str] | None:
        return self.customers if self.instants is None else self.instants.keys()


class Replay:
    """The rows of a snapshot up to an instant, as workers folded them."""

    def __init__(
        self,
        plan: FoldPlan,
        seen: Snapshot,
        until_ms: int | None = None,
        progress: Progress = lambda _: None,
        ends: Mapping[int, Order] | None = None,
    ) -> None:
        """Up to an instant, or to an entry of each shard; all where both are None."""
        self.plan = plan
        self._seen = seen
        self._until_ms = until_ms
        self._progress = progress
        self._ends = ends
        self._erased = seen.erased
        self._repeats: dict[int, Repeats] = {}  # of the shards of one slice
        self._pieces = list(seen.slices(until_ms))
        #: Who had become whom by then.
        self.carries = seen.carries(until_ms)

    @property
    def hours(self) -> int:
        """How many hours' files one pass reads."""
        return sum(len(piece.hours) for piece in self._pieces)

    def fold(self, state: State, row: Passed, event: Event) -> None:
        """Fold into a state what `slices` gave. What cannot be folded went to quarantine, and may come again."""
        try:
            fold(self.plan, state, event)
        except UnfoldableEvent:
            self._repeats[row.shard].forget(row)

    def slices(self, whose: Collection[str] | None) -> Iterator[Iterator[tuple[Passed, Event]]]:
        """What was folded of some customers (None: of all), in pieces with no customer in two of them."""
        for piece in self._pieces:
            yield self._folded(piece, whose)

    def _folded(self, piece: Slice, whose: Collection[str] | None) -> Iterator[tuple[Passed, Event]]:
        routes, carries, erased = self.plan.routes, self.carries, self._erased
        for row in self._first_time(self._inside(self._seen.rows(piece, self._progress))):
            if row.type not in routes or (whose is not None and row.customer not in whose):
                continue
            if erased and row.received_ms <= erased.get(row.customer, -1):
                continue
            carry = carries.get(row.customer)
            if carry is not None and order(row.position) > carry.after:
                continue  # it was handed on, and is in the other one's stream
            yield row, Event(row.type, row.occurred_at_ms, orjson.loads(row.properties), b"")

    def _first_time(self, rows: Iterable[Passed]) -> Iterator[Passed]:
        repeats = self._repeats = {}
        for row in rows:
            shard = repeats.get(row.shard)
            if shard is None:
                shard = repeats[row.shard] = Repeats()
            if not shard.is_one(row):
                yield row

    def _inside(self, rows: Iterable[Passed]) -> Iterator[Passed]:
        until_ms, ends = self._until_ms, self._ends
        for row in rows:
            if until_ms is not None and row.appended_ms > until_ms:
                continue
            if ends is None or order(row.position) <= ends[row.shard]:
                yield row


def vectors(replay: Replay, wanted: Wanted) -> Iterator[Vector]:
    """All that is wanted; also of customers of whom nothing is known, where they are named. Of somebody who had become
    another customer by an instant there is no row. The replay goes as far as `wanted` does. Raises OSError."""
    return _Vectors(replay, wanted).all()


class _Vectors:
    def __init__(self, replay: Replay, wanted: Wanted) -> None:
        self._plan = replay.plan
        self._replay = replay
        self._wanted = wanted
        self._absorbed = absorbed(replay.carries)
        self._gone = States(replay.plan)  # those who became others, as they were then
        #: Instants that are not told yet, the latest first.
        self._due = {name: sorted(at, reverse=True) for name, at in (wanted.instants or {}).items()}
        self._told: set[str] = set()

    def all(self) -> Iterator[Vector]:
        whose = self._wanted.whose
        winners = self._absorbed.keys() if whose is None else self._absorbed.keys() & set(whose)
        before = {each.customer for winner in winners for each in self._absorbed[winner]}
        if before:  # others need them; they are few
            for rows in self._replay.slices(before):
                for row, event in rows:
                    self._replay.fold(self._gone.get(row.customer), row, event)
        for rows in self._replay.slices(whose):
            yield from self._slice(rows)
        # Who did nothing: all that they have is of those who became them, or nothing at all.
        for customer in sorted((set(winners) if whose is None else set(whose)) - self._told):
            yield from self._rest(customer, new_state(self._plan))

    def _slice(self, rows: Iterator[tuple[Passed, Event]]) -> Iterator[Vector]:
        states = States(self._plan)
        for row, event in rows:
            due = self._due.get(row.customer)
            while due and due[-1] < row.appended_ms:
                yield from self._vector(row.customer, due.pop(), states.get(row.customer))
            self._replay.fold(states.get(row.customer), row, event)
        for customer, state in states.drain():
            if self._wanted.whose is not None or customer in self._absorbed:
                self._told.add(customer)
            yield from self._rest(customer, state)

    def _rest(self, customer: str, state: State) -> Iterator[Vector]:
        """What is due of a customer of whom no more events come."""
        if self._wanted.instants is None:
            yield from self._vector(customer, self._wanted.at_ms, state)
        for at_ms in reversed(self._due.pop(customer, [])):
            yield from self._vector(customer, at_ms, state)

    def _vector(self, customer: str, at_ms: int, state: State) -> Iterator[Vector]:
        carry = self._replay.carries.get(customer)
        if carry is not None and carry.at_ms <= at_ms:
            return
        for other in self._absorbed.get(customer, ()):
            if other.at_ms <= at_ms and other.customer in self._gone:
                state = united(self._plan, state, self._gone.get(other.customer))
        yield Vector(customer, at_ms, read(self._plan, state, at_ms))
