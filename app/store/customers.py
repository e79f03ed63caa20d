"""Customers in the store: writes that are merged atomically, and suppressions.

Every write is one script run on the customer's own slot, which also keeps it as history; it is acknowledged only after
the script's reply, from when on it wins over any decision that has not committed (guarantee G3). Aliases lie in slots
of their own: they are claimed before the write, and given back when the write is refused.

What is written of a customer who was merged into another is written of that other one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, TypeAlias, cast

from redis.asyncio import Redis

from app.core.customers import CustomerWrite
from app.core.keeping import Keeping
from app.errors import Problem
from app.store.aliases import Aliases, Renewal
from app.store.customer_trouble import MovedTo, erased, follow, merged_into, merging, store_errors, unknown_customer
from app.store.customer_writes import NOW, names_needed, pack_write
from app.store.fields import FieldRegistry
from app.store.keys import Keys
from app.store.profile import ERASURE, is_tombstone, suppression_field, suppression_of
from app.store.scripts import Call, Script
from policy.codes import SuppressionReason

WRITE = Script.load("write_customer.lua", "history.lua")
SUPPRESS = Script.load("suppress.lua", "history.lua")
LIFT = Script.load("lift.lua", "history.lua")
#: First word of a script's reply; only with `DONE` anything was written.
REFUSED, DONE, MERGED, ENDS_EARLY, ERASED = range(5)
#: How long `strict` durability waits for the disk before it answers 503 `durability_unmet`.
DURABLE_WITHIN_MS = 1_000
#: Who is named in the history where no keys are configured, so that callers are not told apart.
LOOPBACK = "loopback"


OnLinked: TypeAlias = Callable[[Iterable[str]], Awaitable[None]]


class Written(NamedTuple):
    """An acknowledged write. `customer` is whose it became: of one who was merged into another, the other.

    `applied` has an entry for each consent: whether it is in force now, or lost to a later or a stricter one that was
    stored before. `dropped` names attributes that the bundle wants not kept.
    """

    customer: str
    at_ms: int
    general_version: int
    applied: tuple[bool, ...] = ()
    dropped: tuple[str, ...] = ()


class Lifted(NamedTuple):
    """Suppressions that were lifted, and how many are left, in all scopes."""

    customer: str
    general_version: int
    reasons: tuple[SuppressionReason, ...]
    left: int


class CustomerStore:
    """Writes of customers.

    `keeping` says how long a profile lives after its last write; a suppressed one lives without an end. `strict` waits
    until each write is on disk. `who` is named in the history. Every method raises Problem: `store_unavailable` when
    the store failed, and then the write happened in whole or not at all; repeating it is harmless.
    """

    def __init__(
        self,
        client: Redis,
        keys: Keys,
        fields: FieldRegistry,
        hash_key: bytes,
        keeping: Keeping,
        *,
        strict: bool = False,
        who: str = LOOPBACK,
        on_linked: OnLinked | None = None,
    ) -> None:
        """`on_linked` hears the keyed hashes of addresses that are linked by now, before a write is acknowledged."""
        self.aliases = Aliases(client, keys, hash_key, keeping)
        self._client = client
        self._keys = keys
        self._fields = fields
        self._keeping = keeping
        self._strict = strict
        self._who = who
        self._on_linked = on_linked

    async def write(self, write: CustomerWrite) -> Written:
        """Merge one write; raises Problem: `future_time`, `invalid_request`, `identity_conflict`, `erased`."""
        (result,) = await self.write_many([write])
        if isinstance(result, Problem):
            raise result
        return result

    async def write_many(self, writes: Sequence[CustomerWrite]) -> list[Written | Problem]:
        """Merge many writes in order, in one round trip (and one more where aliases are claimed, or where customers
        became others, or are told by an alias). One that is refused does not hold up the others."""
        with store_errors():
            writes = await self._found(writes)
            results = await self._write_once(writes)
            moved = [
                (place, replace(writes[place], customer=result.customer))
                for place, result in enumerate(results)
                if isinstance(result, MovedTo)
            ]
            again = await self._write_once([write for _, write in moved]) if moved else []
            for (place, _), result in zip(moved, again, strict=True):
                results[place] = result
        return [merging() if isinstance(result, MovedTo) else result for result in results]

    async def suppress(
        self, customer: str, scope: str, reason: SuppressionReason, source: str, at_ms: int | None, why: str = ""
    ) -> Written:
        """Add a suppression, to a customer known or not; `at_ms` None means now. Raises Problem `future_time`."""

        async def once(customer: str) -> Written | MovedTo:
            await self._fields.ensure([f"s:{source}", f"w:{self._who}"])
            at = b"%d" % (NOW if at_ms is None else at_ms)
            args = (suppression_field(scope, reason), self._fields.id_of(f"s:{source}"), at, *self._signed(why))
            (reply,) = await self._run(SUPPRESS, [Call(self._profile_and_history(customer), args)])
            if reply[0] == MERGED:
                return MovedTo(reply[1].decode())
            if reply[0] == REFUSED:
                raise _future_time()
            await self.aliases.renew(customer, (), suppressed=True)
            return Written(customer, reply[1], reply[2])

        return await follow(customer, once)

    async def lift(self, customer: str, scope: str, reasons: Sequence[SuppressionReason], why: str = "") -> Lifted:
        """Lift suppressions of one scope, and of a channel those of groups within it; raises Problem
        `unknown_customer`."""

        async def once(customer: str) -> Lifted | MovedTo:
            await self._fields.ensure([f"w:{self._who}"])
            fields = [suppression_field(scope, reason) for reason in reasons]
            fields += await self._of_groups(customer, scope, reasons)
            args = (b"%d" % (self._keeping.profile_s * 1000), *self._signed(why), *fields)
            (reply,) = await self._run(LIFT, [Call(self._profile_and_history(customer), args)])
            if reply[0] == MERGED:
                return MovedTo(reply[1].decode())
            if reply[0] == REFUSED:
                raise unknown_customer()
            _, version, left, *lifted = reply
            if lifted and not left:
                await self.aliases.renew(customer, (), suppressed=False)
            return Lifted(customer, version, tuple(suppression_of(field, None).reason for field in lifted), left)

        return await follow(customer, once)

    async def _of_groups(self, customer: str, channel: str, reasons: Sequence[SuppressionReason]) -> list[bytes]:
        """Where suppressions of groups within a channel lie."""
        with store_errors():
            held = cast("list[bytes]", await self._client.hkeys(self._keys.profile(customer)))
        inside, wanted = f"-{channel}/".encode(), tuple(f":{reason}".encode() for reason in reasons)
        return [field for field in held if field.startswith(inside) and field.endswith(wanted)]

    async def _found(self, writes: Sequence[CustomerWrite]) -> Sequence[CustomerWrite]:
        """Whom each is about. An alias that is linked to nobody is linked to its own customer from now on: who comes to
        be known by it later then has to become that one, and takes in what was said here."""
        about = {write.about for write in writes if write.about is not None}
        if not about:
            return writes
        customers = await self.aliases.customers_of(tuple(about))
        found = []
        for write in writes:
            alias = write.about
            if alias is None:
                found.append(write)
            else:
                identities = write.identities if alias in write.identities else (*write.identities, alias)
                found.append(replace(write, customer=customers[alias], identities=identities, about=None))
        return found

    async def _write_once(self, writes: Sequence[CustomerWrite]) -> list[Written | Problem | MovedTo]:
        claims = await self.aliases.claim(writes)
        allowed = [w for w, claim in zip(writes, claims, strict=True) if not isinstance(claim, Problem)]
        replies = iter(await self._run(WRITE, await self._write_calls(allowed)))
        results: list[Written | Problem | MovedTo] = []
        renewals: list[Renewal] = []
        for write, claim in zip(writes, claims, strict=True):
            if isinstance(claim, Problem):
                results.append(await self._moved_or(write, claim))
            else:
                results.append(await self._settle(write, claim, next(replies), renewals))
        await self.aliases.renew_many(renewals)
        if self._on_linked is not None:
            # Also of what was linked before: whoever linked it may have died before what waits for it was taken.
            await self._on_linked(
                self.aliases.key_of(alias).rpartition(b":")[2].decode()
                for write, result in zip(writes, results, strict=True)
                if isinstance(result, Written)
                for alias in write.identities
                if alias.kind == "email_sha256"
            )
        return results

    async def _moved_or(self, write: CustomerWrite, conflict: Problem) -> Problem | MovedTo:
        """An identity of another customer's is no conflict when that is who this customer became; or when that one was
        erased, and the write brings a consent that was given after it: then the person is this customer now."""
        became = await merged_into(self._client, self._keys.profile(write.customer))
        return MovedTo(became) if became is not None else await self._taken_over_or(write, conflict)

    async def _taken_over_or(self, write: CustomerWrite, conflict: Problem) -> Problem | MovedTo:
        owner_of = await self.aliases.customers_of(write.identities)
        others = {self.aliases.key_of(a): owner for a, owner in owner_of.items() if owner != write.customer}
        pipeline = self._client.pipeline(transaction=False)
        for owner in others.values():
            pipeline.hget(self._keys.profile(owner), ERASURE)
        marks = await pipeline.execute() if others else []
        gone = {key: mark for key, mark in zip(others, marks, strict=True) if is_tombstone(mark)}
        if not gone:
            return conflict
        since_ms = max(int(mark.partition(b",")[0]) for mark in gone.values())
        if not any(
            each.state == "granted" and (each.at_ms is None or each.at_ms > since_ms) for each in write.consents
        ):
            return erased()
        await self.aliases.take_over(write.customer, {key: others[key] for key in gone})
        return MovedTo(write.customer)  # once more, to itself

    async def _settle(
        self, write: CustomerWrite, claim: tuple[bytes, ...], reply: list[Any], renewals: list[Renewal]
    ) -> Written | Problem | MovedTo:
        """What a write's reply means; what it leaves to do for the customer's aliases is added to `renewals`."""
        if reply[0] != DONE:
            await self.aliases.give_back(write.customer, claim)
            if reply[0] == MERGED:
                return MovedTo(reply[1].decode())
            return {REFUSED: _future_time, ENDS_EARLY: _ends_early, ERASED: erased}[reply[0]]()
        _, at_ms, version, applied, renew, suppressions = reply
        if renew:
            renewals.append(Renewal(write.customer, write.identities, suppressions > 0))
        return Written(write.customer, at_ms, version, tuple(flag == ord("1") for flag in applied), write.dropped)

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
            await self._fields.ensure(names_needed(writes, self._keeping, self._who))
            return [self._write_call(write) for write in writes]

    def _write_call(self, write: CustomerWrite) -> Call:
        identity_keys = [self.aliases.key_of(alias) for alias in write.identities]
        packed = pack_write(write, self._fields, self._keeping, self._who, identity_keys)
        profile, history = self._profile_and_history(write.customer)
        return Call((profile, self._keys.aliases(write.customer), history), (packed,))

    def _profile_and_history(self, customer: str) -> tuple[bytes, bytes]:
        return self._keys.profile(customer), self._keys.history(customer)

    def _signed(self, why: str) -> tuple[bytes, bytes]:
        """Who, and why, as scripts take them."""
        return self._fields.id_of(f"w:{self._who}"), why.encode()


def _future_time() -> Problem:
    return Problem("future_time", "`at` lies more than 5 s ahead of the store's clock; leave it out to mean now")


def _ends_early() -> Problem:
    return Problem("invalid_request", "a consent ends before it begins: `expires_at` lies after `at`, or after now")
