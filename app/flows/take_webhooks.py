"""The way of a webhook: is it the provider's → what does it say → of whom → taken, with all that follows → tally.

    certificate → verify → follow_up → ticket → items → read, hear → OutcomeTaker.take → tally

Verification sees the bytes as they came, and nothing is read before it. One item that cannot be read, or not be taken,
is rejected by itself; nothing it says can lose the others. When this returns, everything that follows from what was
accepted is applied: there is no queue behind it.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from app.core.heard import Heard, Take, Taken
from app.core.webhooks.hearing import hear
from app.core.webhooks.provider import Aside, Delivery, Provider, Said, Ticket, Trust, Unfit, Untrusted
from app.core.webhooks.puzzles import Puzzle, puzzle
from app.errors import Problem
from app.flows.room import Room

if TYPE_CHECKING:
    from app.store.outcomes import Told

#: Items of one delivery. Providers send up to 1,000.
ITEMS_MAX = 5_000
#: Items understood in one go, of some 15 µs each; then decisions come first.
PIECE = 8
#: Items of a delivery that go the whole way together. Between two such stretches nothing is held back, so that what is
#: done for all of them at once (to settle, to count) takes no longer in a delivery of thousands.
STRETCH = 64
#: Items of one delivery that are kept for people to look at.
KEPT_MAX = 100

log = logging.getLogger("nextbest.webhooks")


class Certificates(Protocol):
    """Where certificates come from that a delivery is verified with, and who confirms a subscription."""

    async def of(self, url: str) -> bytes: ...
    async def visit(self, url: str) -> None: ...


class Store(Protocol):
    """What the door itself keeps."""

    async def first_use(self, provider: str, ticket: Ticket) -> bool:
        """Whether a ticket was never used for anything else."""

    async def keep(self, provider: str, puzzles: Sequence[Puzzle]) -> None:
        """Keep what was not understood, for people to look at."""


class Taker(Protocol):
    """`app.flows.take_outcomes.OutcomeTaker`."""

    async def take(self, heard: Sequence[Heard], told: Told) -> list[Taken]: ...


class Rejected(NamedTuple):
    """An item that was not taken, by its place in the delivery, from 0."""

    place: int
    code: str
    detail: str


class Line(NamedTuple):
    """Something that an item says, and what became of it."""

    place: int  # of the item
    said: Said
    heard: Heard | None = None  # None: it changes nothing
    taken: Taken | None = None


@dataclass(slots=True)
class Tally:
    """What became of a delivery."""

    lines: list[Line] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)

    @property
    def duplicates(self) -> int:
        return sum(line.taken is not None and line.taken.status is Take.DUPLICATE for line in self.lines)

    @property
    def accepted(self) -> int:
        """Also what is known and changes nothing, and what is not known: that is kept and counted."""
        return len(self.lines) - self.duplicates


class WebhookTaker:
    """Takes the deliveries of all providers. One a process."""

    def __init__(
        self,
        trusted: Mapping[str, Trust],
        taker: Taker,
        store: Store,
        certificates: Certificates,
        room: Room,
        domain_class: Callable[[str], str],
        told: Callable[[str], Told],
        count: Callable[[str, str, int], None],
        late: Callable[[str, Sequence[int]], None],
    ) -> None:
        """`trusted`: what is configured, by provider; `told(provider)`: whom histories name; `count(provider, result,
        n)` is for metrics, and so is `late(provider, times)`: when that happened which is taken now, Unix ms."""
        self.room = room
        self._trusted = trusted
        self._taker = taker
        self._store = store
        self._certificates = certificates
        self._domain_class = domain_class
        self._told = told
        self._count = count
        self._late = late

    def is_configured(self, provider: str) -> bool:
        """Whether anything could prove a delivery of this provider."""
        return bool(self._trusted.get(provider))

    async def take(self, provider: Provider, delivery: Delivery) -> Tally:
        """Take a delivery: when this returns, everything that follows is applied. Raises Untrusted, Unreadable, and
        Problem `payload_too_large`, `store_unavailable`, `durability_unmet`; sending it again is harmless."""
        delivery = await self._verified(provider, delivery)
        items = provider.items(delivery)
        if len(items) > ITEMS_MAX:
            raise Problem("payload_too_large", f"at most {ITEMS_MAX} items")
        if provider.ticket is not None and not await self._store.first_use(provider.name, provider.ticket(delivery)):
            tally = Tally([Line(index, REUSED, None, Taken(Take.DUPLICATE)) for index in range(len(items))])
        else:
            return await self._taken_all(provider, items)
        self._counted(provider, tally)
        return tally

    async def _verified(self, provider: Provider, delivery: Delivery) -> Delivery:
        """The delivery, proven. Raises Untrusted, and whatever `Certificates` does where one cannot be had."""
        trust = self._trusted.get(provider.name)
        if not trust:
            raise Untrusted("it is not configured: nothing could prove a delivery")
        if provider.certificate is not None and (url := provider.certificate(delivery)) is not None:
            delivery = delivery._replace(certificate=await self._certificates.of(url))
        provider.verify(delivery, trust)
        if provider.follow_up is not None and (url := provider.follow_up(delivery, trust)) is not None:
            await self._certificates.visit(url)
        return delivery

    async def _taken_all(self, provider: Provider, items: Sequence[Any]) -> Tally:
        """What was taken is counted even where the rest then cannot be: told again, it is a duplicate."""
        whole = Tally()
        for start in range(0, len(items), STRETCH):
            tally = await self._taken(provider, items, range(start, min(start + STRETCH, len(items))))
            self._counted(provider, tally)
            whole.lines += tally.lines
            whole.rejected += tally.rejected
        return whole

    async def _taken(self, provider: Provider, items: Sequence[Any], places: range) -> Tally:
        tally = Tally()
        async with self.room.turn:
            for place in places:
                if place % PIECE == PIECE - 1:
                    await self.room.make_way()
                self._understand(provider, place, items[place], tally)
        puzzles = [
            puzzle(line.said.type, line.said.raw_type, items[line.place])
            for line in tally.lines
            if line.said.type is Aside.UNKNOWN
        ]
        puzzles += [puzzle(each.code, "", items[each.place]) for each in tally.rejected]
        if puzzles:
            await self._store.keep(provider.name, puzzles[:KEPT_MAX])
        heard = [line.heard for line in tally.lines if line.heard is not None]
        if heard:
            self._settle(tally, await self._taker.take(heard, self._told(provider.name)))
        return tally

    def _understand(self, provider: Provider, index: int, item: Any, tally: Tally) -> None:
        """Add what an item says, all of it or nothing."""
        try:
            said = provider.read(item)
            lines = [
                Line(index, each, None if isinstance(each.type, Aside) else self._heard(provider, each, len(said) > 1))
                for each in said
            ]
        except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
            detail = str(error) if isinstance(error, Unfit) else f"it is not what {provider.name} documents"
            tally.rejected.append(Rejected(index, "malformed_item", detail))
            return
        tally.lines += lines or [Line(index, PING)]

    def _heard(self, provider: Provider, said: Said, one_of_several: bool) -> Heard:
        return hear(provider.name, said, one_of_several, self._domain_class)

    @staticmethod
    def _settle(tally: Tally, taken: Sequence[Taken]) -> None:
        """Write down what became of each; what was rejected is no line any more."""
        following = iter(taken)
        lines = [
            line if line.heard is None else Line(line.place, line.said, line.heard, next(following))
            for line in tally.lines
        ]
        tally.lines = [line for line in lines if line.taken is None or line.taken.status is not Take.REJECTED]
        for line in lines:
            if line.taken is not None and line.taken.status is Take.REJECTED:
                tally.rejected.append(Rejected(line.place, line.taken.code, line.taken.detail))
        tally.rejected.sort()

    def _counted(self, provider: Provider, tally: Tally) -> None:
        results = Counter(_result(line) for line in tally.lines)
        results["rejected"] += len(tally.rejected)
        for result, number in results.items():
            if number:
                self._count(provider.name, result, number)
        self._late(provider.name, [line.said.at_ms for line in tally.lines if _is_news(line) and line.said.at_ms])
        if tally.rejected:
            codes = ", ".join(sorted({each.code for each in tally.rejected}))
            log.warning("%d items of %s were rejected (%s)", len(tally.rejected), provider.name, codes)
        for line in tally.lines:
            if line.said.raw_type in provider.alarming:
                log.warning("%s says `%s`: it will send no more", provider.name, line.said.raw_type)


#: What an item says that says nothing.
PING = Said(Aside.IGNORED, "ping")
#: What is said with a proof that was used for something else before.
REUSED = Said(Aside.IGNORED, "reused_proof")


def _is_news(line: Line) -> bool:
    return line.taken is not None and line.taken.status is Take.ACCEPTED


def _result(line: Line) -> str:
    if line.taken is not None:
        return "accepted" if line.taken.status is Take.ACCEPTED else "duplicate"
    return line.said.type.value
