"""Tombstones: writing one, in one step with the deletion of all else under the customer's key, and asking for them.

A tombstone is a profile that holds nothing but the suppression `erased` and which erasure it was, so that whoever reads
a profile heeds it and nothing more has to be read (docs/adr/0020-erasure.md says why it is not elsewhere).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

from redis.asyncio import Redis

from app.core.erasure import Erased
from app.errors import Problem
from app.store.customer_trouble import MovedTo, merged_into, store_errors
from app.store.customers import DURABLE_WITHIN_MS
from app.store.fields import FieldRegistry
from app.store.keys import Keys
from app.store.profile import ERASURE, MERGE, merge_of
from app.store.scripts import Call, Script

ERASE = Script.load("erase.lua")
#: From where the suppression says that it comes.
SOURCE = "erasure"


class Tombstones:
    """Writes and finds tombstones. Its methods raise Problem `store_unavailable`; repeating them is harmless."""

    def __init__(self, client: Redis, keys: Keys, fields: FieldRegistry, *, strict: bool = False) -> None:
        self._client = client
        self._keys = keys
        self._fields = fields
        self._strict = strict

    async def erase(self, customer: str, erasure: str) -> Erased | MovedTo | None:
        """Delete all that lies under a customer's key but a tombstone, which names `erasure`; or the earlier one, where
        it stands already. MovedTo: it became another customer; None: another one is on its way into it.

        Raises Problem `durability_unmet`."""
        names = self._keys.of(customer)
        with store_errors():
            await self._fields.ensure([f"s:{SOURCE}"])
            history, merges = self._keys.history(customer), self._keys.merges(customer)
            call = Call(
                (
                    names.profile,
                    names.features,
                    names.ledger,
                    history,
                    merges,
                    self._keys.aliases(customer),
                    self._keys.worker(names.shard),
                    self._keys.mail(customer),
                ),
                (erasure.encode(), self._fields.id_of(f"s:{SOURCE}")),
            )
            ran = await ERASE.run(self._client, [call], DURABLE_WITHIN_MS if self._strict else 0)
        reply = ran.replies[0]
        if reply[0] == b"merged":
            return MovedTo(reply[1].decode())
        if reply[0] == b"merging":
            return None
        if self._strict and not ran.on_disk:
            raise Problem("durability_unmet", "the customer is erased; whether it is on disk is not known: repeat it")
        return Erased(reply[1], reply[2].decode())

    async def erased_among(self, customers: Iterable[str]) -> dict[str, Erased]:
        """Which of these were erased. Who became another one is as erased as that one. One round trip; two where some
        became others."""
        asked = list(dict.fromkeys(customers))
        marks = await self._marks(asked)
        became = {name: into for name, (merge, _) in marks.items() if (into := merge_of(merge)[1]) is not None}
        others = await self._marks(became.values()) if became else {}
        found = {name: erased_of((others[became[name]] if name in became else marks[name])[1]) for name in asked}
        return {name: erased for name, erased in found.items() if erased is not None}

    async def standing(self, customer: str) -> Erased | None:
        """The erasure of a customer, while it is one."""
        found = (await self.erased_among([customer])).get(customer)
        return found if found is not None and found.erasure is not None else None

    async def all_who_became(self, customer: str) -> tuple[str, ...]:
        """The keys of customers who became this one; last its own."""
        with store_errors():
            held = cast("set[bytes]", await cast("Any", self._client.smembers(self._keys.aliases(customer))))
        names = {name for key in held if (name := self._keys.customer_of_profile(key)) is not None}
        return (*sorted(names - {customer}), customer)

    async def all_keys_of(self, customer: str) -> tuple[str, ...]:
        """All keys of whoever a customer is by now; last the one that the others became."""
        name = await self.became(customer)
        names = await self.all_who_became(name)
        return names if customer in names else (customer, *names)

    async def became(self, customer: str) -> str:
        """The customer that one has become; its own key where it has not."""
        with store_errors():
            return await merged_into(self._client, self._keys.profile(customer)) or customer

    async def _marks(self, customers: Iterable[str]) -> dict[str, list[bytes | None]]:
        names = list(dict.fromkeys(customers))
        with store_errors():
            pipeline = self._client.pipeline(transaction=False)
            for customer in names:
                pipeline.hmget(self._keys.profile(customer), [MERGE, ERASURE])
            return dict(zip(names, await pipeline.execute() if names else [], strict=True))


def erased_of(raw: bytes | None) -> Erased | None:
    """The field `!e` of a profile. None: the customer was never erased."""
    if raw is None:
        return None
    at_ms, _, erasure = raw.partition(b",")
    return Erased(int(at_ms), erasure.decode() or None)
