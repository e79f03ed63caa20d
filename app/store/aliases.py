"""Aliases: identity keys that point to a customer. Each lies in a slot of its own.

A customer's identity keys are remembered in a set beside the profile. They end when the profile does: they have its
time to live, and none while the customer is suppressed, since a suppressed person who comes back by an alias alone must
still be recognised. A kind of identity that the bundle wants deleted sooner ends so long after it was last told,
whatever else is written of the customer. The set also holds the profile and history keys of customers who became this
one: their pointers live as long as what they lead to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

from redis.asyncio import Redis

from app.core.customers import CustomerWrite
from app.core.identity import Alias, fallback_key, identity_hash
from app.core.keeping import Keeping
from app.errors import Problem
from app.store import keys as key_names
from app.store.keys import Keys
from app.store.profile import SUPPRESSION_COUNT
from app.store.scripts import Call, Script

GIVE_BACK = Script.load("give_back.lua")
REPOINT = Script.load("merge_repoint.lua")
#: How many times as long as a profile the pointers to it live. They are renewed later than the profile is, and one that
#: ended before it would open limits: a key that led here would be that of a stranger whom nobody has contacted.
POINTERS_LIVE = 2


class Renewal(NamedTuple):
    """A customer whose aliases live on: those that were `told` now, and whether no alias ends, for being suppressed."""

    customer: str
    told: Sequence[Alias]
    suppressed: bool


@dataclass(frozen=True, slots=True)
class Aliases:
    """Claims, renews and gives back the aliases of customers."""

    client: Redis
    keys: Keys
    hash_key: bytes
    keeping: Keeping

    def key_of(self, alias: Alias) -> bytes:
        """Where an alias lies. Raises Problem `store_unavailable` while the deployment's hash key is not known: a hash
        without it could be compared with any list of addresses."""
        if not self.hash_key:
            raise Problem("store_unavailable", "the hash key is not read from the store yet", retry_after_s=1)
        return key_names.identity(alias.kind, identity_hash(alias.kind, alias.value, self.hash_key))

    async def customer_of(self, alias: Alias) -> str | None:
        """The customer that an alias is linked to."""
        found = cast("bytes | None", await self.client.get(self.key_of(alias)))
        return None if found is None else found.decode()

    async def customers_of(self, aliases: Sequence[Alias]) -> dict[Alias, str]:
        """The customer of each; of one that is linked to nobody, its own (`fallback_key`)."""
        pipeline = self.client.pipeline(transaction=False)
        for alias in aliases:
            pipeline.get(self.key_of(alias))
        return {
            alias: fallback_key(alias.kind, alias.value, self.hash_key) if owner is None else owner.decode()
            for alias, owner in zip(aliases, await pipeline.execute(), strict=True)
        }

    async def claim(self, writes: Sequence[CustomerWrite]) -> list[tuple[bytes, ...] | Problem]:
        """For each write, link its identities to its customer: the keys that are newly linked, or, when one belongs to
        another customer, `identity_conflict`, and then none is linked."""
        wanted = [[self.key_of(alias) for alias in write.identities] for write in writes]
        if not any(wanted):
            return [()] * len(writes)
        owners = iter(await self._set_if_free(writes, wanted))
        claims: list[tuple[bytes, ...] | Problem] = []
        for write, identity_keys in zip(writes, wanted, strict=True):
            owner_of = {key: next(owners) for key in identity_keys}  # None: it was free, and is linked now
            new = tuple(key for key, owner in owner_of.items() if owner is None)
            taken = [key for key, owner in owner_of.items() if owner not in (None, write.customer.encode())]
            if taken:
                await self.give_back(write.customer, new)
                kind = write.identities[identity_keys.index(taken[0])].kind
                claims.append(Problem("identity_conflict", f"this `{kind}` is linked to another customer"))
            else:
                claims.append(new)
        return claims

    async def take_over(self, customer: str, others: Mapping[bytes, str]) -> None:
        """Link identity keys to a customer that were linked to others, who were erased: the person came back. Does
        nothing where one of them is linked elsewhere by now."""
        if others:
            calls = [Call((key,), (other.encode(), customer.encode())) for key, other in others.items()]
            await REPOINT.run(self.client, calls)
            pipeline = self.client.pipeline(transaction=False)
            for key, other in others.items():
                pipeline.srem(self.keys.aliases(other), key)
            await pipeline.execute()

    async def give_back(self, customer: str, identity_keys: Sequence[bytes]) -> None:
        """Unlink what was claimed for a write that was refused."""
        if identity_keys:
            await GIVE_BACK.run(self.client, [Call((key,), (customer.encode(),)) for key in identity_keys])

    async def renew(self, customer: str, told: Sequence[Alias], *, suppressed: bool) -> None:
        """Give all aliases of a customer their full time to live, or none while the customer is suppressed. Those that
        are deleted sooner than the profile are renewed only when they were `told` again."""
        await self.renew_many([Renewal(customer, told, suppressed)])

    async def renew_many(self, renewals: Sequence[Renewal]) -> None:
        """Of many customers, in two round trips."""
        if not renewals:
            return
        pipeline = self.client.pipeline(transaction=False)
        for each in renewals:
            pipeline.smembers(self.keys.aliases(each.customer))
        held = cast("list[set[bytes]]", await pipeline.execute())
        sooner = {
            prefix: keep_s
            for kind, keep_s in self.keeping.aliases_s.items()
            for prefix in (key_names.identity_prefix(kind), key_names.claims_prefix(kind))
        }
        pipeline = self.client.pipeline(transaction=False)
        for each, identity_keys in zip(renewals, held, strict=True):
            told_now = {self.key_of(alias) for alias in each.told}
            remembered = self.keys.aliases(each.customer)
            for key in (remembered, *identity_keys):
                keep_s = sooner.get(key[: key.find(b":", 4) + 1]) if sooner else None
                if each.suppressed:
                    pipeline.persist(key)
                elif key.startswith(b"{") and key != remembered:  # the keys of who became this customer
                    pipeline.expire(key, POINTERS_LIVE * self.keeping.profile_s)
                elif keep_s is None:
                    pipeline.expire(key, self.keeping.profile_s)
                else:
                    pipeline.expire(key, keep_s, nx=key not in told_now)
        await pipeline.execute()

    async def renew_as_held(self, customers: Sequence[str]) -> None:
        """Of customers of whom it is to be seen first whether they are suppressed."""
        pipeline = self.client.pipeline(transaction=False)
        for customer in customers:
            pipeline.hexists(self.keys.profile(customer), SUPPRESSION_COUNT)
        held = await pipeline.execute()
        await self.renew_many([Renewal(name, (), bool(each)) for name, each in zip(customers, held, strict=True)])

    async def _set_if_free(
        self, writes: Sequence[CustomerWrite], wanted: Sequence[Sequence[bytes]]
    ) -> list[bytes | None]:
        pipeline = self.client.pipeline(transaction=False)
        for write, identity_keys in zip(writes, wanted, strict=True):
            for alias, key in zip(write.identities, identity_keys, strict=True):
                keep_s = self.keeping.aliases_s.get(alias.kind, self.keeping.profile_s)
                pipeline.set(key, write.customer, nx=True, get=True, ex=keep_s)
        return await pipeline.execute()
