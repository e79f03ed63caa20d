"""What of erased customers lies elsewhere than under their own keys, found and deleted: many customers in one pass.

Every sweep is harmless to repeat, and says how much it deleted for each erasure. What came after an erasure is left
alone once a later consent has ended it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, cast

from redis.asyncio import Redis

from app.core.decision.ids import parse_id, reserved_at_ms
from app.core.decision.record import UnreadableRecord, heading_of
from app.core.erasure import Job, names_one_of
from app.core.events.entry import decode, decode_letter, encode
from app.core.events.event import Letter
from app.core.outcome_stream import whose
from app.store import keys as key_names
from app.store.customer_trouble import store_errors
from app.store.decision_log import ABORTED, RECORD
from app.store.decisions import BASE_BYTES
from app.store.events import FIELD
from app.store.fold_store import CARRIED_TO
from app.store.keys import CTL_CLAIMS_DUE, Keys
from app.store.profile import GENERAL_VERSION, MERGE
from app.store.servers import all_scanned, together
from app.store.stream_pages import pages
from app.store.waiting import WaitingStore

#: Up to so many names are looked for in an entry's bytes before it is decoded.
LOOKED_FOR_MAX = 20
SCANNED = 1_000
#: In claims: whose an identity was found to be (app.store.claims).
SETTLED = b"="


class _Key(NamedTuple):
    """The name of a key of a shard: `{s017}:<kind>:<rest>`."""

    name: bytes
    shard: int
    kind: bytes
    rest: bytes

    @classmethod
    def of(cls, name: bytes) -> _Key:
        tag, kind, rest = name.split(b":", 2)
        return cls(name, int(tag[2:-1]), kind, rest)

    @property
    def customer(self) -> str:
        """Whose an idempotency record is; empty for other keys."""
        return self.rest.rpartition(b":")[0].decode() if self.kind == b"i" else ""


class Sweeps:
    """Sweeps. Every method raises Problem `store_unavailable`."""

    def __init__(self, client: Redis, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    async def identities(self, jobs: Sequence[Job]) -> Counter[str]:
        """What identities told of the customers, what waits for a mail of theirs, and what is left of customers who had
        become them. Aliases and pointers stay, without an end: who comes back by one is known to be erased."""
        found: Counter[str] = Counter()
        with store_errors():
            for job in jobs:
                found[job.erasure] += await self._identities_of(job)
            found.update(await self._claims_due(jobs))
        return found

    async def _identities_of(self, job: Job) -> int:
        held = self._keys.aliases(job.name)
        pointing = cast("set[bytes]", await cast("Any", self._client.smembers(held)))
        claims = {key_names.claims(*found) for key in pointing if (found := key_names.identity_of(key)) is not None}
        emails = {found[1] for key in pointing if (found := key_names.identity_of(key)) and found[0] == "email_sha256"}
        deleted = await WaitingStore(self._client).forget({*emails, *job.hashes})
        for claim in claims:
            deleted += int(await cast("Any", self._client.hdel(claim, *job.names)))
            settled = await cast("Any", self._client.hget(claim, SETTLED))
            if settled is not None and settled.decode() in job.names:
                await self._client.delete(claim)
        pipeline = self._client.pipeline(transaction=False)
        for key in pointing:
            pipeline.persist(key)
            if (identity := key_names.identity_of(key)) is not None:
                pipeline.delete(key_names.waiting_for_recipient(identity[1]))
        for name in job.names[:-1]:
            names = self._keys.history(name), self._keys.of(name).ledger, self._keys.merges(name)
            pipeline.delete(*names, self._keys.mail(name))
            pipeline.srem(held, self._keys.history(name))
        if claims:
            pipeline.srem(held, *claims)
        await pipeline.execute()
        for name in job.names[:-1]:
            await self._only_pointers(name)
        return deleted

    async def _only_pointers(self, name: str) -> None:
        """Of a customer who became another one: whom, and nothing else."""
        keys = self._keys.of(name)
        for key, stays in ((keys.profile, {MERGE, GENERAL_VERSION}), (keys.features, {CARRIED_TO})):
            fields = cast("list[bytes]", await cast("Any", self._client.hkeys(key)))
            if gone := [field for field in fields if field not in stays]:
                await cast("Any", self._client.hdel(key, *gone))

    async def _claims_due(self, jobs: Sequence[Job]) -> Counter[str]:
        """Aliases that were told and not acted on yet: `alias <loser> <winner> …`."""
        of_name = _by_name(jobs)
        found: Counter[str] = Counter()
        async for member, _ in self._client.zscan_iter(CTL_CLAIMS_DUE, match="alias *", count=SCANNED):
            _, loser, winner, *_ = member.decode().split(" ")
            job = of_name.get(loser) or of_name.get(winner)
            if job is not None:
                await self._client.zrem(CTL_CLAIMS_DUE, member)
                found[job.erasure] += 1
        return found

    async def decisions(self, jobs: Sequence[Job]) -> Counter[str]:
        """Records of decisions from before the erasure, with what the outcome streams say of them."""
        found: Counter[str] = Counter()
        with store_errors():
            for shard, of_name in self._by_shard(jobs).items():
                stream = self._keys.decisions(shard)
                bases: dict[str, Job] = {}
                async for entries in pages(self._client, stream):
                    gone = []
                    for entry, fields in entries:
                        job = _whose_record(fields, of_name, bases)
                        if job is not None:
                            gone.append(entry)
                            found[job.erasure] += 1
                    if gone:
                        await self._client.xdel(stream, *gone)
            found.update(await self._outcome_streams(jobs))
        return found

    async def _outcome_streams(self, jobs: Sequence[Job]) -> Counter[str]:
        """What happened to what was sent before the erasure, and what it earned. A reward may lie in the shard of whom
        the customer was when it was decided."""
        found: Counter[str] = Counter()
        of_name = _by_name(jobs)
        for shard in self._by_shard(jobs):
            stream = self._keys.outcome_stream(shard)
            async for entries in pages(self._client, stream):
                gone = []
                for entry, fields in entries:
                    about = whose(fields)
                    job = None if about is None else of_name.get(about[0])
                    if about is not None and job is not None and about[1] <= job.erased_ms:
                        gone.append(entry)
                        found[job.erasure] += 1
                if gone:
                    await self._client.xdel(stream, *gone)
        return found

    async def receipts(self, jobs: Sequence[Job]) -> Counter[str]:
        """Idempotency records, pointers from decisions and what outcomes told, from before the erasure. They have no
        index: one pass over the names of the store's keys, for however many erasures."""
        found: Counter[str] = Counter()
        of_name = _by_name(jobs)
        shards = {self._keys.shard_of(name) for name in of_name}
        pattern = b"{s%03d}:[id]:*" % next(iter(shards)) if len(shards) == 1 else b"{s*}:[id]:*"
        with store_errors():
            async for page in all_scanned(self._client, pattern, SCANNED):
                for erasure in await self._forget(page, of_name):
                    found[erasure] += 1
        return found

    async def _forget(self, names: Iterable[bytes], of_name: dict[str, Job]) -> list[str]:
        """Those of some keys that are about one of the customers, deleted; the erasure of each."""
        keys = [_Key.of(name) for name in names]
        wanted = [key for key in keys if key.kind == b"d" or key.customer in of_name]
        pipeline = self._client.pipeline(transaction=False)
        for key in wanted:
            pipeline.get(key.name)
        values = await pipeline.execute() if wanted else []
        pipeline = self._client.pipeline(transaction=False)
        found = []
        for key, value in zip(wanted, values, strict=True):
            if value is None:
                continue
            if key.kind == b"d":
                job = of_name.get(value.partition(b" ")[2].partition(b" ")[0].decode())  # a kind may follow
                decision = parse_id(key.rest.decode())
                at_ms = decision.at_ms if decision is not None else 0
            else:
                job, at_ms = of_name[key.customer], reserved_at_ms(value[:BASE_BYTES])
            if job is None or at_ms > job.erased_ms:
                continue
            if key.kind == b"d":  # before the pointer that leads to them
                await self._client.unlink(*self._outcomes(key.rest, job, key.shard))
            pipeline.unlink(key.name)
            found.append(job.erasure)
        await pipeline.execute()
        return found

    def _outcomes(self, decision: bytes, job: Job, shard: int) -> list[bytes]:
        """Where outcomes of a decision may lie: with whoever the customer was by then."""
        shards = {shard, *(self._keys.shard_of(name) for name in job.names)}
        return [self._keys.outcomes(each, decision) for each in shards]

    async def events(self, jobs: Sequence[Job], until_ms: dict[str, int]) -> Counter[str]:
        """Entries of all streams, and letters: others' events may name a customer too. `until_ms`: by erasure; what
        was received later is left."""
        found: Counter[str] = Counter()
        with store_errors():
            of_name = _by_name(jobs)
            for shard in range(self._keys.shards):
                for stream, read in (
                    (self._keys.events(shard), decode),
                    (self._keys.dead_letters(shard), decode_letter),
                ):
                    async for entries in pages(self._client, stream):
                        for entry, fields in entries:
                            job = await self._take_out(stream, entry, fields, read, of_name, until_ms)
                            if job is not None:
                                found[job.erasure] += 1
        return found

    async def _take_out(
        self, stream: bytes, entry: bytes, fields: Any, read: Any, of_name: dict[str, Job], until_ms: dict[str, int]
    ) -> Job | None:
        raw = fields.get(FIELD, b"")
        if len(of_name) <= LOOKED_FOR_MAX and not any(name.encode() in raw for name in of_name):
            return None
        try:
            told = read(raw)
        except (ValueError, TypeError, LookupError):  # nobody can say whose it is: the worker puts it aside
            return None
        name = _named(told, of_name)
        job = None if name is None else of_name[name]
        if job is None or told.received_at_ms > until_ms[job.erasure]:
            return None
        commands: list[tuple[str | bytes, ...]] = []
        if told.customer not in of_name and not isinstance(told, Letter) and told.previous_customer in of_name:
            # Another one's event, which says who that one was. It has its id, so that it counts once.
            unsaid = told._replace(previous=(), previous_customer="")
            commands.append(("XADD", stream, "*", FIELD, encode(unsaid)))
        await together(self._client, *commands, ("XDEL", stream, entry))
        return job

    async def has_archive(self, groups: int) -> bool:
        """Whether anything was ever archived."""
        with store_errors():
            for group in range(groups):
                if await self._client.exists(key_names.archive_group(group)):
                    return True
        return False

    def _by_shard(self, jobs: Iterable[Job]) -> dict[int, dict[str, Job]]:
        shards: dict[int, dict[str, Job]] = {}
        for name, job in _by_name(jobs).items():
            shards.setdefault(self._keys.shard_of(name), {})[name] = job
        return shards


def _by_name(jobs: Iterable[Job]) -> dict[str, Job]:
    return {name: job for job in jobs for name in job.names}


def _named(told: Any, of_name: dict[str, Job]) -> str | None:
    if isinstance(told, Letter):
        return next((name for name in (told.customer, told.previous_customer) if name in of_name), None)
    return names_one_of(told, of_name)


def _whose_record(fields: dict[bytes, bytes], of_name: dict[str, Job], bases: dict[str, Job]) -> Job | None:
    """The erasure that an entry of the decision log falls under. `bases` learns the requests that did."""
    aborted = fields.get(ABORTED)
    if aborted is not None:
        return bases.get(aborted.hex())
    try:
        heading = heading_of(fields.get(RECORD, b""))
    except UnreadableRecord:  # nobody can say whose it is: it goes when the log is trimmed
        return None
    job = of_name.get(heading.customer)
    if job is None or heading.now_ms > job.erased_ms:
        return None
    bases[heading.base] = job
    return job
