"""The demo itself: lets the customers in, tells the server what they do, looks at the watched ones each second."""

from __future__ import annotations

import heapq
import itertools
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from operator import itemgetter
from typing import Any, NamedTuple, TypeVar

import redis

from app.demo_shop import changes
from app.demo_shop.deeds import Deed, Due, Past, Shop, told
from app.demo_shop.house import EVENTS_A_REQUEST, Door, Refused
from app.demo_shop.scene import Scene, Told, View
from app.demo_shop.sight import Seen, StoreSight, WorkerState, look

T = TypeVar("T")

TICK_S = 0.1
LOOK_EVERY_S = 1.0
#: The server's word that nothing is missing: without it a type that nobody tells of for a while counts as late.
HEARTBEAT_EVERY_S = 5.0
#: How long the worker may take over the past.
SETTLE_WITHIN_S = 60.0
UNSEEN_S = 3.0  # that it is given, where nobody can see how far it is
WORKER_WITHIN_S = 10.0  # that it starts at all
LAG_LOOK_S = 0.005
LAG_AT_MOST_S = 2.0
RATE_OVER_S = 5.0
TOLD_KEPT = 200
CUSTOMERS_A_REQUEST = 500


class _Live(NamedTuple):
    """A deed and the body that tells it, which stays the same however often it is sent."""

    deed: Deed
    body: Mapping[str, Any]


class Play:
    """One run of the demo."""

    def __init__(self, door: Door, store: StoreSight | None, shop: Shop, parts: dict[str, str], view: View) -> None:
        self._door = door
        self._store = store
        self._shop = shop
        self._parts = parts
        self._view = view
        self._opening = f"{time.time_ns() // 1_000_000:x}"
        self._numbers = itertools.count()
        self._events = 0
        self._sent: deque[tuple[float, int]] = deque()  # when, how many
        self._lag_ms: float | None = None
        self._lag_worst_ms: float | None = None
        self._decide_ms = 0.0
        self._last: dict[str, Deed] = {}
        self._told: deque[Told] = deque(maxlen=TOLD_KEPT)
        self._seen: list[Seen] = []
        self._worker: WorkerState | None = None
        self._waiting: str | None = None
        self._held: list[_Live] = []  # what the server had no room for yet
        self._again_at_s = 0.0

    def open(self) -> None:
        """Everything up to now: who the customers are, what they did. Raises CannotPlay."""
        known = self._is_known(str(self._shop.customers[0]["customer"]))
        self._view.step(f"{len(self._shop.customers)} customers come in")
        for some in _pieces(self._shop.customers, CUSTOMERS_A_REQUEST):
            self._door.tell_lines("/v1/customers/bulk", some)
        past = self._shop.lately
        if known:
            self._view.step("this shop was open before, and goes on")
        else:
            past = [*self._shop.past, *past]
            self._view.step(f"{len(past):,} events of their past")
        for some_past in _pieces(past, EVENTS_A_REQUEST):
            self._tell_past(some_past)
        self._settle()
        self._seen = self._look()

    def _is_known(self, customer: str) -> bool:
        try:
            self._door.ask(f"/v1/customers/{customer}")
        except Refused as refused:
            if refused.code != "unknown_customer":
                raise
            return False
        return True

    def _tell_past(self, past: Sequence[Past]) -> None:
        lines = [told(each.deed, self._opening, next(self._numbers), each.at_ms) for each in past]
        while True:
            try:
                self._door.tell_lines("/v1/events", lines)
            except Refused as refused:
                if refused.retry_after_s is None:
                    raise
                time.sleep(refused.retry_after_s)
            else:
                return

    def _settle(self) -> None:
        """Wait until the worker has folded the past."""
        self._view.step("the event worker folds them")
        if self._store is None:
            time.sleep(UNSEEN_S)
            return
        began = time.monotonic()
        while time.monotonic() - began < SETTLE_WITHIN_S:
            if not self._store.waiting():
                self._view.step(f"folded after {time.monotonic() - began:.1f} s")
                return
            if not self._store.worker().held and time.monotonic() - began > WORKER_WITHIN_S:
                self._view.step("no event worker runs (`nextbest worker`): features stay as they are")
                return
            time.sleep(TICK_S)
        self._view.step("the worker is not through yet: what is shown lags behind")

    def run(self, cast: Iterator[tuple[float, Deed]], speed: float, seconds: float | None) -> None:
        """Until `seconds` are over. `cast` by the wall clock; the shop's own future, `speed` times as fast as that.
        Raises CannotPlay."""
        began = time.monotonic()
        coming = _merged(cast, self._shop.future, speed)
        due = next(coming, None)
        look_at_s = beat_at_s = 0.0
        while seconds is None or time.monotonic() - began < seconds:
            now_s = time.monotonic() - began
            batch = self._held
            while due is not None and due.after_s <= now_s and len(batch) < EVENTS_A_REQUEST:
                batch.append(_Live(due.deed, told(due.deed, self._opening, next(self._numbers))))
                due = next(coming, None)
            self._held = []
            if batch:
                self._tell(batch, now_s)
            if now_s >= beat_at_s:
                beat_at_s = now_s + HEARTBEAT_EVERY_S
                self._unless_refused(partial(self._door.tell, "/v1/events", {"type": "heartbeat"}))
            if now_s >= look_at_s:
                look_at_s = now_s + LOOK_EVERY_S
                self._unless_refused(partial(self._watch, now_s))
            self._view.show(self._scene(time.monotonic() - began))
            time.sleep(max(0.0, TICK_S - (time.monotonic() - began - now_s)))

    def _unless_refused(self, act: Callable[[], object]) -> None:
        """What is done again soon anyway may be refused for lack of room."""
        try:
            act()
        except Refused as refused:
            if refused.retry_after_s is None:
                raise

    def _tell(self, batch: list[_Live], now_s: float) -> None:
        """Send what is due; keep it where the server has no room. What is sent again has its old ids: some of it may
        have been taken."""
        if now_s < self._again_at_s:
            self._held = batch
            return
        watched = [each.deed.customer for each in batch if each.deed.customer in self._parts]
        before = self._store.states(watched) if self._store and watched else []
        sent_s = time.monotonic()
        try:
            self._door.tell_lines("/v1/events", [each.body for each in batch])
        except Refused as refused:
            if refused.retry_after_s is None:
                raise
            self._held, self._again_at_s = batch, now_s + refused.retry_after_s
            self._waiting = str(refused)
            return
        self._waiting = None
        self._events += len(batch)
        self._sent.append((now_s, len(batch)))
        self._last.update((each.deed.customer, each.deed) for each in batch if each.deed.customer in self._parts)
        if self._store and watched and self._worker and self._worker.held:
            self._time_lag(self._store, watched[0], before[0], sent_s)

    def _time_lag(self, store: StoreSight, customer: str, before: dict[bytes, bytes], sent_s: float) -> None:
        """How long until what is stored of a customer is another: from before the request to what a decision reads."""
        while store.states([customer])[0] == before:
            if time.monotonic() - sent_s > LAG_AT_MOST_S:
                break
            time.sleep(LAG_LOOK_S)
        self._lag_ms = (time.monotonic() - sent_s) * 1000
        self._lag_worst_ms = max(self._lag_ms, self._lag_worst_ms or 0.0)

    def _watch(self, now_s: float) -> None:
        before, self._seen = self._seen, self._look()
        clock = f"{datetime.now().astimezone():%H:%M:%S}"
        for was, now in zip(before, self._seen, strict=True):
            self._told.extend(Told(now_s, clock, change) for change in changes.changes(was, now))
        if self._store:
            try:
                self._worker = self._store.worker()
            except redis.RedisError:
                self._worker = None

    def _look(self) -> list[Seen]:
        began = time.monotonic()
        seen = look(self._door, self._store, list(self._parts))
        self._decide_ms = (time.monotonic() - began) * 1000
        return seen

    def _scene(self, now_s: float) -> Scene:
        while self._sent and self._sent[0][0] < now_s - RATE_OVER_S:
            self._sent.popleft()
        lately = sum(count for _, count in self._sent)
        return Scene(
            now_s,
            self._events,
            lately / min(RATE_OVER_S, max(now_s, 1.0)),
            self._lag_ms,
            self._lag_worst_ms,
            self._decide_ms,
            self._worker,
            self._seen,
            self._parts,
            self._last,
            self._told,
            self._waiting,
        )


def _merged(cast: Iterator[tuple[float, Deed]], future: Iterator[Due], speed: float) -> Iterator[Due]:
    """Both in order of the wall clock, lazily: either may be without end."""
    theirs = (Due(after_s, deed) for after_s, deed in cast)
    crowd = (Due(each.after_s / speed, each.deed) for each in future)
    return heapq.merge(theirs, crowd, key=itemgetter(0))


def _pieces(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[begin : begin + size] for begin in range(0, len(items), size))
