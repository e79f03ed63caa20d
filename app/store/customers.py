"""Customers in the store: writes that are merged atomically, suppressions, and all that is stored of one customer.

Every write is one script run on the customer's own slot; it is acknowledged only after the script's reply, from when on
it wins over any decision that has not committed (guarantee G3). Aliases lie in slots of their own: they are claimed
before the write, and given back when the write is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from redis.asyncio import Redis
from redis.exceptions import RedisError

from app.core.customers import CustomerWrite
from app.errors import Problem
from app.store.aliases import Aliases
from app.store.customer_writes import NOW, names_needed, pack_write
from app.store.fields import FieldRegistry
from app.store.keys import Keys
from app.store.profile import (
    UPDATED,
    Profile,
    UnknownField,
    describe_profile,
    suppression_field,
    suppression_of,
)
from app.store.scripts import Call, Script
from policy.codes import SuppressionReason

WRITE = Script.load("write_customer.lua")
SUPPRESS = Script.load("suppress.lua")
LIFT = Script.load("lift.lua")
#: How long `strict` durability waits for the disk before it answers 503 `durability_unmet`.
DURABLE_WITHIN_MS = 1_000


class Written(NamedTuple):
    """An acknowledged write. `applied` has an entry for each consent: whether it is in force now, or lost to a later or
    a stricter one that was stored before."""

    customer: str
    at_ms: int
    general_version: int
    applied: tuple[bool, ...] = ()


class Lifted(NamedTuple):
    """Suppressions that were lifted, and how many are left, in all scopes."""

    general_version: int
    reasons: tuple[SuppressionReason, ...]
    left: int


class CustomerStore:
    """Reads and writes of customers.

    `retention_s` is how long a profile lives after its last write; a suppressed one lives without an end. `strict`
    waits until each write is on disk. Every method raises Problem: `store_unavailable` when the store failed, and then
    the write happened in whole or not at all; repeating it is harmless.
    """

    def __init__(
        self,
        client: Redis,
        keys: Keys,
        fields: FieldRegistry,
        hash_key: bytes,
        retention_s: int,
        *,
        strict: bool = False,
    ) -> None:
        self.aliases = Aliases(client, keys, hash_key, retention_s)
        self._client = client
        self._keys = keys
        self._fields = fields
        self._ttl_ms = retention_s * 1000
        self._strict = strict

    async def write(self, write: CustomerWrite) -> Written:
        """Merge one write; raises Problem: `future_time`, `identity_conflict`."""
        (result,) = await self.write_many([write])
        if isinstance(result, Problem):
            raise result
        return result

    async def write_many(self, writes: Sequence[CustomerWrite]) -> list[Written | Problem]:
        """Merge many writes in order, in one round trip (and one more where aliases are claimed). One that is refused
        does not hold up the others."""
        with _store_errors():
            claims = await self.aliases.claim(writes)
            allowed = [w for w, claim in zip(writes, claims, strict=True) if not isinstance(claim, Problem)]
            replies = iter(await self._run(WRITE, await self._write_calls(allowed)))
            results: list[Written | Problem] = []
            for write, claim in zip(writes, claims, strict=True):
                if isinstance(claim, Problem):
                    results.append(claim)
                else:
                    results.append(await self._settle(write, claim, next(replies)))
        return results

    async def suppress(
        self, customer: str, scope: str, reason: SuppressionReason, source: str, at_ms: int | None
    ) -> Written:
        """Add a suppression, to a customer known or not; `at_ms` None means now. Raises Problem `future_time`."""
        with _store_errors():
            await self._fields.ensure([f"s:{source}"])
            at = b"%d" % (NOW if at_ms is None else at_ms)
            args = (suppression_field(scope, reason), self._fields.id_of(f"s:{source}"), at)
            (reply,) = await self._run(SUPPRESS, [Call((self._keys.profile(customer),), args)])
            if reply[0] == 0:
                raise _future_time()
            await self.aliases.renew(customer, suppressed=True)
        return Written(customer, reply[1], reply[2])

    async def lift(self, customer: str, scope: str, reasons: Sequence[SuppressionReason]) -> Lifted:
        """Lift suppressions of one scope; raises Problem `unknown_customer`."""
        with _store_errors():
            fields = [suppression_field(scope, reason) for reason in reasons]
            call = Call((self._keys.profile(customer),), (b"%d" % self._ttl_ms, *fields))
            (reply,) = await self._run(LIFT, [call])
            if not reply:
                raise unknown_customer()
            version, left, *lifted = reply
            if lifted and not left:
                await self.aliases.renew(customer, suppressed=False)
        return Lifted(version, tuple(suppression_of(field, None).reason for field in lifted), left)

    async def read(self, customer: str) -> tuple[Profile, int]:
        """All that is stored of a customer, and how many contacts its ledger holds; raises Problem
        `unknown_customer`."""
        names = self._keys.of(customer)
        with _store_errors():
            pipeline = self._client.pipeline(transaction=False)
            pipeline.hgetall(names.profile)
            pipeline.zcard(names.ledger)
            stored, contacts = await pipeline.execute()
            if UPDATED not in stored:
                raise unknown_customer()
            try:
                return describe_profile(stored, self._fields), contacts
            except UnknownField:  # another process has allocated ids since
                await self._fields.refresh()
                return describe_profile(stored, self._fields), contacts

    async def _settle(self, write: CustomerWrite, claim: tuple[bytes, ...], reply: list[Any]) -> Written | Problem:
        """What a write's reply means, and what it leaves to do for the customer's aliases."""
        if reply[0] == 0:
            await self.aliases.give_back(write.customer, claim)
            return _future_time()
        _, at_ms, version, applied, renew, suppressions = reply
        if renew:
            await self.aliases.renew(write.customer, suppressed=suppressions > 0)
        return Written(write.customer, at_ms, version, tuple(flag == ord("1") for flag in applied))

    async def _run(self, script: Script, calls: Sequence[Call]) -> list[Any]:
        if not calls:
            return []
        ran = await script.run(self._client, calls, DURABLE_WITHIN_MS if self._strict else 0)
        if self._strict and not ran.on_disk:
            raise Problem("durability_unmet", "the write was made, but the store did not confirm that it is on disk")
        return ran.replies

    async def _write_calls(self, writes: Sequence[CustomerWrite]) -> list[Call]:
        try:
            return [self._write_call(write) for write in writes]
        except KeyError:  # a name that is new to this process: once in a long while
            await self._fields.ensure(names_needed(writes))
            return [self._write_call(write) for write in writes]

    def _write_call(self, write: CustomerWrite) -> Call:
        identity_keys = [self.aliases.key_of(alias) for alias in write.identities]
        packed = pack_write(write, self._fields, self._ttl_ms, identity_keys)
        return Call((self._keys.profile(write.customer), self._keys.aliases(write.customer)), (packed,))


def unknown_customer() -> Problem:
    return Problem("unknown_customer", "nothing was ever written about this customer")


def _future_time() -> Problem:
    return Problem("future_time", "`at` lies more than 5 s ahead of the store's clock; leave it out to mean now")


@contextmanager
def _store_errors() -> Iterator[None]:
    """Any failure of the store is one problem to callers; its text stays here, since it may quote what was sent."""
    try:
        yield
    except (RedisError, OSError) as error:
        detail = (
            f"the store failed (`{type(error).__name__}`); the write may or may not have happened, and can be repeated"
        )
        raise Problem("store_unavailable", detail, retry_after_s=1) from error
