"""What the store must hold when a storm is over, as somebody sees it who may look at everything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import ormsgpack

from app.core.decision.ids import id_at, unpack_id
from app.core.decision.record import Record, bundle_digest_of, decode
from app.core.decision.replay import replay
from policy.bundle import Bundle
from policy.codes import Action
from tests.support.history import Span
from tests.support.look import KEYS, Inside
from tests.support.storm import Storm
from tests.support.verdict import verdict_by_the_log


class Logged(NamedTuple):
    """An entry of the decision log, read."""

    at: Span  # of the store's clock, which is in whole milliseconds here
    record: Record
    first_met: tuple[str, ...]  # trials

    @property
    def sends(self) -> Iterator[str]:
        """Ids of the decisions that sent something."""
        for place, decision in enumerate(self.record.decisions):
            if decision.action is Action.SEND:
                yield id_at(self.record.base, place)


def aftermath(inside: Inside, storm: Storm, bundle: Bundle) -> Iterator[str]:
    """Everything that is wrong in the store, in words."""
    logged, aborted = read_log(inside, storm, bundle)
    yield from in_the_log(storm, logged, aborted)
    yield from in_ledgers(inside, storm)
    yield from replays(storm, logged)
    yield from first_met(logged)
    yield from verdict_by_the_log(storm.history, {name: each.at for each in logged for name in each.sends})


def read_log(inside: Inside, storm: Storm, bundle: Bundle) -> tuple[list[Logged], set[str]]:
    """All that the decision log says of the storm's customers, and the bases of what is marked as aborted."""
    shards = {KEYS.of(customer).shard for customer in storm.customers}
    entries = [entry for shard in shards for entry in inside.xrange(KEYS.decisions(shard))]
    records = [(at, fields) for at, fields in entries if b"r" in fields]
    found = [_read(*entry, bundle) for entry in records if bundle_digest_of(entry[1][b"r"]) == bundle.digest]
    logged = [each for each in found if each.record.asked.customer in storm.customers]
    return logged, {fields[b"aborted"].hex() for _, fields in entries if b"aborted" in fields}


def _read(at: bytes, fields: dict[bytes, bytes], bundle: Bundle) -> Logged:
    at_s = int(at.split(b"-")[0]) / 1000
    trials = ormsgpack.unpackb(fields[b"x"])[::2] if b"x" in fields else ()
    return Logged(Span(at_s, at_s + 0.001), decode(fields[b"r"], bundle), tuple(trials))


def in_the_log(storm: Storm, records: list[Logged], aborted: set[str]) -> Iterator[str]:
    """G4: what was answered is in the log, and what is in the log was answered or is marked."""
    logged = {name for each in records if each.record.base not in aborted for name in each.sends}
    answered = {each.decision_id for each in storm.history.contacts()}
    yield from (f"{each} was answered, and is not in the log" for each in sorted(answered - logged))
    yield from (f"{each} is in the log, and was not answered" for each in sorted(logged - answered))


def in_ledgers(inside: Inside, storm: Storm) -> Iterator[str]:
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


def replays(storm: Storm, records: list[Logged]) -> Iterator[str]:
    """G8: every record decides again to the bytes that its caller got. Those hold what was not chosen besides."""
    for _, record, _ in records:
        for place, again in enumerate(replay(record)):
            name = id_at(record.base, place)
            if not again.same:
                yield f"{name} replays to something else"
            if name in storm.bodies and again.answer[:-1] not in storm.bodies[name]:
                yield f"{name} replays to other bytes than were answered"


def first_met(records: list[Logged]) -> Iterator[str]:
    """Whoever meets a trial is logged to do so for the first time: once."""
    first: Counter[tuple[str, str]] = Counter()
    met: set[tuple[str, str]] = set()
    for _, record, trials in records:
        customer = record.asked.customer
        first.update((customer, trial) for trial in trials)
        met.update((customer, exposure.trial) for decision in record.decisions for exposure in decision.exposures)
        # Who had met it as another customer, or before all that is judged here, has met it.
        met -= {(customer, trial) for trial in record.facts.exposures if not first[customer, trial]}
    for (customer, trial), times in sorted(first.items()):
        if times > 1:
            yield f"{customer} met `{trial}` for the first time {times} times"
    yield from (f"{customer} met `{trial}`, and it is not in the log" for customer, trial in sorted(met - set(first)))
