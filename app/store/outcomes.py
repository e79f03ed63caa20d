"""Outcomes in the store: finding what a decision sent, and taking down what happened to it.

The ledger entry, suppressions, pauses, the counters of variants and the memory of the outcome itself are one script on
the customer's own slot: all is written or nothing, and it is acknowledged only after the script's reply, from when on
it wins over any decision that has not committed (guarantee G3).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, cast

from redis.asyncio import Redis
from redis.exceptions import RedisError

from app.core.decision.ids import DecisionId, pack_id
from app.core.decision.record import bundle_digest_of, decode
from app.core.keeping import keeping
from app.core.outcomes import (
    Consequences,
    Outcome,
    Sending,
    Standing,
    consequences,
    kept_for_ms,
    kept_for_pauses,
    sending_of,
)
from app.errors import Problem
from app.store.aliases import Aliases
from app.store.bundles import BundleArchive
from app.store.customer_trouble import merged_into, merging
from app.store.customer_writes import NOW
from app.store.decision_log import ABORTED, DecisionLog
from app.store.fields import FieldRegistry
from app.store.keys import Keys
from app.store.ledger import kind_name
from app.store.profile import SUPPRESSION_COUNT, kind_of_name, outcome_field, suppression_field
from app.store.scripts import Call, Script
from policy.bundle import Bundle
from policy.facts import ContactKind

OUTCOME = Script.load("outcome.lua", "history.lua")
#: How long `strict` durability waits for the disk before it answers 503 `durability_unmet`.
DURABLE_WITHIN_MS = 1_000
ID_BYTES = 14
#: How `outcome.lua` names what is known of a sending.
LETTERS: dict[Standing, bytes] = {"sent": b"s", "reached": b"r", "failed": b"x", "unsent": b"n"}


class Told(NamedTuple):
    """Where an outcome comes from: the source that a suppression names, and whose key it was."""

    source: str
    who: str


class Recorded(NamedTuple):
    """An acknowledged outcome. `duplicate`: it was known, and nothing was changed."""

    at_ms: int
    duplicate: bool
    effects: tuple[str, ...]


class Found(NamedTuple):
    """What a decision sent, and how long that is still remembered."""

    sending: Sending
    left_ms: int


class OutcomeStore:
    """Takes down outcomes. Every method raises Problem: `store_unavailable` when the store failed, and then the outcome
    was taken down in whole or not at all; repeating it is harmless."""

    def __init__(
        self,
        client: Redis,
        keys: Keys,
        fields: FieldRegistry,
        hash_key: bytes,
        bundle: Bundle,
        bundles: BundleArchive,
        log: DecisionLog,
        *,
        strict: bool = False,
    ) -> None:
        """`bundle` is the served one: its pauses say which outcomes are kept. `strict` waits for the disk."""
        self._aliases = Aliases(client, keys, hash_key, keeping(bundle))
        self._client = client
        self._keys = keys
        self._fields = fields
        self._bundle = bundle
        self._bundles = bundles
        self._log = log
        self._strict = strict

    async def record(self, decision: DecisionId, outcome: Outcome, told: Told) -> Recorded:
        """Take down what happened to what `decision` sent.

        Raises Problem: `decision_expired`, `nothing_sent`, `future_time`, `durability_unmet`.
        """
        with _store_errors():
            found = await self._find(decision)
            follows = consequences(outcome, found.sending, kept_for_pauses(self._bundle))
            customer, reply = await self._write(decision, outcome, follows, found, told)
            if reply[0] == b"future":
                raise Problem(
                    "future_time", "`at` lies more than 5 s ahead of the store's clock; leave it out to mean now"
                )
            if follows.stop is not None or follows.lift is not None:
                # Also of a repeat: whoever told it first may have got no further than the script.
                await self._renew_aliases(customer)
        return Recorded(reply[1], reply[0] == b"known", tuple(effect.decode() for effect in reply[2:]))

    async def _find(self, decision: DecisionId) -> Found:
        """What the decision sent. The log holds it for a while; what limits and suppressions need outlives it."""
        pipeline = self._client.pipeline(transaction=False)
        name = self._keys.decision(decision.shard, str(decision).encode())
        pipeline.get(name)
        pipeline.pttl(name)
        pointer, left_ms = await pipeline.execute()
        sending = await self._from_the_log(decision, pointer == ABORTED)
        if pointer is None or (pointer == ABORTED and sending is None):  # the mark took the place of the customer
            raise _expired()
        if sending is None:
            customer = pointer.partition(b" ")[2].decode()
            kind = await self._kind_kept(decision, customer)
            if kind is None and (became := await merged_into(self._client, self._keys.profile(customer))):
                kind = await self._kind_kept(decision, became)
            sending = Sending(customer, kind)
        return Found(sending, max(left_ms, 1))

    async def _from_the_log(self, decision: DecisionId, aborted: bool) -> Sending | None:
        """By the record; None where it, or its bundle, is gone. Raises Problem `nothing_sent`."""
        logged = await self._log.find(decision)
        bundle = None if logged is None else await self._bundles.get(bundle_digest_of(logged.raw))
        if logged is None or bundle is None:
            return None
        record = decode(logged.raw, bundle)
        sending = sending_of(record, decision.place, aborted) if decision.place < len(record.decisions) else None
        if sending is None:
            raise _nothing_sent()
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

    async def _write(
        self, decision: DecisionId, outcome: Outcome, follows: Consequences, found: Found, told: Told
    ) -> tuple[str, list[Any]]:
        """Run the script for the customer; or for the one that it became, together with what was taken down before."""
        kind = _name(found.sending.kind)
        await self._fields.ensure([f"s:{told.source}", f"w:{told.who}", *([] if kind is None else [kind])])
        args = self._args(decision, outcome, follows, found, told, kind)
        customer = found.sending.customer
        reply = await self._run(decision, customer, args)
        before: list[bytes] = []
        while reply[0] == b"merged":
            customer, before = reply[1].decode(), reply[2] or before
            reply = await self._run(decision, customer, (*args, b"1", *before))
        if reply[0] == b"merging":
            raise merging()
        if reply[0] == b"erased":
            raise Problem("decision_expired", "its customer was erased: nothing more is noted of it")
        return customer, reply

    async def _run(self, decision: DecisionId, customer: str, args: tuple[bytes, ...]) -> list[Any]:
        names = self._keys.of(customer)
        written = self._keys.outcomes(names.shard, str(decision).encode())
        variants, history = self._keys.variants(names.shard), self._keys.history(customer)
        call = Call((names.profile, names.ledger, written, variants, history), args)
        ran = await OUTCOME.run(self._client, [call], DURABLE_WITHIN_MS if self._strict else 0)
        if self._strict and not ran.on_disk:
            raise Problem("durability_unmet", "the outcome was noted, but the store did not confirm that it is on disk")
        return cast("list[Any]", ran.replies[0])

    def _args(
        self,
        decision: DecisionId,
        outcome: Outcome,
        follows: Consequences,
        found: Found,
        told: Told,
        kind: str | None,
    ) -> tuple[bytes, ...]:
        """In the order that the script describes."""
        return (
            pack_id(str(decision)),
            outcome.fingerprint(),
            outcome.type.encode(),
            b"%d" % (NOW if outcome.at_ms is None else outcome.at_ms),
            b"%d" % decision.at_ms,
            b"" if follows.standing is None else LETTERS[follows.standing],
            b"e" * follows.engaged + b"p" * follows.response,
            b"" if outcome.value is None else repr(outcome.value).encode(),
            b"" if kind is None else self._fields.id_of(kind),
            outcome_field(outcome.type, b"") if follows.kept else b"",
            b"%d" % kept_for_ms(self._bundle),
            b"" if follows.stop is None else suppression_field(*follows.stop),
            self._fields.id_of(f"s:{told.source}"),
            b"" if follows.lift is None else suppression_field(*follows.lift),
            b"" if follows.variant is None else follows.variant.encode(),
            b"%d" % found.left_ms,
            b"%d" % (self._bundle.ledger_retention_s * 1000),
            b"%d" % (self._bundle.profile_retention_s * 1000),
            self._fields.id_of(f"w:{told.who}"),
            (outcome.reason or "").encode(),
        )

    async def _renew_aliases(self, customer: str) -> None:
        """Aliases live as long as the profile: without an end while the customer is suppressed."""
        held = await cast("Any", self._client.hexists(self._keys.profile(customer), SUPPRESSION_COUNT))
        await self._aliases.renew(customer, (), suppressed=bool(held))


def _name(kind: ContactKind | None) -> str | None:
    """The registry's name for a kind of contact."""
    if kind is None:
        return None
    return kind_name(kind.placement, kind.channel, kind.klass, kind.message, kind.category, kind.campaign)


def _expired() -> Problem:
    return Problem(
        "decision_expired", "outcomes are taken for 35 days; dry runs and answers marked `retryable` have none"
    )


def _nothing_sent() -> Problem:
    return Problem("nothing_sent", "this decision sent nothing, so nothing can have happened to its message")


@contextmanager
def _store_errors() -> Iterator[None]:
    """Any failure of the store is one problem to callers; its text stays here, since it may quote what was sent."""
    try:
        yield
    except (RedisError, OSError) as error:
        detail = f"the store failed (`{type(error).__name__}`); the outcome may or may not be noted: repeat it"
        raise Problem("store_unavailable", detail, retry_after_s=1) from error
