"""Conversions of customers in the store: kept until they are attributed, with the contacts that they may belong to.

They lie in the customer's own slot (`{s}:w:<customer>`, fields `v…`), so that merging, erasing and exporting a customer
takes them along. Two scripts: what is kept already stays, and what moved meanwhile is not moved again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from app.core.attribution import KEPT_MS, Claim, Contact, read_claims
from app.core.decision.ids import parse_id, unpack_id
from app.core.standing import Known
from app.store.keys import Keys
from app.store.link import Link
from app.store.resp import pack
from app.store.round_trips import asked
from app.store.scripts import Script

CLAIM_CONVERSIONS = Script.load("claim_conversions.lua")
MOVE_CONVERSION = Script.load("move_conversion.lua")
#: Of one customer. More orders than this in 90 days are no person's; those that come then are not attributed.
CLAIMS_MAX = 200
#: The latest contacts that a conversion is looked for among. Limits keep people far below it.
CONTACTS_MAX = 128
ID_BYTES = 14
#: Who became another customer who became another one … pointers are one deep but for an instant.
STEPS_MAX = 4


class Kept(NamedTuple):
    """All conversions of a customer, under the key that it has by now."""

    customer: str
    claims: list[Claim]
    fresh: frozenset[bytes] = frozenset()  # keys of those that were not kept before


class ConversionStore:
    """Raises StoreError and ReplyError."""

    def __init__(self, link: Link, keys: Keys) -> None:
        self._link = link
        self._keys = keys

    async def keep(self, claims: Mapping[str, Sequence[Claim]]) -> list[Kept]:
        """Keep what customers claim, where it is not kept yet, and tell all that is; of nobody who was erased. Who
        claims nothing new is only read."""
        kept: dict[str, Kept] = {}
        waiting = {customer: list(theirs) for customer, theirs in claims.items()}
        for _ in range(STEPS_MAX):
            names = list(waiting)
            replies = await asked(self._link, [self._keep(name, waiting[name]) for name in names])
            onward: dict[str, list[Claim]] = {}
            for name, (said, *rest) in zip(names, replies, strict=True):
                if said == b"merged":
                    onward.setdefault(rest[0].decode(), []).extend(waiting[name])
                elif said == b"ok":
                    before, *fields = rest
                    found = read_claims(dict(zip(fields[::2], fields[1::2], strict=True)))
                    kept[name] = Kept(name, found, frozenset(fields[2 * before :: 2]))
            if not onward:
                break
            waiting = onward
        return list(kept.values())

    def _keep(self, customer: str, claims: Sequence[Claim]) -> bytes:
        flat = [part for claim in claims for part in (claim.key, claim.encode())]
        keys = (self._keys.profile(customer), self._keys.mail(customer))
        return pack("EVALSHA", CLAIM_CONVERSIONS.sha, len(keys), *keys, KEPT_MS, CLAIMS_MAX, *flat)

    async def contacts(self, customers: Sequence[str]) -> list[list[Contact]]:
        """The latest contacts of each, with what is known of them."""
        names = [self._keys.of(customer) for customer in customers]
        ledgers = await asked(self._link, [pack("ZREVRANGE", each.ledger, 0, CONTACTS_MAX - 1) for each in names])
        decisions = [[member[:ID_BYTES] for member in ledger] for ledger in ledgers]
        commands = [
            pack("HGETALL", key)
            for each, theirs in zip(names, decisions, strict=True)
            for decision in theirs
            for key in self._outcome_keys(each.shard, decision)
        ]
        replies = iter(await asked(self._link, commands))
        found = []
        for each, theirs in zip(names, decisions, strict=True):
            contacts = []
            for decision in theirs:
                told = [next(replies) for _ in self._outcome_keys(each.shard, decision)]
                flat: list[bytes] = next((each for each in told if each), [])
                contacts.append(Contact(decision, Known.of(dict(zip(flat[::2], flat[1::2], strict=True)))))
            found.append(contacts)
        return found

    def _outcome_keys(self, shard: int, decision: bytes) -> list[bytes]:
        """Where a contact's outcomes may lie: with the customer whom it counts for, or, if nothing was told since that
        customer took over another one's, still there."""
        text = unpack_id(decision)
        parsed = parse_id(text)
        shards = dict.fromkeys((shard, shard if parsed is None else parsed.shard % self._keys.shards))
        return [self._keys.outcomes(each, text.encode()) for each in shards]

    async def move(self, moves: Sequence[tuple[str, Claim, Claim]]) -> list[bool]:
        """Put each customer's claim in the place of what was read; whether it was that still."""
        commands = [
            pack("EVALSHA", MOVE_CONVERSION.sha, 1, self._keys.mail(customer), was.key, was.encode(), now.encode())
            for customer, was, now in moves
        ]
        return [bool(each) for each in await asked(self._link, commands)]
