"""The way of an event: who is it → whose is that → what is made of it → written, durably.

    arrived → who_is_it → resolve (store) → judge → append (store) → tally

Events are refused before decisions suffer (`app.flows.room`), and when the store has no room. A large batch is worked
off in small pieces, with decisions in between.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, cast

from app.core.events.event import Arrived, Collected, Letter, Misfit
from app.core.events.heartbeat import HEARTBEAT, alive
from app.core.events.quality import Found, Judged, Receipt, judge, letter_of_nobody
from app.core.events.who import Who, unwanted_kinds, who_is_it
from app.core.identity import Alias
from app.errors import Problem
from app.flows.room import Room

if TYPE_CHECKING:  # handed in by the composition root
    from app.store.events import EventStore
    from policy.bundle import Bundle

#: Events worked on in one go, in about a quarter of a millisecond; then decisions come first. All requests of a process
#: take turns, so that it is one such piece between two decisions, however many come at once.
PIECE = 16  # of some 15 µs each
LOOK_EVERY_S = 0.5
#: What is counted beside the results.
PROPERTIES_DROPPED = "properties_dropped"

#: An event, and whom it is about; of a heartbeat, which is about nobody, the event types that it speaks for.
Understood: TypeAlias = tuple[Arrived | Misfit, Who | frozenset[str] | Misfit]

log = logging.getLogger("nextbest.events")


class Rejected(NamedTuple):
    """One event that was not collected, by its place in the request, from 0."""

    place: int
    misfit: Misfit


@dataclass(slots=True)
class Tally:
    """What became of a request's events."""

    accepted: int = 0
    passed: int = 0  # events that the bundle does not declare; whom they link is kept
    properties_dropped: int = 0
    rejected: list[Rejected] = field(default_factory=list)


@dataclass(slots=True)
class Pile:
    """What is to be written for a request, and the tally of it."""

    events: list[Collected] = field(default_factory=list)
    letters: list[Letter] = field(default_factory=list)
    alive: set[str] = field(default_factory=set)  # event types of which a source says that none is on its way
    tally: Tally = field(default_factory=Tally)

    def add(self, place: int, judged: Judged) -> None:
        self.tally.properties_dropped += judged.properties_dropped
        if isinstance(judged.result, Collected):
            self.events.append(judged.result)
            if judged.links_alone:
                self.tally.passed += 1
            else:
                self.tally.accepted += 1
        elif isinstance(judged.result, Letter):
            self.put_aside(place, judged.result)
        else:
            self.tally.passed += 1

    def hear(self, types: frozenset[str]) -> None:
        """A heartbeat."""
        self.alive |= types
        self.tally.accepted += 1

    def put_aside(self, place: int, letter: Letter) -> None:
        self.letters.append(letter)
        self.tally.rejected.append(Rejected(place, letter.misfit))


class Collector:
    """Collects events for one bundle. One a process."""

    def __init__(
        self,
        bundle: Bundle,
        store: EventStore,
        room: Room,
        count: Callable[[str, int], None],
        chance: Callable[[int], bytes],
    ) -> None:
        """`room` is shared with others that make way for decisions. `count(result, n)` is for metrics, `chance(n)`
        gives random bytes. `hash_key` is set when the store was reached."""
        self._rules = bundle.events
        self._unwanted = unwanted_kinds(bundle)
        self._store = store
        self.room = room
        self._count = count
        self._chance = chance
        self.hash_key = b""

    def admit(self) -> None:
        """Raises Problem: `rate_limited` when no event is taken now, `store_unavailable` before the store was seen."""
        if (shut := self._store.shut) is not None:
            raise Problem("rate_limited", shut.reason, retry_after_s=shut.retry_after_s)
        self.room.check()
        if not self.hash_key:
            raise Problem("store_unavailable", "the store was not reached yet", retry_after_s=1)

    async def collect(self, items: Sequence[Any], read: Callable[[Any], Arrived | Misfit], sender: str) -> Tally:
        """Collect events: when this returns, they are durable. `read` understands one item of their format; `sender` is
        the id of the write key. Raises Problem; sending all of it again is harmless."""
        understood = await self._understood(items, read)
        aliases = {alias for _, who in understood if isinstance(who, Who) for alias in _to_resolve(who)}
        now_ms, customers = await self._store.resolve(aliases, self.hash_key)
        pile = await self._judged(understood, customers, Receipt(now_ms, sender, self._chance(8)))
        await self._store.append(pile.events, pile.letters)
        if pile.alive:  # behind the events that came with it
            await self._store.hear(pile.alive, now_ms)
        self._counted(pile.tally)
        return pile.tally

    async def _understood(self, items: Sequence[Any], read: Callable[[Any], Arrived | Misfit]) -> list[Understood]:
        """What each item says, and whom it is about."""
        understood: list[Understood] = []
        async with self.room.turn:
            for index, item in enumerate(items):
                if index % PIECE == PIECE - 1:
                    await self.room.make_way()
                each = read(item)
                understood.append((each, self._who(each)))
        return understood

    def _who(self, each: Arrived | Misfit) -> Who | frozenset[str] | Misfit:
        if isinstance(each, Misfit):
            return each
        return alive(each, self._rules) if each.kind == HEARTBEAT else who_is_it(each, self._unwanted)

    async def _judged(self, understood: Sequence[Understood], customers: Mapping[Alias, str], receipt: Receipt) -> Pile:
        """What becomes of each."""
        pile = Pile()
        async with self.room.turn:
            for index, (each, who) in enumerate(understood):
                if index % PIECE == PIECE - 1:
                    await self.room.make_way()
                if isinstance(each, Misfit) or isinstance(who, Misfit):
                    misfit = each if isinstance(each, Misfit) else cast("Misfit", who)
                    pile.put_aside(index, letter_of_nobody(misfit, receipt, self.hash_key, index))
                    continue
                if isinstance(who, frozenset):
                    pile.hear(who)
                    continue
                customer = who.subject if isinstance(who.subject, str) else customers[who.subject]
                previous = next((customers[alias] for alias in who.previous if alias.kind == "user_id"), "")
                found = Found(who, customer, previous)
                pile.add(index, judge(each, found, self._rules, receipt, self.hash_key, index))
        return pile

    def _counted(self, tally: Tally) -> None:
        self._count("accepted", tally.accepted)
        if tally.passed:
            self._count("undeclared", tally.passed)
        if tally.properties_dropped:
            self._count(PROPERTIES_DROPPED, tally.properties_dropped)
        for code, number in Counter(each.misfit.code for each in tally.rejected).items():
            self._count(code, number)

    async def watch(self) -> None:
        """Keep an eye on the room that is left, until cancelled."""
        while True:
            again_s = LOOK_EVERY_S
            try:
                await self._store.look()
                again_s = self._store.look_again_s
            except Exception as error:  # the store is away: then nothing is collected anyway
                log.debug("cannot see what the event streams hold: %s", type(error).__name__)
            await asyncio.sleep(again_s)


def _to_resolve(who: Who) -> Iterable[Alias]:
    """Whose customers must be looked up: that of an earlier user id is as known as any other."""
    if isinstance(who.subject, Alias):
        yield who.subject
    for alias in who.previous:
        if alias.kind == "user_id":
            yield alias
