"""Merging two customers in the store, step by step. The order of the steps is `app.flows.merge`'s.

The keys of the two lie in different slots, so that no script can do it all. Each step is one script in one slot (or one
for each alias), harmless to repeat, and does nothing once somebody else has finished the merge; what is under way is
noted in `ctl:merges`, so that any process can go on where another one died.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple, cast

import ormsgpack
from redis.asyncio import Redis

from app.core.events.commands import carrying
from app.core.events.entry import encode
from app.core.keeping import keeping
from app.errors import Problem
from app.store.aliases import Aliases
from app.store.customer_trouble import merged_into, merging, store_errors
from app.store.events import FIELD
from app.store.fields import FieldRegistry, names_of
from app.store.keys import CTL_CLAIMS_DUE, CTL_MERGES, Keys, claims, identity_of
from app.store.merge_fields import Held, TakenIn, taken_in
from app.store.profile import ERASURE, GENERAL_VERSION, LEDGER_VERSION, SUPPRESSION_COUNT, UnknownField, is_tombstone
from app.store.scripts import Call, Ran, Script
from policy.bundle import Bundle

BEGIN = Script.load("merge_begin.lua")
TAKE_UP = Script.load("merge_take_up.lua")
EXPECT = Script.load("merge_expect.lua")
LEAVE = Script.load("merge_leave.lua")
UNITE = Script.load("merge_unite.lua", "history.lua")
REPOINT = Script.load("merge_repoint.lua")
SETTLE = Script.load("merge_settle.lua")
STRIP = Script.load("merge_strip.lua")
MAIL = Script.load("merge_mail.lua")
#: As long as outcomes are taken, of which it tells.
MAIL_KEPT_MS = 35 * 86_400_000
END = Script.load("merge_end.lua")
#: A process that sleeps for longer than this through the end of a merge would begin it again.
REMEMBERED_MS = 86_400_000
#: How long the beginning and the end of a merge wait for the disk. An fsync under `everysec` is due within a second.
ON_DISK_WITHIN_MS = 2_000
#: A winner whom marketing waits for still gets receipts: between reading it and writing it, once in a while.
TRIES = 20


class Merge(NamedTuple):
    """A merge that was noted. `begun_ms` tells it from others of the same two."""

    loser: str
    winner: str
    begun_ms: int
    who: str  # by name
    why: str


class MergeStore:
    """The steps of merges. Every method raises Problem `store_unavailable` when the store failed; repeating it is
    harmless.

    The note is awaited on disk before anything is done, and the winner before anything is deleted, since all three may
    lie on different machines: a crash of one must not lose what the others rely on. Where the store cannot tell, or
    `on_disk_within_ms` is 0, that is as sure as the deployment chose; `strict` goes on only when it is.
    """

    def __init__(
        self,
        client: Redis,
        keys: Keys,
        fields: FieldRegistry,
        bundle: Bundle,
        *,
        strict: bool = False,
        on_disk_within_ms: int = ON_DISK_WITHIN_MS,
    ) -> None:
        self._client = client
        self._keys = keys
        self._fields = fields
        self._bundle = bundle
        self._strict = strict
        self._on_disk_within_ms = on_disk_within_ms
        self._aliases = Aliases(client, keys, b"", keeping(bundle))  # only renewed here, which needs no hash key

    async def became(self, customer: str) -> str:
        """The customer that one has become; its own key where it has not."""
        with store_errors():
            return await merged_into(self._client, self._keys.profile(customer)) or customer

    async def refuse_erased(self, *customers: str) -> None:
        """Raises Problem `erased` where one of these was: its stop must not become somebody else's."""
        with store_errors():
            for customer in customers:
                if is_tombstone(await cast("Any", self._client.hget(self._keys.profile(customer), ERASURE))):
                    raise Problem("erased", "one of the customers was erased: there is nothing to merge")

    async def begin(self, loser: str, winner: str, who: str, why: str) -> Merge | None:
        """Note that a merge shall be; the same one where it was noted before. None: one of the two is part of another
        merge, which must end before."""
        with store_errors():
            await self._fields.ensure([f"w:{who}"])
            args = (loser.encode(), winner.encode(), self._fields.id_of(f"w:{who}"), why.encode())
            ran = await BEGIN.run(self._client, [Call((CTL_MERGES,), args)], self._on_disk_within_ms)
            reply = ran.replies[0]
            if reply[0] == b"busy":
                return None
            self._check_disk(ran)
            return await self._noted([loser.encode(), winner.encode(), *reply[1:]])

    async def under_way(self, winner: str) -> list[Merge]:
        """Merges into this customer that were noted and are not over."""
        with store_errors():
            noted = cast("dict[bytes, bytes]", await cast("Any", self._client.hgetall(CTL_MERGES)))
            found = [(loser, intent.split(b" ", 4)) for loser, intent in noted.items()]
            return [
                await self._noted([loser, into, int(begun), who, b"".join(why)])
                for loser, (into, begun, _, who, *why) in found
                if into == winner.encode()
            ]

    async def take_up(self, older_than_ms: int, at_most: int) -> list[Merge]:
        """Merges that nobody has tried for so long."""
        with store_errors():
            found = await self._run(TAKE_UP, (CTL_MERGES,), (b"%d" % older_than_ms, b"%d" % at_most))
            return [await self._noted(each) for each in found]

    async def expect(self, merge: Merge) -> bool | None:
        """Have the winner wait for what is on its way. False: the merge is over; None: the winner became another."""
        names = self._keys.of(merge.winner)
        keys = (names.profile, self._keys.merges(merge.winner), self._keys.history(merge.winner))
        with store_errors():
            reply = await self._run(EXPECT, keys, (merge.loser.encode(), b"%d" % merge.begun_ms))
        return {b"expected": True, b"done": False}.get(reply[0])

    async def leave(self, merge: Merge) -> Held | None:
        """Let the loser become the winner: all that it holds. None: it became another customer."""
        names = self._keys.of(merge.loser)
        keys = (names.profile, names.ledger, self._keys.aliases(merge.loser), self._keys.history(merge.loser))
        with store_errors():
            reply = await self._run(LEAVE, keys, (merge.winner.encode(),))
        return None if reply[0] == b"merged" else _held(*reply[1:])

    async def unite(self, merge: Merge, loser: Held) -> None:
        """Write into the winner what it takes in from the loser, unless that is done."""
        with store_errors():
            await self._fields.ensure([*names_of(self._bundle), f"w:{merge.who}"])
            await self._unite_mail(merge)
            for _ in range(TRIES):
                winner = await self._look(merge.winner)
                taken = await self._taken_in(winner, loser, merge.loser)
                keys, args = self._unite_keys(merge), self._unite_args(merge, winner, loser, taken)
                reply = await self._run(UNITE, keys, args)
                if reply[0] != b"moved":
                    return
        raise merging()

    async def _unite_mail(self, merge: Merge) -> None:
        """What is known of the loser's mail, to the winner's. The loser has left: nothing is added to it any more."""
        held = cast("dict[bytes, bytes]", await cast("Any", self._client.hgetall(self._keys.mail(merge.loser))))
        if held:
            args = (b"%d" % max(MAIL_KEPT_MS, self._bundle.outcomes.soft_bounces.within_ms), *chain(*held.items()))
            await self._run(MAIL, (self._keys.mail(merge.winner),), args)

    async def repoint(self, merge: Merge, aliases: Sequence[bytes]) -> None:
        """Turn all that points to the loser to the winner, and give it the winner's time to live."""
        with store_errors():
            args = (merge.loser.encode(), merge.winner.encode())
            if aliases:
                await REPOINT.run(self._client, [Call((key,), args) for key in aliases])
            profile = self._keys.profile(merge.winner)
            suppressed = await cast("Any", self._client.hexists(profile, SUPPRESSION_COUNT))
            await self._aliases.renew(merge.winner, (), suppressed=bool(suppressed))

    async def carry(self, merge: Merge, aliases: Sequence[bytes]) -> None:
        """Have the loser's shard hand what was folded of it to the winner's, and have identities of the loser looked at
        again: what two customers claimed may be one's now. Once or more: the shard drops repeats."""
        with store_errors():
            looks = {claims(*found): 0 for key in aliases if (found := identity_of(key)) is not None}
            if looks:
                await self._client.zadd(CTL_CLAIMS_DUE, cast("Any", looks), lt=True)
            if self._bundle.features or self._bundle.outcomes.conversions:  # whose orders wait for a click
                entry = encode(carrying(merge.loser, merge.winner, merge.begun_ms))
                await self._client.xadd(self._keys.events(self._keys.shard_of(merge.loser)), {FIELD: entry})

    async def settle(self, merge: Merge, *, done: bool = True) -> None:
        """The merge is over, done or given up: the winner waits no longer. Raises Problem `durability_unmet`."""
        keys = (self._keys.profile(merge.winner), self._keys.merges(merge.winner), self._keys.history(merge.winner))
        ttl_ms = b"%d" % (self._bundle.profile_retention_s * 1000)
        end = b"done" if done else b"given up"
        call = Call(keys, (merge.loser.encode(), b"%d" % merge.begun_ms, ttl_ms, b"%d" % REMEMBERED_MS, end))
        with store_errors():
            self._check_disk(await SETTLE.run(self._client, [call], self._on_disk_within_ms))

    async def is_expected(self, loser: str, winner: str) -> bool:
        """Whether the winner still waits for what is on its way from the loser."""
        with store_errors():
            far = cast("bytes | None", await cast("Any", self._client.hget(self._keys.merges(winner), loser)))
        return far is not None and not far.endswith(b"d")

    async def strip(self, merge: Merge) -> None:
        """Delete what the loser held: the winner has it."""
        names = self._keys.of(merge.loser)
        with store_errors():
            keys = (names.profile, names.ledger, self._keys.aliases(merge.loser))
            if await self._run(STRIP, keys, (merge.winner.encode(),)):
                await self._client.delete(self._keys.mail(merge.loser))

    async def end(self, merge: Merge) -> None:
        """Forget the merge."""
        with store_errors():
            await self._run(END, (CTL_MERGES,), (merge.loser.encode(), b"%d" % merge.begun_ms))

    def _check_disk(self, ran: Ran) -> None:
        if self._strict and not ran.on_disk:
            raise Problem("durability_unmet", "the store did not confirm that the merge is on disk; it goes on")

    async def _run(self, script: Script, keys: tuple[bytes, ...], args: tuple[bytes, ...]) -> Any:
        return (await script.run(self._client, [Call(keys, args)])).replies[0]

    async def _noted(self, parts: Sequence[Any]) -> Merge:
        loser, winner, begun_ms, who_id, why = parts
        if self._fields.name_of(who_id) is None:
            await self._fields.refresh()
        who = (self._fields.name_of(who_id) or "w:").removeprefix("w:")
        return Merge(loser.decode(), winner.decode(), begun_ms, who, why.decode())

    async def _look(self, customer: str) -> Held:
        """The profile before the ledger: its versions are then never newer than what is seen of the ledger."""
        names = self._keys.of(customer)
        pipeline = self._client.pipeline(transaction=False)
        pipeline.time()
        pipeline.hgetall(names.profile)
        pipeline.zrange(names.ledger, 0, -1, withscores=True)
        (seconds, micros), profile, ledger = await pipeline.execute()
        entries = tuple((member, b"%d" % score) for member, score in ledger)
        return Held(int(seconds) * 1000 + int(micros) // 1000, profile, entries)

    async def _taken_in(self, winner: Held, loser: Held, name: str) -> TakenIn:
        try:
            return taken_in(winner, loser, name, self._fields, self._bundle)
        except UnknownField:  # another process has allocated ids since
            await self._fields.refresh()
            return taken_in(winner, loser, name, self._fields, self._bundle)

    def _unite_keys(self, merge: Merge) -> tuple[bytes, ...]:
        names, keys = self._keys.of(merge.winner), self._keys
        aliases, merges, history = keys.aliases(merge.winner), keys.merges(merge.winner), keys.history(merge.winner)
        return names.profile, names.ledger, aliases, merges, history

    def _unite_args(self, merge: Merge, winner: Held, loser: Held, taken: TakenIn) -> tuple[bytes, ...]:
        """In the order that the script describes. The loser's own keys are aliases of the winner from now on: so its
        pointer and its history live as long as the winner does."""
        pointing = (*loser.aliases, self._keys.profile(merge.loser), self._keys.history(merge.loser))
        packed = (
            [text.decode() for pair in taken.sets.items() for text in pair],
            [[text.decode() for text in (fill.field, fill.value, *_flat(fill.as_of))] for fill in taken.fills],
            [change.decode() for change in taken.changes],
            [key.decode() for key in pointing],
        )
        return (
            merge.loser.encode(),
            b"%d" % merge.begun_ms,
            winner.profile.get(GENERAL_VERSION, b"0"),
            winner.profile.get(LEDGER_VERSION, b"0"),
            b"%d" % (self._bundle.ledger_retention_s * 1000),
            self._fields.id_of(f"w:{merge.who}"),
            merge.why.encode(),
            b"1" if taken.lost else b"0",
            ormsgpack.packb(packed),
            *(part for member, score in taken.contacts for part in (score, member)),
        )


def _held(time: Sequence[bytes], profile: Sequence[bytes], ledger: Sequence[bytes], aliases: Iterable[bytes]) -> Held:
    now_ms = int(time[0]) * 1000 + int(time[1]) // 1000
    pairs = dict(zip(profile[::2], profile[1::2], strict=True))
    return Held(now_ms, pairs, tuple(zip(ledger[::2], ledger[1::2], strict=True)), tuple(aliases))


def _flat(pairs: Mapping[bytes, bytes]) -> Iterator[bytes]:
    return chain.from_iterable(pairs.items())
