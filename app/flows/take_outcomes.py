"""The way of an outcome: what is it about → what follows → written, with all that follows → what waits for it.

    heard → match (store) → consequences → apply (store) → keep what waits → remember the mail → renew aliases

When `take` returns, everything is applied: suppressions too, so that every decision that begins after it sees them
(G3). It can die at any point: whoever told it tells it again, and each step is harmless to repeat, also of what was
known. Falls closed: what stops mail is applied to whoever is known by now, and waits for whoever is not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Container, Iterable, Sequence
from typing import TYPE_CHECKING

from app.core.heard import Heard, Take, Taken
from app.core.outcomes import Outcome, Sending, consequences, kept_for_pauses
from app.errors import Problem
from app.flows.match_outcomes import Match, Matcher
from app.store.outcomes import Told, Write, store_errors
from app.store.waiting import Waiting
from policy.facts import ContactKind

if TYPE_CHECKING:  # handed in by the composition root
    from app.store.aliases import Aliases
    from app.store.outcomes import Applied, OutcomeStore, Seen
    from app.store.waiting import WaitingStore
    from policy.bundle import Bundle

#: Of one call looked up together, in some 0.3 ms; and of these written in a go. Then decisions come first.
LOOKED_UP, PIECE = 16, 4

#: The bytes of the event that an outcome is for features; empty where the bundle has none on it.
EventOf = Callable[[Outcome, ContactKind, str, int, int, bytes], bytes]


def no_event(*_: object) -> bytes:
    return b""


async def no_way() -> None:
    await asyncio.sleep(0)


class OutcomeTaker:
    """Takes outcomes for one bundle. One a process."""

    def __init__(
        self,
        bundle: Bundle,
        store: OutcomeStore,
        matcher: Matcher,
        waiting: WaitingStore,
        aliases: Callable[[], Aliases],
        *,
        event_of: EventOf = no_event,
        make_way: Callable[[], Awaitable[None]] = no_way,
    ) -> None:
        """`aliases()`: with the hash key as it is known by then. `make_way()` lets decisions come first."""
        self._store = store
        self._matcher = matcher
        self._waiting = waiting
        self._aliases = aliases
        self._kept = kept_for_pauses(bundle)
        self._event_of = event_of
        self._make_way = make_way

    async def take(self, heard: Sequence[Heard], told: Told) -> list[Taken]:
        """Take all of them; in their order, what became of each. Raises Problem `store_unavailable`,
        `durability_unmet` for all; repeating it is harmless."""
        return await self._take_all(heard, told, self._store.without_digest)

    async def _take_all(self, heard: Sequence[Heard], told: Told, keyed: Callable[[Heard], Heard]) -> list[Taken]:
        taken: list[Taken] = []
        for start in range(0, len(heard), LOOKED_UP):
            if start:
                await self._make_way()
            taken += await self._take([keyed(each) for each in heard[start : start + LOOKED_UP]], told)
        return taken

    async def linked(self, recipients: Iterable[str]) -> None:
        """Recipients, by the keyed hashes of their identities, are linked by now: what waits for them is taken. To be
        called after the link is written, and before it is acknowledged. Raises Problem."""
        names = [self._store.waiting_for(each) for each in dict.fromkeys(recipients)]
        await self._drain(names)

    async def _take(self, heard: Sequence[Heard], told: Told) -> list[Taken]:
        seen, matches = await self._matcher.match(heard)
        writes = {
            place: self._write(match, match.sending, seen)
            for place, match in enumerate(matches)
            if match.sending is not None and self._concerns(match, match.sending)
        }
        applied = dict(zip(writes, await self._apply(list(writes.values()), told, seen.now_ms), strict=True))
        erased = {place for place, one in applied.items() if one.status == b"erased"}
        new = await self._keep(matches, seen, told, erased)
        await self._remember(matches, seen)
        stopping = (each.follows.stop or each.follows.lift or each.follows.soft for each in writes.values())
        await self._renew(one.customer for one, stops in zip(applied.values(), stopping, strict=True) if stops)
        return [_taken(match, applied.get(place), new.get(place)) for place, match in enumerate(matches)]

    async def _apply(self, writes: Sequence[Write], told: Told, now_ms: int) -> list[Applied]:
        applied: list[Applied] = []
        for start in range(0, len(writes), PIECE):
            if start:
                await self._make_way()
            applied += await self._store.apply(writes[start : start + PIECE], told, now_ms)
        return applied

    def _write(self, match: Match, sending: Sending, seen: Seen) -> Write:
        outcome, kind = match.heard.outcome, sending.kind
        at_ms = seen.now_ms if outcome.at_ms is None else min(outcome.at_ms, seen.now_ms)

        def event(customer: str) -> bytes:
            if kind is None or match.decision is None:
                return b""
            return self._event_of(outcome, kind, customer, at_ms, seen.now_ms, match.decision.packed)

        follows = consequences(outcome, sending, self._kept)
        return Write(match.heard, sending.customer, match.decision, match.kind_id, follows, event)

    def _concerns(self, match: Match, sending: Sending) -> bool:
        """Whether it is written of that customer. Of one who only stands for an address nothing is noted but what
        stops mail: the rest waits."""
        return match.decision is not None or match.linked is not None or self._stops(match, sending)

    def _stops(self, match: Match, sending: Sending | None = None) -> bool:
        outcome = match.heard.outcome
        follows = consequences(outcome, sending or Sending("", None, channel=match.heard.channel), self._kept)
        return follows.stop is not None or follows.lift is not None or follows.soft

    # What waits

    async def _keep(self, matches: Sequence[Match], seen: Seen, told: Told, erased: Container[int]) -> dict[int, bool]:
        """Keep what is not matched, and what stops a recipient whom nobody knows; whether each is new, by place. Of
        those who were `erased` nothing is kept."""
        kept: list[tuple[int, bytes, Waiting, bool, str | None]] = []
        for place, match in enumerate(matches):
            if place in erased:
                continue
            heard, waiting = match.heard, Waiting(match.heard, told.source, told.who)
            if heard.recipient is not None and match.linked is None and (match.decision is None or self._stops(match)):
                name = self._store.waiting_for(heard.recipient)
                kept.append((place, name, waiting, self._stops(match), None))
            if heard.message is not None and match.decision is None and seen.messages.get(heard.message) is None:
                name = self._store.waiting_for_message(heard.message)
                kept.append((place, name, waiting, False, self._store.owner(heard)))
        if not kept:
            return {}
        with store_errors():
            told_now = await self._waiting.keep([each[1:4] for each in kept], [each[4] for each in kept])
        await self._look_again([matches[place].heard for place, *_ in kept])
        return {place: new for (place, *_), new in zip(kept, told_now, strict=True)}

    async def _look_again(self, heard: Sequence[Heard]) -> None:
        """Somebody may have become known since they were looked up, and have taken out what waited before this did."""
        seen = await self._store.look(
            (), (each.message for each in heard if each.message), (each.recipient for each in heard if each.recipient)
        )
        names = [self._store.waiting_for_message(each) for each, known in seen.messages.items() if known is not None]
        linked = [each for each, customer in seen.recipients.items() if customer is not None]
        await self._drain([*names, *map(self._store.waiting_for, linked)])

    async def _remember(self, matches: Sequence[Match], seen: Seen) -> None:
        """Note which decisions mails are of, and take what waited for that."""
        fresh = {
            match.heard.message: match.decision
            for match in matches
            if match.rode_along and match.decision and match.heard.message
            and seen.messages.get(match.heard.message) is None
        }  # fmt: skip
        if fresh:
            await self._store.remember(list(fresh.items()))
            await self._drain([self._store.waiting_for_message(each) for each in fresh])

    async def _drain(self, names: Sequence[bytes]) -> None:
        if not names:
            return
        with store_errors():
            waiting = await self._waiting.of(names)
        for name, held in waiting.items():
            for told in dict.fromkeys((each.source, each.who) for each in held.values()):
                own = [each.heard for each in held.values() if (each.source, each.who) == told]
                await self._take_all(own, Told(*told), _as_it_was_kept)
            with store_errors():
                await self._waiting.done(name, held)

    async def _renew(self, customers: Iterable[str]) -> None:
        """Aliases live as long as the profile: without an end while the customer is suppressed. Also of a repeat:
        whoever told it first may have got no further than the script."""
        names = list(dict.fromkeys(customers))
        if names:
            with store_errors():
                await self._aliases().renew_as_held(names)


def _as_it_was_kept(heard: Heard) -> Heard:
    return heard


def _taken(match: Match, applied: Applied | None, new: bool | None) -> Taken:
    """What the teller is answered."""
    if applied is None:
        if new is None:
            refused = match.refused or Problem("unmatched", "nothing of it is known here")
            return Taken(Take.REJECTED, refused.code, refused.detail)
        return Taken(Take.ACCEPTED if new else Take.DUPLICATE, machine=match.heard.outcome.machine)
    if applied.status == b"future":
        detail = "`at` lies more than 5 s ahead of the store's clock; leave it out to mean now"
        return Taken(Take.REJECTED, "future_time", detail)
    if applied.status == b"erased":
        return Taken(Take.REJECTED, "decision_expired", "its customer was erased: nothing more is noted of it")
    status = Take.DUPLICATE if applied.status == b"known" else Take.ACCEPTED
    machine = applied.machine or match.heard.outcome.machine
    return Taken(
        status, "", "", match.decision, applied.customer, machine, applied.at_ms, applied.effects
    )  # fmt: skip
