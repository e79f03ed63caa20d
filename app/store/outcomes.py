"""Outcomes in the store: what is known of those who are named in them, and taking them down.

The ledger entry, suppressions, pauses, the counters of variants and the memory of the outcome itself are one script on
the customer's own slot: all is written or nothing, and it is acknowledged only after the script's reply, from when on
it wins over any decision that has not committed (guarantee G3).

They go over a connection of their own, in small pieces, so that decisions are answered in between.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from hashlib import blake2b
from typing import Any, NamedTuple

from hiredis import ReplyError
from redis.exceptions import RedisError

from app.core.decision.ids import DecisionId, parse_id
from app.core.heard import Heard
from app.core.identity import customer_hash, identity_hash
from app.core.matching import Sent
from app.core.outcomes import Consequences, Standing, kept_for_ms
from app.errors import Problem
from app.store import keys as key_names
from app.store.customer_writes import NOW
from app.store.decisions import DECISION_TTL_S
from app.store.fields import FieldRegistry
from app.store.keys import Keys
from app.store.ledger import kind_name
from app.store.link import Link
from app.store.profile import MERGE, UnknownField, kind_of_name, merge_of, outcome_field, suppression_field
from app.store.resp import bulk, command_prefix, pack
from app.store.scripts import Script
from app.store.sendings import ID_BYTES, Pointer
from app.store.wire import StoreError
from policy.bundle import Bundle
from policy.codes import SuppressionReason
from policy.facts import ContactKind

GET = command_prefix(2, "GET")
OUTCOME = Script.load("outcome.lua", "history.lua", "trim_stream.lua")
#: How long a piece waits for its replies; the link itself gives up on a silent store after a second.
PATIENCE_S = 2.0
#: How long `strict` durability waits for the disk before it answers 503 `durability_unmet`.
DURABLE_WITHIN_MS = 1_000
#: Scripts of one pipeline, and pipelines of them that a process has under way: the store works on one while the next
#: is on its way. So a decision waits behind half a millisecond of its time, however many tell outcomes at once.
SCRIPTS_AT_ONCE, PIPELINES_AT_ONCE = 4, 2
LOOKUPS_AT_ONCE = 40
#: Of all calls of a process; the others wait, since a withdrawal must not be refused for having come with many.
PIECES_AT_ONCE = 16
KEYS_OF_SCRIPT = 10
#: What an entry of the outcome stream takes, with what the stream adds.
ENTRY_BYTES = 150
#: The outcome stream is trimmed with every so many outcomes of a process.
TRIM_EVERY = 16
HOUR_MS = 3_600_000
#: How `outcome.lua` names what is known of a sending.
LETTERS: dict[Standing, bytes] = {"sent": b"s", "reached": b"r", "failed": b"x", "unsent": b"n"}
#: What a merge can be met: its pointers are one deep, and a second one is a merge under way.
MOVES_MAX = 3


class Told(NamedTuple):
    """Where an outcome comes from: the source that a suppression names, and whose key it was."""

    source: str
    who: str


class Seen(NamedTuple):
    """What the store knows of those who are named."""

    now_ms: int
    pointers: dict[DecisionId, Pointer | None]
    messages: dict[bytes, DecisionId | None]
    recipients: dict[str, str | None]  # whom each is linked to


class Write(NamedTuple):
    """An outcome, and what is to be written of it."""

    heard: Heard
    customer: str
    decision: DecisionId | None
    kind_id: bytes  # of the contact; empty: not known
    follows: Consequences
    event: Callable[[str], bytes]  # for the customer whom it turns out to be


class Applied(NamedTuple):
    """What became of it. `status`: `ok`, `known`, `future`, `erased` or `merging`, as the script says."""

    status: bytes
    customer: str
    at_ms: int = 0
    machine: bool = False
    effects: tuple[str, ...] = ()


class OutcomeStore:
    """Takes down outcomes. Every method raises Problem: `store_unavailable` when the store failed, and then each
    outcome was taken down in whole or not at all; repeating is harmless."""

    def __init__(
        self, link: Link, keys: Keys, fields: FieldRegistry, bundle: Bundle, stream_bytes: int, *, strict: bool = False
    ) -> None:
        """`bundle` is the served one: its pauses say which outcomes are kept. `stream_bytes`: what the outcome streams
        may hold together. `strict` waits for the disk. `hash_key` is set when the store was reached."""
        self._link = link
        self._keys = keys
        self._fields = fields
        self._bundle = bundle
        self._rules = bundle.outcomes
        kept_s = bundle.decisions_retention_s
        self._kept_ms = 1000 * (DECISION_TTL_S if kept_s is None else min(DECISION_TTL_S, kept_s))
        self._retentions = b"%d" % (bundle.ledger_retention_s * 1000), b"%d" % (bundle.profile_retention_s * 1000)
        self._pauses_ms = b"%d" % kept_for_ms(bundle)
        soft = self._rules.soft_bounces
        self._soft = b"%d" % soft.suppress_at, b"%d" % soft.within_ms
        self._entries_max = b"%d" % max(100, stream_bytes // keys.shards // ENTRY_BYTES)
        self._strict = strict
        self._pieces = asyncio.Semaphore(PIECES_AT_ONCE)
        self._pipelines = asyncio.Semaphore(PIPELINES_AT_ONCE)
        self._count = 0
        self._kind_named = lru_cache(maxsize=4096)(kind_of_name)
        self.hash_key = b""

    # What is known

    async def look(self, decisions: Iterable[DecisionId], messages: Iterable[bytes], recipients: Iterable[str]) -> Seen:
        """One question about all of them."""
        of, asked = list(dict.fromkeys(decisions)), list(dict.fromkeys(messages))
        whose = list(dict.fromkeys(recipients))
        commands = [pack("TIME")]
        commands += [GET + bulk(self._keys.decision(each.shard, str(each).encode())) for each in of]
        commands += [GET + bulk(key_names.message(each)) for each in asked]
        commands += [GET + bulk(key_names.identity("email_sha256", each)) for each in whose]
        found = await self._asked(commands)
        with understanding():
            (seconds, micros), *rest = found
            replies = iter(rest)
            pointers = {each: Pointer.read(next(replies)) for each in of}
            known = {each: _decision(next(replies)) for each in asked}
            linked = {each: None if (raw := next(replies)) is None else raw.decode() for each in whose}
            return Seen(int(seconds) * 1000 + int(micros) // 1000, pointers, known, linked)

    def without_digest(self, heard: Heard) -> Heard:
        """With the keyed hash of the recipient's digest in its place. Raises Problem while the deployment's hash key is
        not known."""
        if heard.recipient is None:
            return heard
        if not self.hash_key:
            raise Problem("store_unavailable", "the hash key is not read from the store yet", retry_after_s=1)
        return heard._replace(recipient=identity_hash("email_sha256", heard.recipient, self.hash_key))

    def owner(self, heard: Heard) -> str | None:
        """What stands for whom it names, in the store: of the recipient, else of the customer. None: nobody."""
        if heard.recipient is not None:
            return heard.recipient
        return None if heard.customer is None else customer_hash(heard.customer, self.hash_key)

    async def became(self, customers: Iterable[str]) -> dict[str, str]:
        """Whom each of these became; its own key where it became nobody."""
        names = list(dict.fromkeys(customers))
        marks = await self._asked([pack("HGET", self._keys.profile(name), MERGE) for name in names])
        with understanding():
            return {name: merge_of(mark)[1] or name for name, mark in zip(names, marks, strict=True)}

    async def contacts(self, customers: Iterable[str]) -> dict[str, list[tuple[Sent, bytes]]]:
        """What was sent to each, with the ids of its kinds: by the ledger, and what was released from it."""
        names = list(dict.fromkeys(customers))
        commands = [
            command
            for name in names
            for command in (
                pack("ZRANGE", self._keys.of(name).ledger, 0, -1),
                pack("HGETALL", self._keys.mail(name)),
            )
        ]
        replies = iter(await self._asked(commands))
        found: dict[str, list[tuple[Sent, bytes]]] = {}
        for name in names:
            with understanding():
                ends = [(member[:ID_BYTES], member[ID_BYTES:].partition(b",")[0]) for member in next(replies)]
                flat = next(replies)
                released = zip(flat[::2], flat[1::2], strict=True)
                ends += [(field[1:], kind_id) for field, kind_id in released if field[:1] == b"c" and len(field) == 15]
                found[name] = [
                    (Sent(decision, kind.channel), kind_id)
                    for decision, kind_id in ends
                    if (kind := await self.kind(kind_id)) is not None
                ]
        return found

    async def kind(self, kind_id: bytes) -> ContactKind | None:
        """What a kind of contact is; None where nobody knows."""
        name = self._fields.name_of(kind_id)
        if name is None and kind_id:
            with store_errors():
                await self._fields.refresh()
            name = self._fields.name_of(kind_id)
        return None if name is None or not name.startswith("k:") else self._kind_named(name)

    async def kind_id(self, kind: ContactKind | None) -> bytes:
        """The short id of a kind of contact; empty where there is none."""
        if kind is None:
            return b""
        name = kind_name(kind.placement, kind.channel, kind.klass, kind.message, kind.category, kind.campaign)
        with store_errors():
            await self._fields.ensure([name])
        return self._fields.id_of(name)

    def waiting_for(self, keyed_hash: str) -> bytes:
        """Where lies what waits for a recipient to be linked."""
        return key_names.waiting_for_recipient(keyed_hash)

    def waiting_for_message(self, message: bytes) -> bytes:
        """Where lies what waits for a mail's decision."""
        return key_names.waiting_for_message(message)

    # Taking down

    async def apply(self, writes: Sequence[Write], told: Told, now_ms: int) -> list[Applied]:
        """Take down all of them, in pieces. Raises Problem `durability_unmet` too: then they are noted."""
        with store_errors():
            await self._fields.ensure([f"s:{told.source}", f"w:{told.who}"])
        applied: list[Applied] = []
        for start in range(0, len(writes), SCRIPTS_AT_ONCE):
            piece = writes[start : start + SCRIPTS_AT_ONCE]
            commands = [self._command(each, each.customer, told, now_ms) for each in piece]
            replies = await self._run(commands)
            with understanding():
                applied += [
                    await self._settled(write, reply, told, now_ms) for write, reply in zip(piece, replies, strict=True)
                ]
        if self._strict and writes:
            await self._on_disk()
        return applied

    async def remember(self, messages: Sequence[tuple[bytes, DecisionId]]) -> None:
        """Which decisions these mails are of."""
        await self._asked(
            pack("SET", key_names.message(message), str(decision), "PX", self._kept_ms)
            for message, decision in messages
        )

    async def _settled(self, write: Write, reply: list[Any], told: Told, now_ms: int) -> Applied:
        """What a reply says; told again of whom the customer became, with what was taken down before."""
        customer = write.customer
        before: list[bytes] = []
        for _ in range(MOVES_MAX):
            if reply[0] != b"merged":
                break
            customer, before = reply[1].decode(), reply[2] or before
            command = self._command(write, customer, told, now_ms, (b"1", *before))
            (reply,) = await self._run([command])
        if reply[0] in (b"merging", b"merged"):
            raise Problem("store_unavailable", "the customer is being merged with others; try again", retry_after_s=1)
        if reply[0] in (b"future", b"erased"):
            return Applied(reply[0], customer)
        if reply[0] not in (b"ok", b"known"):
            raise ValueError("a word that the script does not say")
        _, at_ms, machine, *effects = reply
        return Applied(reply[0], customer, at_ms, machine == b"m", tuple(effect.decode() for effect in effects))

    def _command(self, write: Write, customer: str, told: Told, now_ms: int, moved: tuple[bytes, ...] = ()) -> bytes:
        """The script's call, in the order that it describes."""
        heard, decision, follows = write.heard, write.decision, write.follows
        outcome, keys, names = heard.outcome, self._keys, self._keys.of(customer)
        kind = None if not write.kind_id else self._fields.name_of(write.kind_id)
        # The hour of the decision, not of the outcome: the watch compares complaints with the mails they are about.
        counted_ms = now_ms if decision is None else decision.at_ms
        name, packed = (b"", b"") if decision is None else (str(decision).encode(), decision.packed)
        fingerprint = outcome.fingerprint()
        watched = self._watched(kind, heard) if decision is not None else b""
        self._count += 1
        return pack(
            "EVALSHA", OUTCOME.sha, KEYS_OF_SCRIPT,
            names.profile, names.ledger,
            keys.mail(customer) if decision is None else keys.outcomes(names.shard, name),
            keys.variants(names.shard), keys.history(customer), keys.mail(customer), keys.outcome_stream(names.shard),
            keys.events(names.shard), keys.watch(names.shard, counted_ms // HOUR_MS), keys.worker(names.shard),
            packed,
            fingerprint,
            outcome.type.value,
            # A provider whose clock is fast is not sent back with a complaint: it happened now.
            NOW if outcome.at_ms is None or (heard.provider and outcome.at_ms > now_ms) else outcome.at_ms,
            0 if decision is None else decision.at_ms,
            b"" if follows.standing is None else LETTERS[follows.standing],
            b"m" if outcome.machine else b"",
            b"" if outcome.value is None else repr(outcome.value).encode(),
            write.kind_id,
            outcome_field(outcome.type, b"") if follows.kept else b"",
            self._pauses_ms,
            b"" if follows.stop is None else suppression_field(*follows.stop),
            self._fields.id_of(f"s:{told.source}"),
            b"" if follows.lift is None else suppression_field(*follows.lift),
            follows.variant or b"",
            0 if decision is None else decision.at_ms + self._kept_ms,
            *self._retentions,
            self._fields.id_of(f"w:{told.who}"),
            outcome.reason or b"",
            outcome.link or "",
            heard.message or b"",
            _bounced(heard, packed, fingerprint, now_ms) if follows.soft else b"",
            *self._soft,
            self._soft_bounced(kind, heard) if follows.soft else b"",
            b"" if self._count % TRIM_EVERY else self._entries_max,
            customer,
            heard.provider,
            outcome.smtp_code or b"",
            name,
            write.event(customer),
            watched,
            *moved,
        )  # fmt: skip

    def _soft_bounced(self, kind: str | None, heard: Heard) -> bytes:
        """The suppression that too many of them set."""
        return suppression_field(
            self._kind_named(kind).channel if kind else heard.channel, SuppressionReason.SOFT_BOUNCES
        )

    def _watched(self, kind: str | None, heard: Heard) -> bytes:
        """Under what the deliverability watch counts it; nothing where nobody looks."""
        if kind is None or self._rules.watch is None:
            return b""
        what = self._kind_named(kind)
        return f"{what.placement}/{what.message}/{heard.domain}".encode() if what.channel == "email" else b""

    # Speaking to the store

    async def _run(self, commands: Sequence[bytes]) -> list[Any]:
        """Run scripts, again where the store has forgotten them: those have not run."""
        async with self._pipelines:
            return await self._run_now(commands)

    async def _run_now(self, commands: Sequence[bytes]) -> list[Any]:
        replies = await self._replies(commands)
        again = [
            i for i, each in enumerate(replies) if isinstance(each, ReplyError) and str(each).startswith("NOSCRIPT")
        ]
        if again:
            await self._asked([pack("SCRIPT", "LOAD", OUTCOME.source)])
            for i, reply in zip(again, await self._replies([commands[i] for i in again]), strict=True):
                replies[i] = reply
        return [_taken(reply) for reply in replies]

    async def _asked(self, commands: Iterable[bytes]) -> list[Any]:
        """All replies, in pieces; none of them a refusal."""
        all_of_them = list(commands)
        replies: list[Any] = []
        for start in range(0, len(all_of_them), LOOKUPS_AT_ONCE):
            replies += await self._replies(all_of_them[start : start + LOOKUPS_AT_ONCE])
        return [_taken(reply) for reply in replies]

    async def _replies(self, commands: Sequence[bytes]) -> list[Any]:
        async with self._pieces:
            deadline = asyncio.get_running_loop().time() + PATIENCE_S
            with store_errors():
                return await self._link.call(b"".join(commands), len(commands), deadline)

    async def _on_disk(self) -> None:
        (synced,) = await self._replies([pack("WAITAOF", 1, 0, DURABLE_WITHIN_MS)])
        if isinstance(synced, ReplyError) or int(synced[0]) < 1:
            detail = "the outcomes were noted, but the store did not confirm that they are on disk"
            raise Problem("durability_unmet", detail, retry_after_s=1)


def _bounced(heard: Heard, decision: bytes, fingerprint: bytes, now_ms: int) -> bytes:
    """By which a mail that bounced softly is counted once, however often it was tried: Mailtrap tells each of eleven
    tries. By the provider's id of the mail, which is the same before and after its decision becomes known."""
    mail = heard.message or decision or fingerprint or b"%d" % now_ms
    return blake2b(mail, digest_size=8, person=b"soft bounce").digest()


def _decision(raw: bytes | None) -> DecisionId | None:
    return None if raw is None else parse_id(raw.decode())


def _taken(reply: Any) -> Any:
    if isinstance(reply, ReplyError):
        code = str(reply).split(" ", 1)[0]  # the rest may quote what was sent
        raise Problem("store_unavailable", f"the store refused (`{code}`); repeat it", retry_after_s=1)
    return reply


@contextmanager
def understanding() -> Iterator[None]:
    """A reply that no store of ours gives acknowledges nothing: closed."""
    try:
        yield
    except (ValueError, TypeError, LookupError, AttributeError, UnknownField) as error:
        detail = f"the store answered what cannot be read (`{type(error).__name__}`): repeat it"
        raise Problem("store_unavailable", detail, retry_after_s=1) from error


@contextmanager
def store_errors() -> Iterator[None]:
    """Any failure of the store is one problem to callers; its text stays here, since it may quote what was sent."""
    try:
        yield
    except (StoreError, RedisError, OSError) as error:
        detail = f"the store failed (`{type(error).__name__}`); the outcome may or may not be noted: repeat it"
        raise Problem("store_unavailable", detail, retry_after_s=1) from error
