"""Who is who, from what events tell: claims are taken down as they come, and settled when nothing earlier can come.

    apply    (the worker's, before its commit)  claims and aliases of a chunk of events are taken down
    settle   (every worker process, now and then)  an identity that is due is given to whom it belongs: its own customer
             becomes that one, and it is linked; one that turned out to be shared is given to nobody any more

1. What decides is `app.core.identity_graph`, which knows no order of arrival. What is done is done by
   `app.flows.merge`, so that a limit is never opened, and is harmless to repeat.
2. Merging is one-way. What was merged stays, whatever is told later.
3. Nothing of it is done in `apply`: a merge waits for the disk, and a shard must not.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from app.core.events.event import Collected, Edge
from app.core.identity_graph import (
    Alias,
    Belongs,
    Owner,
    Pending,
    Shared,
    alias_of,
    claims_of,
    joined,
    own_customer,
    owner_of,
    shared_customer,
)
from app.ending import end_task
from app.errors import Problem

if TYPE_CHECKING:  # handed in by the composition root
    from app.flows.merge import Merges
    from app.store.claim_entries import Due, Told
    from app.store.claims import ClaimStore

log = logging.getLogger("nextbest.identity")

#: Whom the history names.
WHO = "identity"
LOOK_EVERY_S = 1.0
#: Settled at once by a process: most of the time is spent waiting for the disk.
AT_ONCE_MAX = 32
#: An event that was on its way while its identity was linked has arrived by then.
AGAIN_AFTER_MS = 60_000


class Identities:
    """Links identities. One a worker process: `start()` on the loop, `close()`."""

    def __init__(
        self, store: ClaimStore, merges: Merges, lateness_ms: int, count: Callable[[str], None] = lambda _: None
    ) -> None:
        """`lateness_ms`: with which the bundle takes events (`EventRules.link_lateness_ms`). `count` is for metrics:
        what became of an identity or an alias (`linked`, `shared`, `merged`, `refused`, `failed`)."""
        self._store = store
        self._merges = merges
        self._lateness_ms = lateness_ms
        self._count = count
        self._due = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._look_after(), name="identities")

    async def close(self) -> None:
        await end_task(self._task)

    async def apply(self, entries: Sequence[Collected]) -> None:
        """Take down what these tell of identities. Harmless to repeat. Raises Problem `store_unavailable`."""
        claims = [claim for entry in entries for claim in claims_of(entry, self._store.hash_key)]
        aliases = [alias for entry in entries if (alias := alias_of(entry)) is not None]
        if claims and await self._store.record(claims, self._lateness_ms):
            self._due.set()
        if aliases:
            await self._store.note(aliases)
            self._due.set()

    async def settle(self) -> int:
        """Settle what is due; how much there was. Raises Problem `store_unavailable`."""
        settled = 0
        while True:
            until_ms = await self._store.complete_until_ms()
            due = await self._store.take(until_ms, AT_ONCE_MAX)
            await asyncio.gather(*(self._settle(each, until_ms) for each in due))
            settled += len(due)
            if len(due) < AT_ONCE_MAX:
                return settled

    async def _settle(self, due: Due, until_ms: int) -> None:
        try:
            if isinstance(due.what, Alias):
                again_ms = await self._unite(due.what, until_ms)
            else:
                again_ms = await self._look(due.what, until_ms)
            await self._store.done(due, again_ms)
        except Exception as error:  # it is taken again, and must not hold up the others, whatever it met
            self._count("failed")
            said = error.detail if isinstance(error, Problem) else type(error).__name__
            log.warning("an identity could not be settled: %s", said)

    async def _unite(self, alias: Alias, until_ms: int) -> int | None:
        """Make one known customer another. Where it is not sure that a user id was meant, nothing may be known of such
        a customer: then it was none, as soon as nothing earlier can come."""
        if not alias.sure and not await self._store.knows(alias.loser):
            due_ms = alias.at_ms + self._lateness_ms
            return due_ms if until_ms < due_ms else None
        await self._merge(alias.loser, alias.winner, f"alias of {_iso(alias.at_ms)}")
        return None

    async def _look(self, identity: Edge, until_ms: int) -> int | None:
        """Give an identity to whom it belongs; when to look again."""
        (told,) = await self._store.told([identity])
        owner = owner_of(await self._claims(told), until_ms, self._lateness_ms)
        if isinstance(owner, Pending):
            return owner.due_ms
        mark, value = await self._act(identity, told, owner)
        if not await self._store.close(identity, told.changes, mark, value):
            return 0  # it was claimed anew meanwhile
        return until_ms + AGAIN_AFTER_MS if mark == b"=" and value != told.settled else None

    async def _claims(self, told: Told) -> dict[str, int]:
        return joined(told.claims.items(), await self._store.known_as(told.claims))

    async def _act(self, identity: Edge, told: Told, owner: Owner) -> tuple[bytes, str]:
        """Do what follows, and how the identity is marked then."""
        if isinstance(owner, Belongs):
            await self._give(identity, told, owner.customer, owner.since_ms)
            return b"=", owner.customer
        if isinstance(owner, Shared):
            if owner.first is not None and told.settled is None:
                # It was due before the second customer was told of, and nobody got round to it.
                first_ms = (await self._claims(told))[owner.first]
                await self._give(identity, told, owner.first, first_ms)
            await self._take_away(identity, told, owner)
            self._count("shared")
            return b"~", str(owner.since_ms)
        return b"", ""

    async def _give(self, identity: Edge, told: Told, customer: str, since_ms: int) -> None:
        """The identity's own customer becomes the one that it belongs to, and it is linked to that one. What somebody
        else was given before, or says by hand, stays."""
        if await self._store.is_crowd(customer):
            self._count("refused")
            return
        own: tuple[str, ...] = () if identity.kind == "user_id" else (own_customer(identity), shared_customer(identity))
        if told.link is not None and told.link not in own and await self._store.became(told.link) != customer:
            return
        for key in own:
            became = await self._store.became(key)
            if became not in (key, customer) and key == own[0]:
                return
            # Decisions are asked for by a visitor's id: its pointer keeps one that is under way from being applied.
            begun = became == customer and told.settled is None  # by somebody who may have died over it
            wanted = (identity.kind, key) == ("anonymous_id", own[0]) or await self._store.knows(key)
            if begun or (became == key and wanted):
                await self._merge(key, customer, f"{short(identity)} first told with {customer} {_iso(since_ms)}")
        became = await self._store.became(customer)
        if not await self._store.is_erased((became,)):
            await self._store.link(identity, became, (*own, customer))
            self._count("linked")

    async def _take_away(self, identity: Edge, told: Told, owner: Shared) -> None:
        """A visitor's id that was given to the first of several is nobody's from now on. Addresses stay linked to the
        first: what is told of an address, such as a complaint, must reach somebody who is known."""
        was = owner.first or told.settled
        if identity.kind != "anonymous_id" or was is None:
            return
        first = await self._store.became(was)
        if await self._store.became(own_customer(identity)) == first:
            await self._store.link(identity, shared_customer(identity), (was, first), for_long=True)

    async def _merge(self, loser: str, winner: str, why: str) -> None:
        if await self._store.is_erased((loser, winner)):
            return  # nothing of them is known any more, and nothing is to be
        await self._merges.merge(loser, winner, WHO, why)
        self._due.set()  # identities that both had claimed are looked at again
        self._count("merged")

    async def _look_after(self) -> None:
        while True:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._due.wait(), LOOK_EVERY_S)
            self._due.clear()
            with contextlib.suppress(Exception):  # the store is away: the next look tries again
                await self.settle()


def short(identity: Edge) -> str:
    """An identity as people are shown it: its kind, and the beginning of its keyed hash."""
    return f"{identity.kind} {identity.hash.hex()[:8]}"


def _iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
