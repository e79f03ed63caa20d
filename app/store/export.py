"""Everything that the store holds of one customer, part by part, for the person whom it is about."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, cast

from redis.asyncio import Redis

from app.core.attribution import Claim, read_claims
from app.core.decision.ids import id_at, unpack_id
from app.core.decision.record import Record, UnreadableRecord, bundle_digest_of, decode, heading_of
from app.core.erasure import names_one_of
from app.core.events.entry import decode as decode_event
from app.core.events.entry import decode_letter
from app.core.events.event import Collected, Letter
from app.core.features import codec
from app.core.features.plan import FoldPlan, Group
from app.core.standing import Told
from app.store import keys as key_names
from app.store.bundles import BundleArchive
from app.store.customer_trouble import store_errors
from app.store.decision_log import ABORTED, RECORD
from app.store.events import FIELD
from app.store.fields import FieldRegistry
from app.store.keys import Keys
from app.store.ledger import LedgerCodec
from app.store.stream_pages import pages
from app.store.waiting import WaitingStore
from policy.bundle import Bundle
from policy.facts import Contact


class Identity(NamedTuple):
    """An identity as far as the store knows it: a keyed hash, and when it was told of the customer, where that is
    kept."""

    kind: str
    hash: str
    told_ms: int | None


class Happening(NamedTuple):
    """One outcome of a decision."""

    decision: str
    type: str
    at_ms: int
    value: float | None


class Mail(NamedTuple):
    """What is known of a customer's mail beyond single decisions."""

    outcomes: list[tuple[str, int]]  # type and time of those that no decision was found for
    waiting: list[tuple[str, int | None]]  # the same of those that wait for a mail's decision
    soft_bounces: list[int]
    lifted: dict[str, int]  # `<scope>:<reason>` of suppressions → when they were last lifted
    released: list[str]  # decisions whose contact does not count any more
    conversions: list[Claim]


class ExportReads:
    """Reads what is held under all keys of one person. `names`: those keys, last the one that the others became. Every
    method raises Problem `store_unavailable`."""

    def __init__(
        self, client: Redis, keys: Keys, fields: FieldRegistry, bundles: BundleArchive, names: tuple[str, ...]
    ) -> None:
        self._client = client
        self._keys = keys
        self._fields = fields
        self._bundles = bundles
        self._names = names
        self._shards = sorted({keys.shard_of(name) for name in names})

    async def identities(self) -> list[Identity]:
        """Hashes of what the customer is known by elsewhere."""
        with store_errors():
            held = cast("set[bytes]", await cast("Any", self._client.smembers(self._keys.aliases(self._names[-1]))))
            found = sorted({each for key in held if (each := key_names.identity_of(key)) is not None})
            pipeline = self._client.pipeline(transaction=False)
            for each in found:
                pipeline.hmget(key_names.claims(*each), list(self._names))
            told = await pipeline.execute() if found else []
        return [
            Identity(kind, digest, min((int(at) for at in times if at is not None), default=None))
            for (kind, digest), times in zip(found, told, strict=True)
        ]

    async def contacts(self) -> tuple[Contact, ...]:
        """What the ledger holds."""
        with store_errors():
            await self._fields.refresh()
            ledger = self._keys.of(self._names[-1]).ledger
            flat = cast("list[tuple[bytes, float]]", await self._client.zrange(ledger, 0, -1, withscores=True))
        stored = [part for member, score in flat for part in (member, b"%d" % score)]
        return LedgerCodec(self._fields).decode(stored)

    async def mail(self, emails: Iterable[str]) -> Mail:
        """Of all keys of the person. `emails`: keyed hashes of the addresses that lead to it."""
        mail = Mail([], [], [], {}, [], [])
        with store_errors():
            for name in self._names:
                stored = cast("dict[bytes, bytes]", await cast("Any", self._client.hgetall(self._keys.mail(name))))
                _add_mail(mail, stored)
            waiting = await WaitingStore(self._client).about(emails)
        mail.waiting.extend((each.heard.outcome.type.value, each.heard.outcome.at_ms) for each in waiting)
        return mail

    async def states(self, bundle: Bundle) -> dict[str, Any]:
        """What features are folded into: counts by bucket, as they are kept. By group of events, then by lane."""
        groups = {group.key: group for group in FoldPlan.of(bundle).groups}
        found: dict[str, Any] = {}
        with store_errors():
            for name in self._names:
                stored = await cast("Any", self._client.hgetall(self._keys.of(name).features))
                for key, raw in stored.items():
                    if key != b">":
                        found[key.decode()] = _lanes(groups.get(key.decode()), raw)
        return found

    async def decisions(self) -> AsyncIterator[tuple[Record | UnreadableRecord | None, str]]:
        """Records of the log, the oldest first in each shard, with the shared part of their ids. None: its bundle is no
        longer in the store. Of what is so damaged that nobody can say whose it is, there is nothing."""
        with store_errors():
            for shard in self._shards:
                async for entries in pages(self._client, self._keys.decisions(shard)):
                    for _, fields in entries:
                        try:
                            heading = heading_of(fields.get(RECORD, b""))
                        except UnreadableRecord:
                            continue
                        if heading.customer in self._names:
                            yield await self._record(fields[RECORD]), heading.base

    async def _record(self, raw: bytes) -> Record | UnreadableRecord | None:
        try:
            bundle = await self._bundles.get_readable(bundle_digest_of(raw))
            return None if bundle is None else decode(raw, bundle)
        except UnreadableRecord as error:
            return error

    async def outcomes(self, base: str, decisions: int) -> tuple[list[Happening], bool]:
        """What happened to what the decisions of a request sent, and whether it was taken back: it was never
        answered then."""
        ids = [id_at(base, place) for place in range(decisions)]
        with store_errors():
            pipeline = self._client.pipeline(transaction=False)
            for each in ids:
                for shard in self._shards:
                    pipeline.hgetall(self._keys.outcomes(shard, each.encode()))
            for each in ids:
                pipeline.get(self._keys.decision(int(base[:3], 16), each.encode()))
            replies = await pipeline.execute()
        width = len(self._shards)
        told, pointers = replies[: width * decisions], replies[width * decisions :]
        happenings = [
            happening for at, stored in enumerate(told) for happening in _happenings(ids[at // width], stored)
        ]
        return happenings, ABORTED in pointers

    async def events(self) -> AsyncIterator[tuple[int, str, Collected]]:
        """What the customer did, as far as it is in the streams: shard, position, event."""
        with store_errors():
            for shard in self._shards:
                async for entries in pages(self._client, self._keys.events(shard)):
                    for entry, fields in entries:
                        try:
                            event = decode_event(fields.get(FIELD, b""))
                        except (ValueError, TypeError, LookupError):
                            continue  # nobody can say whose it is
                        if names_one_of(event, self._names) is not None:
                            yield shard, entry.decode(), event

    async def letters(self) -> AsyncIterator[Letter]:
        """Events of the customer that could not be taken, masked as they are kept."""
        with store_errors():
            for shard in self._shards:
                async for entries in pages(self._client, self._keys.dead_letters(shard)):
                    for _, fields in entries:
                        letter = decode_letter(fields[FIELD])
                        if letter.customer in self._names:
                            yield letter


def decision_of(contact: Contact) -> str:
    """The id of the decision that a contact comes from."""
    return unpack_id(contact.decision)


def _add_mail(mail: Mail, stored: Mapping[bytes, bytes]) -> None:
    """Add what a customer's hash holds (described in outcome.lua)."""
    mail.conversions.extend(read_claims(stored))
    for field, raw in stored.items():
        kind, rest = field[:1], field[1:]
        if kind == b"f":
            told = Told.read(raw)
            mail.outcomes.append((told.type, told.at_ms))
        elif kind == b"b":
            mail.soft_bounces.append(int(raw))
        elif kind == b"^":
            mail.lifted[rest.removeprefix(b"-").decode()] = int(raw)
        elif kind == b"c":
            mail.released.append(unpack_id(rest))


def _lanes(group: Group | None, raw: bytes) -> Any:
    """Text of the bytes where the bundle does not know what they are, or they cannot be read."""
    if group is None:
        return b64encode(raw).decode()
    try:
        newest_ms, *cells = codec.decode(group, raw)
    except codec.UnreadableState:
        return b64encode(raw).decode()
    lanes = {lane.key: _plain(each) for lane, each in zip(group.lanes, cells, strict=True)}
    return {"newest_ms": newest_ms, "lanes": lanes}


def _plain(value: Any) -> Any:
    """Cells as JSON knows them."""
    if isinstance(value, bytes):
        return b64encode(value).decode()
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(each) for each in value]
    return value


def _happenings(decision: str, stored: Mapping[bytes, bytes]) -> Iterator[Happening]:
    """Outcomes among what is known of a sending: fingerprints, of 8 bytes or `@…`, lead to `<type>,<ms>[,<value>]`."""
    for name, told in stored.items():
        if len(name) == 8 or name.startswith(b"@"):
            known = Told.read(told)
            yield Happening(decision, known.type, known.at_ms, known.value)
