"""What a decision sent, found where its pointer does not say it: by its record in the log, or by what is left of it.

A pointer is `<stream id> <customer> <kind id>[ <counter of a compared variant>]`; before outcomes could be matched
without the log it ended behind the customer, and for what was taken back it is `aborted`.
"""

from __future__ import annotations

from typing import NamedTuple, cast

from redis.asyncio import Redis

from app.core.decision.ids import DecisionId, pack_id
from app.core.decision.record import UnreadableRecord, bundle_digest_of, decode
from app.core.outcomes import Sending, sending_of
from app.errors import Problem
from app.store.bundles import BundleArchive
from app.store.customer_trouble import merged_into
from app.store.decision_log import ABORTED, DecisionLog
from app.store.fields import FieldRegistry
from app.store.keys import Keys
from app.store.profile import kind_of_name
from policy.facts import ContactKind

ID_BYTES = 14


class Pointer(NamedTuple):
    """What a decision's pointer says."""

    customer: str
    kind_id: bytes = b""  # empty: it does not say
    variant: str = ""

    @classmethod
    def read(cls, raw: bytes | None) -> Pointer | None:
        """None where there is none, or what it led to was taken back."""
        if raw is None or raw == ABORTED:
            return None
        _, customer, kind_id, variant, *_ = (*raw.split(b" "), b"", b"")
        return cls(customer.decode(), kind_id, variant.decode())


class Sendings:
    """Finds what decisions sent, the slow way. Raises redis errors."""

    def __init__(
        self, client: Redis, keys: Keys, fields: FieldRegistry, bundles: BundleArchive, log: DecisionLog
    ) -> None:
        self._client = client
        self._keys = keys
        self._fields = fields
        self._bundles = bundles
        self._log = log

    async def find(self, decision: DecisionId) -> Sending:
        """What the decision sent. The log holds it for a while; what limits and suppressions need outlives it. Raises
        Problem: `decision_expired`, `nothing_sent`."""
        name = self._keys.decision(decision.shard, str(decision).encode())
        raw = cast("bytes | None", await self._client.get(name))
        sending = await self._from_the_log(decision, raw == ABORTED)
        pointer = Pointer.read(raw)
        if raw is None:
            raise expired()
        if sending is None:
            if pointer is None:  # the mark took the place of the customer
                raise expired()
            customer = pointer.customer
            kind = await self._kind_kept(decision, customer)
            if kind is None and (became := await merged_into(self._client, self._keys.profile(customer))):
                kind = await self._kind_kept(decision, became)
            sending = Sending(customer, kind)
        return sending

    async def _from_the_log(self, decision: DecisionId, aborted: bool) -> Sending | None:
        """By the record; None where it, or its bundle, is gone, or it cannot be read: what is told must still stop
        whom it concerns."""
        try:
            logged = await self._log.find(decision)
            bundle = None if logged is None else await self._bundles.get_readable(bundle_digest_of(logged.raw))
            if logged is None or bundle is None:
                return None
            record = decode(logged.raw, bundle)
        except UnreadableRecord:
            return None
        sending = sending_of(record, decision.place, aborted) if decision.place < len(record.decisions) else None
        if sending is None:
            raise Problem("nothing_sent", "this decision sent nothing, so nothing can have happened to its message")
        return sending

    async def _kind_kept(self, decision: DecisionId, customer: str) -> ContactKind | None:
        """The kind of contact by the ledger, or by an earlier outcome."""
        names, packed = self._keys.of(customer), pack_id(str(decision))
        pipeline = self._client.pipeline(transaction=False)
        pipeline.hget(self._keys.outcomes(names.shard, str(decision).encode()), "k")
        pipeline.zrange(names.ledger, 0, -1)
        kept, members = await pipeline.execute()
        ends = (member[ID_BYTES:] for member in cast("list[bytes]", members) if member.startswith(packed))
        kind_id: bytes | None = kept or next(ends, b"").partition(b",")[0]
        if not kind_id:
            return None
        if self._fields.name_of(kind_id) is None:
            await self._fields.refresh()
        name = self._fields.name_of(kind_id)
        return None if name is None else kind_of_name(name)


def expired() -> Problem:
    return Problem(
        "decision_expired", "outcomes are taken for 35 days; dry runs and answers marked `retryable` have none"
    )
