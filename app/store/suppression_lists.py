"""Stops of many people at once, as another system lists them: by customer key, or by an alias such as the hash of an
address."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from app.core.customers import CustomerWrite
from app.core.identity import Alias
from app.errors import Problem
from app.store.customer_trouble import store_errors
from app.store.customers import CustomerStore, Written
from policy.codes import SuppressionReason

#: Stops that are on their way to the store together: half of the connections, so that a withdrawal finds a free one.
AT_ONCE = 32


class SuppressionWrite(NamedTuple):
    """A checked stop. `about`: the customer's key, or an alias. `at_ms` None: now, by the store's clock."""

    about: str | Alias
    scope: str
    reason: SuppressionReason
    source: str
    at_ms: int | None
    why: str
    dropped: tuple[str, ...] = ()  # never anything; imports ask


class SuppressionLists:
    """Writes stops. Raises Problem `store_unavailable`, `durability_unmet`; repeating is harmless, since a stop that is
    there stays as it was first said."""

    def __init__(self, customers: CustomerStore) -> None:
        self._customers = customers
        self._places = asyncio.Semaphore(AT_ONCE)

    async def write_many(self, writes: Sequence[SuppressionWrite]) -> list[Written | Problem]:
        """Those of one customer in any order: none lifts another. A problem of one line does not hold up the others."""
        about = tuple({write.about for write in writes if isinstance(write.about, Alias)})
        with store_errors():
            found = await self._customers.aliases.customers_of(about) if about else {}
        # A stop of somebody whom nobody is linked to yet must not be lost when they are: the alias is linked first.
        linked = await self._customers.write_many([CustomerWrite(key, identities=(a,)) for a, key in found.items()])
        refused = {alias: each for alias, each in zip(found, linked, strict=True) if isinstance(each, Problem)}
        keys = [each.about if isinstance(each.about, str) else found[each.about] for each in writes]
        return await asyncio.gather(
            *(self._write(key, write, refused) for key, write in zip(keys, writes, strict=True))
        )

    async def _write(self, customer: str, write: SuppressionWrite, refused: dict[Alias, Problem]) -> Written | Problem:
        if isinstance(write.about, Alias) and write.about in refused:
            return refused[write.about]
        async with self._places:
            try:
                return await self._customers.suppress(
                    customer, write.scope, write.reason, write.source, write.at_ms, write.why
                )
            except Problem as problem:
                if problem.status >= 500:
                    raise
                return problem  # of this line: a time in the future, a customer who was erased
