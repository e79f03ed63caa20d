"""A record of the decision log that nobody can read any more: it is told as that, and it stops nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ormsgpack
import pytest
from redis import Redis

from app.copy_log import copy_log
from app.core.decision.record import base_of_record
from app.records_file import contents, records_of
from app.replay_records import Replaying
from tests.http.test_erasure import erase, until_done
from tests.http.test_outcomes import tell
from tests.support.contract import Caller, problem
from tests.support.serving import Server


def stream_of(decision_id: str) -> str:
    return f"{{s{int(decision_id[4:7], 16):03d}}}:decisions"


@contextmanager
def damaged(store: Redis, decision_id: str, *, whose_is_known: bool = False) -> Iterator[None]:
    """The record as a disk or another program might leave it, for a while. `whose_is_known`: its head is whole."""

    def broken(raw: bytes) -> bytes:
        members = ormsgpack.unpackb(raw)
        members[8] = [[250] * 18] * len(members[8])
        return ormsgpack.packb(members) if whose_is_known else b"\xc1" + raw[1:40]

    with changed(store, decision_id, broken):
        yield


@contextmanager
def changed(store: Redis, decision_id: str, change: Callable[[bytes], bytes]) -> Iterator[None]:
    """The record changed for a while: a stream's entries cannot be, so it is written anew, with the same ids."""
    stream, base = stream_of(decision_id), decision_id[4:-2]
    entries: Any = store.xrange(stream)
    others = []
    for entry, fields in entries:
        raw, kept = fields.get(b"r"), fields
        if raw is not None and base_of_record(raw) == base:
            kept = fields | {b"r": change(raw)}
        others.append((entry, kept))
    assert others != entries
    _write(store, stream, others)
    try:
        yield
    finally:
        added: Any = store.xrange(stream, b"(" + entries[-1][0])
        _write(store, stream, [*entries, *added])


def _write(store: Redis, stream: str, entries: Any) -> None:
    pipeline = store.pipeline(transaction=True)
    pipeline.delete(stream)
    for entry, fields in entries:
        pipeline.xadd(stream, fields, id=entry)
    pipeline.execute()


@pytest.mark.parametrize("whose_is_known", [True, False])
def test_it_is_a_410_that_says_where_to_look_and_the_log_names_it(
    caller: Caller, server: Server, store: Redis, whose_is_known: bool
) -> None:
    sent, silent = caller.decision(caller.customer()), caller.decision(caller.stranger())
    assert (sent["action"], silent["action"]) == ("send", "suppress")
    for decision in (sent["decision_id"], silent["decision_id"]):
        with damaged(store, decision, whose_is_known=whose_is_known):
            told = problem(caller.http.get(f"/v1/decisions/{decision}"), 410, "record_unreadable")
        assert "archive" in told["detail"]
        assert f"the record of {decision} cannot be read" in server.log()
        assert caller.record(decision)["decision_id"] == decision
    assert "Traceback" not in server.log()


def test_the_others_of_its_moment_are_found(caller: Caller, store: Redis) -> None:
    """One that is in the way is passed over: what was not sent is looked for from its time on."""
    decision = caller.decision(caller.stranger())["decision_id"]
    stream = stream_of(decision)
    entries: Any = store.xrange(stream)
    entry, fields = entries[-1]
    assert base_of_record(fields[b"r"]) == decision[4:-2]
    at, _, number = entry.partition(b"-")
    _write(store, stream, [*entries[:-1], (entry, {b"r": b"\xc1"}), (b"%s-%d" % (at, int(number) + 1), fields)])
    try:
        assert caller.record(decision)["decision_id"] == decision
    finally:
        _write(store, stream, entries)


def test_what_is_told_of_its_message_still_stops_whom_it_concerns(caller: Caller, store: Redis) -> None:
    """Closed: a stop is not lost because nobody can read why something was sent."""
    customer = caller.customer()
    decision = caller.decision(customer)["decision_id"]
    pointer = f"{{s{int(decision[4:7], 16):03d}}}:d:{decision}"
    known: Any = store.get(pointer)
    at, who, *_ = known.split(b" ")
    store.set(pointer, b" ".join((at, who)), keepttl=True)  # as releases wrote it that looked into the record
    with damaged(store, decision):
        assert tell(caller, decision, "complained")["applied"]
    assert caller.decision(customer)["reason"].startswith("suppressed")


@pytest.mark.parametrize("whose_is_known", [True, False])
def test_whoever_asks_for_everything_gets_the_rest(caller: Caller, store: Redis, whose_is_known: bool) -> None:
    customer = caller.customer()
    first, second = (caller.decision(customer, each)["decision_id"] for each in ("weekly", "thrice"))
    with damaged(store, first, whose_is_known=whose_is_known):
        exported = caller.http.get(f"/v1/customers/{customer}/export").json()["decisions"]
    assert exported[-1]["decision_id"] == second
    noted = [{"request": first[4:-2], "note": "the record is damaged and cannot be read"}] if whose_is_known else []
    assert exported[:-1] == noted


def test_an_erasure_comes_to_its_end(caller: Caller, store: Redis) -> None:
    customer = caller.customer()
    first, second = (caller.decision(customer, each)["decision_id"] for each in ("weekly", "thrice"))
    with damaged(store, first):
        until_done(caller, erase(caller, customer)["erasure"])
        assert problem(caller.http.get(f"/v1/decisions/{second}"), 404, "decision_expired")


def test_it_is_copied_and_counted_where_all_are_decided_again(
    caller: Caller, server: Server, store: Redis, tmp_path: Path
) -> None:
    decision = caller.decision(caller.customer())["decision_id"]
    with damaged(store, decision):
        copy_log(f"unix://{server.store.socket_path}", tmp_path / "records", None, None, lambda *_: None)
    found = contents(tmp_path / "records")
    raws = [raw for chunk in found.chunks for raw in records_of(tmp_path / "records", chunk)]
    assert Replaying(found.bundles, None)(raws).unreadable == 1


def test_outcomes_that_cannot_be_read_are_told_as_that_too(caller: Caller, store: Redis) -> None:
    decision = caller.decision(caller.customer())["decision_id"]
    told = f"{{s{int(decision[4:7], 16):03d}}}:o:{decision}"
    store.hset(told, "abcdefgh", "sent,99999999999999999")
    problem(caller.http.get(f"/v1/decisions/{decision}"), 410, "record_unreadable")
    store.delete(told)
    assert caller.record(decision)["decision_id"] == decision
