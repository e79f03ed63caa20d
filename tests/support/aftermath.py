"""What the store must hold when a storm is over, as somebody sees it who may look at everything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import ormsgpack

from app.core.decision.ids import id_at, parse_id, unpack_id
from app.core.decision.record import Record, base_of_record, bundle_digest_of, decode
from app.core.decision.replay import replay
from policy.bundle import Bundle
from policy.codes import Action
from tests.support.look import KEYS, Inside
from tests.support.storm import Storm


def aftermath(inside: Inside, storm: Storm, bundle: Bundle) -> Iterator[str]:
    """Everything that is wrong in the store, in words."""
    entries = [fields for shard in _shards(storm) for _, fields in inside.xrange(KEYS.decisions(shard))]
    records = [
        decode(fields[b"r"], bundle)
        for fields in entries
        if b"r" in fields and bundle_digest_of(fields[b"r"]) == bundle.digest
    ]
    records = [each for each in records if each.asked.customer in storm.customers]
    yield from log(storm, records, {fields[b"aborted"].hex() for fields in entries if b"aborted" in fields})
    yield from ledgers(inside, storm)
    yield from replays(storm, records)
    yield from first_exposures(storm, entries)


def _shards(storm: Storm) -> set[int]:
    return {KEYS.of(customer).shard for customer in storm.customers}


def log(storm: Storm, records: list[Record], aborted: set[str]) -> Iterator[str]:
    """G4: what was answered is in the log, and what is in the log was answered or is marked."""
    logged = {
        id_at(each.base, place)
        for each in records
        for place, decision in enumerate(each.decisions)
        if decision.action is Action.SEND and each.base not in aborted
    }
    answered = {each.decision_id for each in storm.history.contacts()}
    yield from (f"{each} was answered, and is not in the log" for each in sorted(answered - logged))
    yield from (f"{each} is in the log, and was not answered" for each in sorted(logged - answered))


def ledgers(inside: Inside, storm: Storm) -> Iterator[str]:
    """Every contact that was not released is in the ledger of whose it is, once, and no other is in any."""
    due: dict[str, set[str]] = {customer: set() for customer in storm.customers}
    for each in storm.history.contacts():
        if not each.released:
            due[storm.history.winner_of(each.customer)].add(each.decision_id)
    for customer in storm.customers:
        if storm.history.winner_of(customer) != customer:
            continue
        held = [unpack_id(member[:14]) for member in inside.zrange(KEYS.of(customer).ledger, 0, -1)]
        yield from (f"{each} is twice in {customer}'s ledger" for each, n in Counter(held).items() if n > 1)
        yield from (f"{each} is not in {customer}'s ledger" for each in sorted(due[customer] - set(held)))
        yield from (f"{each} is in {customer}'s ledger" for each in sorted(set(held) - due[customer]))


def replays(storm: Storm, records: list[Record]) -> Iterator[str]:
    """G8: every record decides again to the bytes that its caller got. Those hold what was not chosen besides."""
    for record in records:
        for place, again in enumerate(replay(record)):
            name = id_at(record.base, place)
            if not again.same:
                yield f"{name} replays to something else"
            if name in storm.bodies and again.answer[:-1] not in storm.bodies[name]:
                yield f"{name} replays to other bytes than were answered"


def first_exposures(storm: Storm, entries: list[dict[bytes, Any]]) -> Iterator[str]:
    """Who meets a trial is logged once."""
    first: Counter[tuple[str, str]] = Counter()
    met: set[tuple[str, str]] = set()
    by_base = {parsed.base: a.customer for a in storm.history.asked for d in a.decisions if (parsed := parse_id(d["decision_id"]))}
    for fields in entries:
        customer = by_base.get(base_of_record(fields[b"r"])) if b"r" in fields else None
        if customer is not None and b"x" in fields:
            first.update((customer, trial) for trial in ormsgpack.unpackb(fields[b"x"])[::2])
    for asked in storm.history.asked:
        for each in asked.decisions:
            met |= {(asked.customer, f"{name}") for name in each.get("experiments", {})}
    yield from (f"{customer} met `{trial}` for the first time {n} times" for (customer, trial), n in first.items() if n > 1)
    known = {(customer, trial.partition("/")[0]) for customer, trial in first}
    merged = {each.loser for each in storm.history.merges} | {each.winner for each in storm.history.merges}
    yield from (
        f"{customer} met `{trial}`, and it is not in the log"
        for customer, trial in sorted(met - known)
        if customer not in merged
    )
