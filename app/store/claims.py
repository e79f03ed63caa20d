"""What is told of identities, in the store: claims of them, what is due to be settled, links.

    idc:<kind>:<keyed hash>   which customers an identity was told together with (claims_record.lua describes it)
    ctl:claims_due            when somebody must look at an identity, or make a customer another one
    {s}:a:<customer>          among others the identities that a customer claims, so that they are found from there

Each identity lies in a slot of its own. What is taken down is taken down before it counts as done: whoever dies in
between has it told again, which is harmless.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any, cast

from redis.asyncio import Redis

from app.core.events.event import Edge
from app.core.identity import Kind, identity_hash
from app.core.identity_graph import CLAIMS_MAX, Alias, Claim
from app.core.keeping import Keeping
from app.store import keys as key_names
from app.store.aliases import POINTERS_LIVE, Aliases
from app.store.claim_entries import Due, Told, alias_member, claims_key, link_key, told_of, what_is_due
from app.store.customer_trouble import merged_into, store_errors
from app.store.customers import OnLinked
from app.store.keys import CTL_CLAIMS_DUE, CTL_WATERMARKS, Keys
from app.store.profile import MERGE, SUPPRESSION_COUNT, merge_of, suppression_field
from app.store.scripts import Call, Script
from policy.codes import SuppressionReason

RECORD = Script.load("claims_record.lua")
REMEMBER = Script.load("claims_remember.lua")
TAKE = Script.load("claims_take.lua")
DONE = Script.load("claims_done.lua")
CLOSE = Script.load("claims_close.lua")
LINK = Script.load("claims_link.lua")
ERASED = suppression_field("*", SuppressionReason.ERASED)
#: Keys that may point to a customer: about 500 visitors' ids, each with what it was before. Of `user_id: "null"`, which
#: some client sends for everybody, there would be millions, and each of them one customer with all the others.
CROWD = 1_500
#: Due at once. Scores are Unix ms.
AT_ONCE = 0
#: What somebody has taken is taken again after this long, if nothing became of it.
PUT_OFF_MS = 10_000
#: Claims that need not be taken down again: most events repeat what the one before said. About 200 bytes each.
RECENT_MAX = 50_000
#: So that what is told every day keeps what is kept of it alive.
RECENT_S = 3_600.0


class ClaimStore:
    """Claims of identities. One a process. Every method raises Problem `store_unavailable`; repeating is harmless."""

    def __init__(self, client: Redis, keys: Keys, hash_key: bytes, keeping: Keeping) -> None:
        self._client = client
        self._keys = keys
        self._keeping = keeping
        self._aliases = Aliases(client, keys, hash_key, keeping)
        self.hash_key = hash_key
        #: Hears the keyed hashes of addresses that are linked by now.
        self.on_linked: OnLinked | None = None
        self._recent: dict[Claim, int] = {}  # with time 0 → the earliest time that is taken down
        self._recent_until_s = 0.0

    async def record(self, claims: Iterable[Claim], lateness_ms: int) -> bool:
        """Take claims down. `lateness_ms`: how long after the first telling an identity is settled. Whether something
        is due at once."""
        fresh = self._fresh(claims)
        if not fresh:
            return False
        with store_errors():
            identities = list(dict.fromkeys(claim.identity for claim in fresh))
            replies = (await RECORD.run(self._client, [self._record(each, fresh) for each in identities])).replies
            states = dict(zip(identities, replies, strict=True))
            await self._remember(fresh, states)
            due = {
                claims_key(identity): AT_ONCE if marked else int(first) + lateness_ms
                for identity, (is_open, first, marked) in states.items()
                if is_open
            }
            if due:
                await self._client.zadd(CTL_CLAIMS_DUE, cast("Any", due), lt=True)
        self._recent |= {claim._replace(at_ms=0): claim.at_ms for claim in fresh}
        return AT_ONCE in due.values()

    async def note(self, aliases: Iterable[Alias]) -> None:
        """Note that these customers shall become others, at once."""
        with store_errors():
            await self._client.zadd(CTL_CLAIMS_DUE, {alias_member(each): AT_ONCE for each in aliases}, lt=True)

    async def complete_until_ms(self) -> int:
        """Until when (Unix ms, the store's clock) all events that were received are applied; 0: nobody can tell, since
        some shard was never worked off."""
        with store_errors():
            marks = cast("dict[bytes, bytes]", await cast("Any", self._client.hgetall(CTL_WATERMARKS)))
        applied = [marks.get(b"s:%d" % shard) for shard in range(self._keys.shards)]
        return min(0 if at_ms is None else int(at_ms) for at_ms in applied)

    async def take(self, until_ms: int, at_most: int) -> list[Due]:
        """What is due by then, for this process for a while."""
        args = (b"%d" % until_ms, b"%d" % PUT_OFF_MS, b"%d" % at_most)
        with store_errors():
            ran = await TAKE.run(self._client, [Call((CTL_CLAIMS_DUE,), args)])
        put_off, *members = ran.replies[0]
        return [Due(what_is_due(member), member, int(put_off)) for member in members]

    async def done(self, due: Due, again_ms: int | None) -> None:
        """What was taken is done; or must be looked at `again_ms`."""
        again = b"" if again_ms is None else b"%d" % again_ms
        with store_errors():
            await DONE.run(self._client, [Call((CTL_CLAIMS_DUE,), (due.member, b"%d" % due.put_off_ms, again))])

    async def told(self, identities: Sequence[Edge]) -> list[Told]:
        """What is known of each."""
        with store_errors():
            pipeline = self._client.pipeline(transaction=False)
            for identity in identities:
                pipeline.hgetall(claims_key(identity))
                pipeline.get(link_key(identity))
            replies = await pipeline.execute()
        return [told_of(*pair) for pair in zip(replies[::2], replies[1::2], strict=True)]

    async def known_as(self, customers: Iterable[str]) -> dict[str, str]:
        """Who each of these is by now: what a user id is linked to, and whom that became."""
        told = list(dict.fromkeys(customers))
        with store_errors():
            pipeline = self._client.pipeline(transaction=False)
            for customer in told:
                pipeline.get(key_names.identity("user_id", identity_hash("user_id", customer, self.hash_key)))
            links = await pipeline.execute() if told else []
            names = [customer if link is None else link.decode() for customer, link in zip(told, links, strict=True)]
            return dict(zip(told, await self._became(names), strict=True))

    async def became(self, customer: str) -> str:
        """The customer that one has become; its own key where it has not."""
        with store_errors():
            return await merged_into(self._client, self._keys.profile(customer)) or customer

    async def knows(self, customer: str) -> bool:
        """Whether anything is known of a customer, if only whom it became."""
        names = self._keys.of(customer)
        with store_errors():
            return bool(await self._client.exists(names.profile, names.ledger, names.features))

    async def is_erased(self, customers: Iterable[str]) -> bool:
        """Whether one of these was erased: nothing may become theirs, nor may they become anybody."""
        with store_errors():
            pipeline = self._client.pipeline(transaction=False)
            for customer in customers:
                pipeline.hexists(self._keys.profile(customer), ERASED)
            return any(await pipeline.execute())

    async def is_crowd(self, customer: str) -> bool:
        """Whether more is linked to a customer than to a person: an id that a mistake gives to everybody."""
        with store_errors():
            return bool(await cast("Any", self._client.scard(self._keys.aliases(customer))) > CROWD)

    async def link(
        self, identity: Edge, customer: str, given_up_by: Iterable[str] = (), *, for_long: bool = False
    ) -> str:
        """Link an identity to a customer where it is free, or linked to one who gives it up; whose it is then.
        `for_long`: as long as a pointer lives, and nobody's in particular."""
        keep_s = self._keeping.aliases_s.get(identity.kind, self._keeping.profile_s)
        keep_s = POINTERS_LIVE * self._keeping.profile_s if for_long else keep_s
        key = link_key(identity)
        args = (customer.encode(), b"%d" % keep_s, *(each.encode() for each in given_up_by))
        with store_errors():
            holder: str = (await LINK.run(self._client, [Call((key,), args)])).replies[0].decode()
            if holder == customer and not for_long:
                await REMEMBER.run(self._client, [self._remembering(customer, [key], [claims_key(identity)])])
                suppressed = await cast("Any", self._client.hexists(self._keys.profile(customer), SUPPRESSION_COUNT))
                await self._aliases.renew(customer, (), suppressed=bool(suppressed))
        if self.on_linked is not None and identity.kind == "email_sha256":
            await self.on_linked([identity.hash.hex()])
        return holder

    async def close(self, identity: Edge, changes: int, mark: bytes = b"", value: str = "") -> bool:
        """An identity was looked at. False: it was claimed anew meanwhile."""
        call = Call((claims_key(identity),), (b"%d" % changes, mark, value.encode()))
        with store_errors():
            return bool((await CLOSE.run(self._client, [call])).replies[0])

    async def identities_of(self, customer: str) -> list[Edge]:
        """All identities that are linked to a customer, or that it claims."""
        with store_errors():
            held = cast("set[bytes]", await cast("Any", self._client.smembers(self._keys.aliases(customer))))
        found = {edge for key in held if (edge := key_names.identity_of(key)) is not None}
        return sorted((Edge(cast("Kind", kind), bytes.fromhex(digest)) for kind, digest in found))

    def _fresh(self, claims: Iterable[Claim]) -> list[Claim]:
        """Those that say more than what was taken down lately."""
        now_s = asyncio.get_running_loop().time()
        if now_s > self._recent_until_s or len(self._recent) > RECENT_MAX:
            self._recent, self._recent_until_s = {}, now_s + RECENT_S
        fresh: dict[Claim, int] = {}
        for claim in claims:
            name, at_ms = claim._replace(at_ms=0), claim.at_ms
            if at_ms < fresh.get(name, at_ms + 1) and at_ms < self._recent.get(name, at_ms + 1):
                fresh[name] = at_ms
        return [name._replace(at_ms=at_ms) for name, at_ms in fresh.items()]

    def _record(self, identity: Edge, claims: Iterable[Claim]) -> Call:
        keep_s = self._keeping.aliases_s.get(identity.kind, self._keeping.profile_s)
        own = [claim for claim in claims if claim.identity == identity]
        told = (part for claim in own for part in (claim.customer.encode(), b"%d" % claim.at_ms))
        return Call((claims_key(identity),), (b"%d" % (keep_s * 1000), b"%d" % CLAIMS_MAX, *told))

    async def _remember(self, claims: Sequence[Claim], states: dict[Edge, Any]) -> None:
        """Beside each customer, what it claims and is not settled."""
        told = [claim for claim in claims if states[claim.identity][0] or not states[claim.identity][2]]
        customers = list(dict.fromkeys(claim.customer for claim in told))
        became = dict(zip(customers, await self._became(customers), strict=True))
        wanted: dict[str, list[bytes]] = {}
        for claim in told:
            wanted.setdefault(became[claim.customer], []).append(claims_key(claim.identity))
        if wanted:
            await REMEMBER.run(self._client, [self._remembering(name, held) for name, held in wanted.items()])

    def _remembering(self, customer: str, held: Sequence[bytes], no_longer: Sequence[bytes] = ()) -> Call:
        keep_ms = b"%d" % (self._keeping.profile_s * 1000)
        args = (keep_ms, b"%d" % (CROWD + 1), b"%d" % len(no_longer), *no_longer, *held)
        return Call((self._keys.aliases(customer),), args)

    async def _became(self, customers: Sequence[str]) -> list[str]:
        pipeline = self._client.pipeline(transaction=False)
        for customer in customers:
            pipeline.hget(self._keys.profile(customer), MERGE)
        marks = await pipeline.execute() if customers else []
        return [merge_of(mark)[1] or customer for customer, mark in zip(customers, marks, strict=True)]
