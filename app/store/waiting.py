"""What waits to be matched: for a recipient to be linked, or for a mail's decision to become known.

    rcp:<keyed hash>  of a recipient     pmw:<hash>  of a mail          fingerprint → what was heard, and who told it
    pmo:<keyed hash>  whom what waits for a mail names → mail and fingerprint, so that it goes when they are erased

Whoever keeps something looks once more whether it is known by now; whoever makes it known takes out what waits after
that. So nothing can be left in between, and what both take is one, since repeats are known.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple, cast

import ormsgpack
from redis.asyncio import Redis

from app.core.decision.ids import parse_id
from app.core.heard import Heard
from app.core.outcomes import Outcome
from app.store.keys import waiting_about, waiting_for_message
from app.store.scripts import Call, Script
from policy.codes import OutcomeType, SuppressionReason

KEEP = Script.load("waiting_keep.lua")
KEPT_MS = 35 * 86_400_000  # as long as outcomes are taken
#: Of one recipient; more are not kept, but for what stops mail.
WAITING_MAX = 200
STOPS = b"!"
MESSAGE_BYTES = 16  # of `core.heard.message_hash`


class Waiting(NamedTuple):
    """Something that waits, and who told it."""

    heard: Heard
    source: str
    who: str


class WaitingStore:
    """Keeps and takes out. Raises redis errors; repeating is harmless."""

    def __init__(self, client: Redis) -> None:
        self._client = client

    async def keep(self, waiting: Sequence[tuple[bytes, Waiting, bool]], owners: Sequence[str | None]) -> list[bool]:
        """Keep what waits under a key; whether each is new. The flag: it stops mail, and waits without an end.
        `owners`: the keyed hash of whom each names, where its key does not say so."""
        if not waiting:
            return []
        await self._note(owners, [each for _, each, _ in waiting])
        keep_ms, at_most = b"%d" % KEPT_MS, b"%d" % WAITING_MAX
        calls = [
            Call((key,), (field_of(each.heard), encode(each), keep_ms, b"1" if stops else b"", at_most))
            for key, each, stops in waiting
        ]
        ran = await KEEP.run(self._client, calls)
        return [bool(reply) for reply in ran.replies]

    async def _note(self, owners: Sequence[str | None], waiting: Sequence[Waiting]) -> None:
        """Before it is kept, so that nothing lies where an erasure would not find it."""
        pipeline = self._client.pipeline(transaction=False)
        named = False
        for owner, (heard, *_) in zip(owners, waiting, strict=True):
            if owner is not None and heard.message is not None:
                pipeline.sadd(waiting_about(owner), heard.message + field_of(heard))
                pipeline.pexpire(waiting_about(owner), KEPT_MS)
                named = True
        if named:
            await pipeline.execute()

    async def about(self, owners: Iterable[str]) -> list[Waiting]:
        """What waits for mails and names one of these."""
        held = await self._places(owners)
        pipeline = self._client.pipeline(transaction=False)
        for key, field in held:
            pipeline.hget(key, cast("str", field))
        found = await pipeline.execute() if held else []
        return [each for raw in found if raw is not None and (each := decode(raw)) is not None]

    async def forget(self, owners: Iterable[str]) -> int:
        """Delete what waits for mails and names one of these; how many that were."""
        names = list(owners)
        held = await self._places(names)
        pipeline = self._client.pipeline(transaction=False)
        for key, field in held:
            pipeline.hdel(key, cast("str", field))
        deleted = sum(await pipeline.execute()) if held else 0
        for name in names:
            await self._client.delete(waiting_about(name))
        return deleted

    async def _places(self, owners: Iterable[str]) -> list[tuple[bytes, bytes]]:
        """Key and field of each."""
        held: set[bytes] = set()
        for owner in owners:
            held |= await cast("Any", self._client.smembers(waiting_about(owner)))
        return [(waiting_for_message(each[:MESSAGE_BYTES]), each[MESSAGE_BYTES:]) for each in held]

    async def of(self, names: Sequence[bytes]) -> dict[bytes, dict[bytes, Waiting]]:
        """What waits under each key, by field. What a newer version kept is left to it."""
        pipeline = self._client.pipeline(transaction=False)
        for name in names:
            pipeline.hgetall(name)
        found: dict[bytes, dict[bytes, Waiting]] = {}
        for name, stored in zip(names, await pipeline.execute() if names else [], strict=True):
            fields = cast("dict[bytes, bytes]", stored)
            if fields:
                found[name] = {at: each for at, raw in fields.items() if at != STOPS and (each := decode(raw))}
        return found

    async def done(self, name: bytes, fields: Iterable[bytes]) -> None:
        """These were taken."""
        gone = tuple(fields)
        if gone:
            await cast("Any", self._client.hdel(name, *gone))
            if await cast("Any", self._client.hkeys(name)) == [STOPS]:
                await self._client.delete(name)


def field_of(heard: Heard) -> bytes:
    """By which a repeat is known. One without an id or a time is as old as this minute's others."""
    mail = b"" if heard.message is None else heard.message
    return heard.outcome.fingerprint() or blake2b(heard.outcome.type.encode() + mail, digest_size=8).digest()


def encode(waiting: Waiting) -> bytes:
    """As MessagePack: an array, append-only."""
    heard, outcome = waiting.heard, waiting.heard.outcome
    return ormsgpack.packb(
        [
            waiting.source, waiting.who,
            outcome.type.value, outcome.at_ms, outcome.value, outcome.event_id, outcome.machine, outcome.scope,
            outcome.reason, outcome.link, outcome.smtp_code,
            None if outcome.suppressed is None else outcome.suppressed.value,
            None if heard.decision is None else str(heard.decision), heard.message, heard.recipient, heard.customer,
            heard.channel, heard.provider, heard.domain,
        ]
    )  # fmt: skip


def decode(raw: bytes) -> Waiting | None:
    """None for what a newer version kept."""
    try:
        source, who, kind, at_ms, value, event_id, machine, scope, reason, link, code, suppressed, *rest = (
            ormsgpack.unpackb(raw)
        )
        decision, message, recipient, customer, channel, provider, domain, *_ = rest
        outcome = Outcome(
            OutcomeType(kind), at_ms, value, event_id, machine, scope, reason, link, code,
            None if suppressed is None else SuppressionReason(suppressed),
        )  # fmt: skip
    except (ValueError, TypeError):
        return None
    found = None if decision is None else parse_id(decision)
    return Waiting(Heard(outcome, found, message, recipient, customer, channel, provider, domain), source, who)
