"""The way of a conversion from an event to the decision that gets it.

    claims of a chunk → keep → contacts of whoever has one that waits → attribute → note where it goes → tell → done

It runs before the chunk is committed, and may run again at any point: what is kept stays, where a claim goes is noted
before the outcome is told, and an outcome that is told twice counts once. So a worker that dies in between loses
nothing, and the next one finishes what it began, even if a better click has been told meanwhile.

Looks come the same way (`core.outcome_events`): each has the conversions of its customer that wait tried again, and so
has the end of a reward's window, since a look may be known whose event is not worked off yet. Falls
open: a conversion that cannot be attributed stops no event, and is kept for as long as a window may be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, ParamSpec, Protocol

from app.core.attribution import Claim, claims_in, decision_of, outcome_of, settled
from app.core.events.event import Collected
from app.core.features.streams import CARRY, TAKE_IN
from app.core.heard import Heard, Taken
from app.core.outcome_events import LOOKS
from policy.message_events import MESSAGE_EVENTS
from policy.outcome_rules import OutcomeRules

if TYPE_CHECKING:  # handed in by the composition root
    from app.store.conversions import ConversionStore, Kept
    from app.store.outcomes import Told

P = ParamSpec("P")
#: In metrics, of a conversion that leads nowhere yet; when it does, it is counted once more, under the way.
WAITS = "waits"
Move = tuple[str, Claim, Claim]  # customer, what it was, what it is


class Taker(Protocol):
    """Applies outcomes."""

    async def take(self, heard: Sequence[Heard], told: Told) -> Sequence[Taken]:
        """In order; idempotent."""


class Attribution:
    """Attributes the conversions of a bundle."""

    def __init__(
        self,
        rules: OutcomeRules,
        store: ConversionStore,
        taker: Taker,
        told: Told,
        trouble: Callable[[str], None],
        count: Callable[[str, str], None],
    ) -> None:
        """`told` says who tells the outcomes, `trouble(what)` hears what could not be attributed for no fault of the
        store's: it costs that customer's conversions alone. `count(conversion, attribution)` is for metrics."""
        self._rules = rules
        self._store = store
        self._taker = taker
        self._told = told
        self._trouble = trouble
        self._count = count
        ways = {way for rule in rules.conversions for way in rule.attribute}
        looks = {MESSAGE_EVENTS[look] for way, look in LOOKS.items() if way in ways}
        # Who became another customer brings clicks along that their orders waited for, or the other way round.
        self._tries_again = frozenset((*looks, CARRY, TAKE_IN)) if rules.conversions else frozenset()
        self._asked_for = self._tries_again | rules.by_event.keys()

    def concerns(self, entry: Collected) -> bool:
        """Whether anything is to be done for an entry; for all others nothing is."""
        return entry.type in self._asked_for

    async def apply(self, entries: Iterable[Collected]) -> None:
        """Attribute what entries claim, and what waited for them. Raises StoreError, ReplyError, Problem; then nothing
        is lost, and all of it may be repeated."""
        claims: dict[str, list[Claim]] = {}
        for entry in entries:
            if entry.type == CARRY:
                claims.setdefault(str(entry.properties.get("to", "")) or entry.customer, [])
            elif entry.type in self._tries_again:
                claims.setdefault(entry.customer, [])
            elif found := self._guarded(claims_in, entry, self._rules):
                claims.setdefault(entry.customer, []).extend(found)
        if claims:
            await self._settle(await self._store.keep(claims))

    async def again(self, customers: Iterable[str]) -> bool:
        """Try once more what of these customers waits; whether any of it went to a decision. For whoever is about to
        work out what their decisions earned. Raises as `apply` does."""
        names: dict[str, list[Claim]] = {customer: [] for customer in customers}
        return bool(names) and await self._settle(await self._store.keep(names))

    async def _settle(self, kept: Sequence[Kept]) -> bool:
        """Attribute what can be; whether there was any."""
        waiting = [each for each in kept if any(not claim.decision for claim in each.claims)]
        contacts = await self._store.contacts([each.customer for each in waiting]) if waiting else []
        moves: list[Move] = []
        for each, theirs in zip(waiting, contacts, strict=True):
            by_key = {claim.key: claim for claim in each.claims}
            found = self._guarded(settled, each.claims, theirs, self._rules)
            moves += [(each.customer, by_key[now.key], now) for now in found]
        moved = [move for move, was_it in zip(moves, await self._moved(moves), strict=True) if was_it]
        begun = [(each.customer, claim) for each in kept for claim in each.claims if claim.decision and not claim.done]
        await self._tell([*begun, *((customer, now) for customer, _, now in moved)])
        self._counted(kept, moved)
        return bool(begun or moved)

    def _counted(self, kept: Sequence[Kept], moved: Sequence[Move]) -> None:
        """What was attributed, by what led there, and what is new and leads nowhere yet."""
        went = {(customer, now.key) for customer, _, now in moved}
        for _, _, now in moved:
            self._count(now.rule, now.way)
        for each in kept:
            for claim in each.claims:
                if claim.key in each.fresh and (each.customer, claim.key) not in went:
                    self._count(claim.rule, WAITS)

    def _guarded(self, rule: Callable[P, list[Claim]], *args: P.args, **more: P.kwargs) -> list[Claim]:
        try:
            return rule(*args, **more)
        except Exception as error:  # a mistake of ours about one customer must not hold up a shard
            self._trouble(type(error).__name__)
            return []

    async def _moved(self, moves: Sequence[Move]) -> Sequence[bool]:
        return await self._store.move(moves) if moves else ()

    async def _tell(self, claims: Sequence[tuple[str, Claim]]) -> None:
        """What is refused is done too: it can never be taken."""
        heard = [
            Heard(outcome, decision=decision_of(claim), customer=customer, channel="")
            for customer, claim in claims
            if (outcome := outcome_of(claim)) is not None
        ]
        if heard:
            await self._taker.take(heard, self._told)
        if claims:
            await self._store.move([(customer, claim, claim._replace(done=True)) for customer, claim in claims])
