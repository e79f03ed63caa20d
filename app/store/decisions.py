"""The two round trips of a decision: the read, and the atomic commit; and the release of a commit of unknown fate.

`DecisionStore` speaks to the link and raises nothing: whatever a store can do to us becomes one of the values of
`app.core.decision.commit`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Any

from hiredis import ReplyError

from app.core.decision.commit import (
    Committed,
    Idempotency,
    Intent,
    Kept,
    Late,
    Moved,
    Outcome,
    Reading,
    Refused,
    Twin,
    Unknown,
    Unreadable,
)
from app.core.decision.ids import reserved_at_ms
from app.core.features.live import LiveFeatures
from app.core.identity import Alias, fallback_key, identity_hash
from app.store.features import reads_of
from app.store.fields import FieldRegistry
from app.store.keys import CustomerKeys, Keys, identity
from app.store.ledger import LedgerCodec
from app.store.link import Link
from app.store.profile import ERASURE, LAST_CONTACT, UnknownField, exposure_field, exposure_name
from app.store.profile_decoder import ProfileDecoder
from app.store.resp import bulk, command_prefix, pack
from app.store.scripts import Script
from app.store.wire import StoreError, StoreTimeout
from policy.bundle import Bundle, Message, Placement
from policy.facts import Contact, ContactKind, Facts

IDEMPOTENCY_TTL_S = 86_400
#: How long an outcome may come late and still find its customer.
DECISION_TTL_S = 35 * 86_400
BASE_BYTES = 13
PACKED_ID_BYTES = 14  # of a decision, with which a ledger member begins
#: What a stream adds to a record: its id, lengths, its share of a node.
STREAM_ENTRY_BYTES = 40
#: The decision log is trimmed with every so many commits of a process: it grows by some nodes meanwhile.
TRIM_EVERY = 16
#: How long strict mode waits for the disk.
DURABLE_WITHIN_MS = 500
BODY_HASH_BYTES = 16
#: Where an idempotency record says whether its answer was given to a repeat, and then stands.
STANDS_AT = BASE_BYTES + BODY_HASH_BYTES
STANDS, FALLIBLE = b"=", b"?"
#: Error replies after which nothing of a script has been applied: the store checks these before it runs one.
#: https://valkey.io/topics/eval-intro/ (script flags): a `#!lua` script without `allow-oom` is refused up front.
REFUSALS = frozenset(
    {"OOM", "READONLY", "MISCONF", "MASTERDOWN", "LOADING", "NOREPLICAS", "BUSY", "CLUSTERDOWN", "MOVED", "ASK"}
    | {"NOPERM", "NOAUTH"}
)
#: What reading a reply raises that no store of ours gives.
GARBLED = (ValueError, TypeError, LookupError, AttributeError)
#: Refusals that say the connection leads to the wrong place.
MISPLACED = frozenset({"READONLY", "MASTERDOWN", "LOADING"})

COMMIT = Script.load("commit.lua", "trim_stream.lua")
RELEASE = Script.load("release.lua")
LET_STAND = Script.load("let_stand.lua")
MERGE_CONTACTS = Script.load("merge_contacts.lua")

_TIME = pack("TIME")
_HGETALL = command_prefix(2, "HGETALL")
_ZRANGE = command_prefix(5, "ZRANGE")
_WITH_SCORES = pack("0", "-1", "WITHSCORES").split(b"\r\n", 1)[1]
_GET = command_prefix(2, "GET")


class FactsLost(Exception):
    """The store lacks something it must have had: the ledger of a customer who was contacted not long ago."""


class DecisionStore:
    """What the decide flow needs of the store, for one bundle."""

    def __init__(
        self,
        link: Link,
        keys: Keys,
        registry: FieldRegistry,
        bundle: Bundle,
        log_bytes_per_shard: int,
        strict: bool,
    ) -> None:
        """`strict`: a commit counts only when it is on disk. `hash_key` is set when the store was reached."""
        self._link = link
        self._keys = keys
        self._keys_of = lru_cache(maxsize=1024)(keys.of)  # a read is followed by a commit
        self._registry = registry
        self._bundle = bundle
        self.ledger = LedgerCodec(registry)
        self._profile = ProfileDecoder(bundle, registry, self.ledger.kind_named)
        self.hash_key = b""
        self._log_bytes = log_bytes_per_shard
        self._record_bytes = 1024.0  # a moving average, with what the stream adds
        self._commits = 0
        self._reward_windows_ms = {
            placement.id: placement.reward.window_ms
            for placement in bundle.placements.values()
            if placement.reward is not None
        }
        kept_s = bundle.decisions_retention_s
        self._log_ms = b"" if kept_s is None else b"%d" % (kept_s * 1000)
        self._decision_ttl_s = b"%d" % (DECISION_TTL_S if kept_s is None else min(DECISION_TTL_S, kept_s))
        self._ledger_ttl_s = b"%d" % bundle.ledger_retention_s
        self._profile_ttl_s = b"%d" % bundle.profile_retention_s
        self._strict = strict
        self.unknown_field_seen = False  # the registry must be refreshed; whoever does it resets this

    def shard_of(self, customer: str) -> int:
        return self._keys_of(customer).shard

    def kind_of(self, placement: Placement, message: Message) -> ContactKind:
        """The kind of contact that a message in a placement makes."""
        return self.ledger.kind(placement, message)

    async def customer_of(self, alias: Alias, deadline: float) -> str | None:
        """The customer that an alias is linked to, or the key of an unlinked one; None when the store cannot tell."""
        name = identity(alias.kind, identity_hash(alias.kind, alias.value, self.hash_key))
        try:
            (reply,) = await self._link.call(pack("GET", name), 1, deadline)
        except StoreError:
            return None
        if isinstance(reply, ReplyError) or not (reply is None or (isinstance(reply, bytes) and reply.isascii())):
            return None
        return fallback_key(alias.kind, alias.value, self.hash_key) if reply is None else str(reply, "ascii")

    async def read(
        self, customer: str, idempotency: Idempotency | None, deadline: float, live: LiveFeatures | None = None
    ) -> Reading | Twin | Refused | Unreadable:
        """One round trip (two for a repeat of an idempotency key that was not repeated before). `deadline`: loop time,
        s. `live`: features to read with it.

        The profile is read before the ledger, so that its versions are never newer than the ledger that was seen: a
        contact that slips in between makes the commit see a version that moved.
        """
        keys = self._keys_of(customer)
        packed = _TIME + _HGETALL + bulk(keys.profile) + _ZRANGE + bulk(keys.ledger) + _WITH_SCORES
        replies = 3
        if idempotency is not None:
            packed += _GET + bulk(keys.idempotency(idempotency.key_hash))
            replies = 4
        if live is not None:
            packed += reads_of(live).command(keys.features)
            replies += 1
        try:
            got = await self._link.call(packed, replies, deadline)
        except StoreError as error:
            return Unreadable(type(error).__name__, isinstance(error, StoreTimeout))
        # Whether the facts can be read or not; but what somebody was answered who was erased is nobody's.
        if idempotency is not None and isinstance(got[3], bytes) and not _was_erased(got[1], got[3]):
            return await self._twin(keys.idempotency(idempotency.key_hash), got[3], deadline)
        reading = self._reading(got[:3])
        if live is None or not isinstance(reading, Reading):
            return reading
        return reading._replace(features=reads_of(live).state(got[-1]))

    async def _twin(self, name: bytes, value: bytes, deadline: float) -> Twin | Refused:
        """What a repeat of an idempotency key gets. A `send` is first made to stand: who committed it may not have
        heard so, may have answered `suppress`, and may be about to take it back."""
        if value[STANDS_AT : STANDS_AT + 1] == STANDS:
            return Twin(_kept(value))
        try:
            reply, *synced = await self._commit_call(_packed(LET_STAND, [name], [], whole=True), deadline)
        except StoreError as error:
            return Refused(type(error).__name__)
        if isinstance(reply, ReplyError):
            return Refused(self._kind(reply))
        if reply is None:
            return Refused("TakenBack")
        if not isinstance(reply, bytes):
            return Refused("Garbled")
        return Twin(_kept(reply)) if all(_is_on_disk(each) for each in synced) else Refused("NotOnDisk")

    def _reading(self, replies: list[Any]) -> Reading | Unreadable:
        """What time, profile and ledger say. Of an error where features were asked for nothing else depends."""
        for reply in replies:
            if isinstance(reply, ReplyError):
                return Unreadable(self._kind(reply), False)
        return self._decode(replies[0], replies[1], replies[2])

    def _decode(self, time: list[bytes], profile: list[bytes], ledger: list[bytes]) -> Reading | Unreadable:
        """Replies as facts; closed where they cannot be understood or something is missing that must be there."""
        try:
            return Reading(self.facts(time, profile, ledger))
        except UnknownField:
            self.unknown_field_seen = True
            return Unreadable("UnknownField", False)
        except FactsLost:
            return Unreadable("FactsLost", False)
        except GARBLED:
            return Unreadable("Garbled", False)

    def facts(self, time: list[bytes], profile: list[bytes], ledger: list[bytes]) -> Facts:
        """Raises `UnknownField` and `FactsLost`: in both cases the facts must not be used."""
        now_ms = milliseconds(time)
        if not ledger and LAST_CONTACT in profile:
            last_contact_ms = int(profile[profile.index(LAST_CONTACT) + 1])
            if now_ms - last_contact_ms < self._bundle.ledger_retention_s * 1000:
                raise FactsLost
        return self._profile.decode(profile, now_ms, self.ledger.decode(ledger))

    async def commit(self, intent: Intent, deadline: float) -> Outcome:
        """One atomic round trip (two when the store has forgotten the script)."""
        keys = self._keys_of(intent.customer)
        words = self._commit_words(keys, intent)
        try:
            reply, *synced = await self._commit_call(_packed(COMMIT, *words), deadline)
            if isinstance(reply, ReplyError) and self._kind(reply) == "NOSCRIPT":
                reply, *synced = await self._commit_call(_packed(COMMIT, *words, whole=True), deadline)
        except StoreError as error:
            kind = type(error).__name__
            return Unknown(kind, isinstance(error, StoreTimeout)) if error.sent else Refused(kind)
        if intent.general_version is None and isinstance(reply, list) and len(reply) > 2:
            return await self._add_elsewhere(reply[2].decode(), intent, deadline)
        return self._outcome(reply, not synced or all(_is_on_disk(each) for each in synced))

    def _commit_call(self, packed: bytes, deadline: float) -> asyncio.Future[list[Any]]:
        """The commit alone; or, in strict mode, with the wait until it is on disk (at once under `appendfsync always`,
        which readiness asks for: the reply itself comes after the disk)."""
        if not self._strict:
            return self._link.call(packed, 1, deadline)
        return self._link.call(packed + pack("WAITAOF", 1, 0, DURABLE_WITHIN_MS), 2, deadline)

    async def release(self, intent: Intent, deadline: float) -> bytes | int:
        """Take back a commit of unknown fate: `b"released"`, `b"absent"`, or how many ms it is too early.
        Raises StoreError and ReplyError."""
        words = self._script_keys(self._keys.of(intent.customer), intent), self._release_args(intent)
        (reply,) = await self._link.call(_packed(RELEASE, *words, whole=True), 1, deadline)
        if isinstance(reply, ReplyError):
            raise reply
        if reply[0] == b"released" and len(reply) > 1:
            return await self._contacts_elsewhere(b"remove", reply[1].decode(), intent, deadline) or b"released"
        return int(reply[1]) if reply[0] == b"wait" else bytes(reply[0])

    async def _add_elsewhere(self, became: str, intent: Intent, deadline: float) -> Outcome:
        """What is logged after the fact counts at the customer who the intent's became."""
        try:
            await self._contacts_elsewhere(b"add", became, intent, deadline)
        except (StoreError, ReplyError) as error:
            return Unknown(type(error).__name__, isinstance(error, StoreTimeout))
        return Committed()

    async def _contacts_elsewhere(self, do: bytes, customer: str, intent: Intent, deadline: float) -> int:
        """Add or remove an intent's contacts at the customer who its own became; or how many ms it is too early.
        Raises StoreError and ReplyError."""
        args = [do, b"%d" % (self._bundle.ledger_retention_s * 1000)]
        for new in intent.contacts:
            args += (b"%d" % new.contact.not_before_ms, self.ledger.encode(new.contact))
        while True:
            keys = self._keys.of(customer)
            packed = _packed(MERGE_CONTACTS, [keys.profile, keys.ledger], args, whole=True)
            reply, *_ = await self._commit_call(packed, deadline)
            if isinstance(reply, ReplyError):
                raise reply
            if reply[0] != b"merged":
                return int(reply[1]) if reply[0] == b"wait" else 0
            customer = reply[1].decode()

    def _script_keys(self, keys: CustomerKeys, intent: Intent) -> list[bytes]:
        names = [keys.profile, keys.ledger, keys.decisions]
        if intent.idempotency is not None:
            names.append(keys.idempotency(intent.idempotency.key_hash))
        for new in intent.contacts:
            names.append(keys.decision_prefix + new.decision_id.encode())
        return names

    def _commit_words(self, keys: CustomerKeys, intent: Intent) -> tuple[list[bytes], list[bytes]]:
        """Keys and arguments of the commit."""
        names = self._script_keys(keys, intent)
        placed: list[bytes] = []
        due: list[bytes] = []
        tails: list[bytes] = []
        for new in intent.contacts:
            contact = new.contact
            member = self.ledger.encode(contact)
            kind = member[PACKED_ID_BYTES:].partition(b",")[0]
            placed += (b"%d" % contact.not_before_ms, member)
            # What outcomes need to know of it without looking into the log: the id of its kind, and its variant.
            tails.append(b" %b %b" % (kind, new.variant.encode()) if new.variant else b" " + kind)
            if self._reward_windows_ms:
                due += self._due(contact, kind)
        if due:
            names.append(self._keys.due(keys.shard))
        entries_max = self._log_entries_max(len(intent.record))
        self._commits += 1
        trims = self._commits % TRIM_EVERY == 0
        if trims:
            names.append(self._keys.worker(keys.shard))
        args = self._commit_head(intent, b"%d" % entries_max if trims else b"", len(due) // 2)
        args += placed
        args += due
        args += tails
        for trial, arm in intent.exposures:
            args += (exposure_field(self._registry.id_of(exposure_name(trial))), arm.encode(), trial.encode())
        return names, args

    def _due(self, contact: Contact, kind: bytes) -> tuple[bytes, ...]:
        """When the window of a rewarded send closes, and what it is: its id, and the kind of its contact."""
        window_ms = self._reward_windows_ms.get(contact.kind.placement)
        if window_ms is None:
            return ()
        return b"%d" % (reserved_at_ms(contact.decision) + window_ms), contact.decision + kind

    def _commit_head(self, intent: Intent, entries_max: bytes, dues: int) -> list[bytes]:
        """The arguments that every commit has."""
        idempotency = intent.idempotency
        return [
            b"*" if intent.general_version is None else b"%d" % intent.general_version,
            b"-" if intent.ledger_version is None else b"%d" % intent.ledger_version,
            b"%d" % intent.commit_by_ms,
            intent.record,
            entries_max,
            b"" if idempotency is None else _kept_value(intent, idempotency),
            b"0" if idempotency is None else b"%d" % IDEMPOTENCY_TTL_S,
            self._ledger_ttl_s,
            b"" if intent.forget_before_ms is None else b"%d" % intent.forget_before_ms,
            self._decision_ttl_s,
            intent.customer.encode(),
            self._profile_ttl_s,
            self._log_ms,
            b"%d" % dues,
        ]

    def _log_entries_max(self, record_bytes: int) -> int:
        """How many records of the usual size fit the shard's share of the log."""
        self._record_bytes += 0.001 * (record_bytes + STREAM_ENTRY_BYTES - self._record_bytes)
        return max(1, int(self._log_bytes / self._record_bytes))

    def _release_args(self, intent: Intent) -> list[bytes]:
        return [
            b"%d" % intent.commit_by_ms,
            bytes.fromhex(intent.base),
            b"0" if intent.idempotency is None else b"1",
            *(self.ledger.encode(new.contact) for new in intent.contacts),
        ]

    def _outcome(self, reply: Any, durable: bool) -> Outcome:
        if isinstance(reply, ReplyError):
            kind = self._kind(reply)
            return Refused(kind) if kind in REFUSALS else Unknown(kind, False)
        try:
            match reply[0]:
                case b"ok":
                    return Committed(durable)
                case b"moved":
                    return Moved(self._decode(reply[1], reply[2], reply[3]))
                case b"twin":
                    return Twin(_kept(reply[1])) if durable else Refused("NotOnDisk")
                case b"late":
                    return Late()
        except GARBLED:
            pass  # nobody knows whether it was written
        return Unknown("Garbled", False)

    def _kind(self, error: ReplyError) -> str:
        """The error's first word; the rest may quote what was sent."""
        kind = str(error).split(" ", 1)[0]
        if kind in MISPLACED:
            self._link.drop(f"the store answered {kind}")
        return kind


def _packed(script: Script, keys: Sequence[bytes], args: Sequence[bytes], whole: bool = False) -> bytes:
    """A script's call for the link; `whole` sends the source (EVAL), which also teaches it to the store again."""
    head = (b"EVAL", script.source) if whole else (b"EVALSHA", script.sha)
    return pack(*head, len(keys), *keys, *args)


def _kept_value(intent: Intent, idempotency: Idempotency) -> bytes:
    """An idempotency record: base id (13 bytes), hash of the request (16), whether it stands (1), the answer. What
    contacts nobody is never taken back, and stands at once."""
    stands = FALLIBLE if intent.contacts else STANDS
    return bytes.fromhex(intent.base) + idempotency.body_hash + stands + intent.answer


def _was_erased(profile: Any, value: bytes) -> bool:
    """Whether an idempotency record is from before its customer was erased. One that cannot be read counts: closed."""
    if not isinstance(profile, list) or ERASURE not in profile:
        return False
    said = profile[profile.index(ERASURE) + 1 :][:1]
    erased_ms = said[0].partition(b",")[0] if said and isinstance(said[0], bytes) else b""
    return not (erased_ms.isdigit() and len(erased_ms) < 20) or reserved_at_ms(value[:BASE_BYTES]) <= int(erased_ms)


def _kept(value: bytes) -> Kept:
    return Kept(value[BASE_BYTES:STANDS_AT], value[STANDS_AT + 1 :])


def _is_on_disk(reply: Any) -> bool:
    """WAITAOF's answer: how many local and how many replica append-only files hold the write."""
    return isinstance(reply, list) and bool(reply) and isinstance(reply[0], int) and reply[0] >= 1


def trial_names(bundle: Bundle) -> Iterator[str]:
    """The registry's names for every trial of a bundle; ensure them before the bundle is served."""
    yield from (exposure_name(arms.key) for arms in bundle.arms)
    yield from (exposure_name(experiment.key) for experiment in bundle.experiments)


def milliseconds(time: Sequence[bytes]) -> int:
    """The store's TIME reply as Unix ms."""
    return int(time[0]) * 1000 + int(time[1]) // 1000


def idempotency_of(key: str, body: bytes) -> Idempotency:
    """A caller's idempotency key, hashed, since callers put anything into it; and the request that it stands for."""
    return Idempotency(
        blake2b(key.encode(), digest_size=16).hexdigest().encode(), blake2b(body, digest_size=BODY_HASH_BYTES).digest()
    )
