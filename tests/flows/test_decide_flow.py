"""The decide flow between its read and its commit: what moves in the meantime, and what may be written."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import orjson

from app.core.decision.commit import Idempotency
from app.core.decision.ids import parse_id
from app.core.decision.record import decode
from app.core.decision.replay import replay
from app.flows.decide import Answered
from tests.flows.conftest import Flow
from tests.support.contract import ATTRIBUTES, EVERYTHING_ALLOWED

KNOWN: dict[str, Any] = {"attributes": ATTRIBUTES, "region": "DE", "timezone": "UTC", "consent": EVERYTHING_ALLOWED}


def decision(answered: Answered, place: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(answered.body)["decisions"][place]
    return found


async def log_of(flow: Flow, customer: str) -> list[bytes]:
    stream = flow.services.keys.of(customer).decisions
    return [fields[b"r"] for _, fields in await flow.services.client.xrange(stream)]


def once(flow: Flow, *commands: tuple[str | bytes | int, ...]) -> None:
    """Let these commands reach the store between the next read and its commit."""

    def happen() -> None:
        flow.before_commit = None
        flow.store.commands(*commands)

    flow.before_commit = happen


async def test_a_withdrawal_between_read_and_commit_wins(flow: Flow) -> None:
    await flow.know("cus_1", **KNOWN)
    profile = flow.services.keys.of("cus_1").profile
    once(flow, ("HSET", profile, "-*:manual", "1,x"), ("HINCRBY", profile, "!g", 1))
    answered = await flow.decide("cus_1", "weekly")
    assert (decision(answered)["action"], decision(answered)["reason"]) == ("suppress", "suppressed:manual")
    assert decision(answered)["retryable"] is False
    assert answered.conflicts == 1
    assert await flow.services.client.exists(flow.services.keys.of("cus_1").ledger) == 0


async def test_a_contact_that_slips_in_between_is_counted(flow: Flow) -> None:
    await flow.know("cus_1", **KNOWN)
    await flow.decide("cus_1", "twice")
    keys = flow.services.keys.of("cus_1")
    ((member, at_ms),) = await flow.services.client.zrange(keys.ledger, 0, -1, withscores=True)
    twin = b"\x00" + member[1:]
    once(flow, ("ZADD", keys.ledger, int(at_ms), twin), ("HINCRBY", keys.profile, "!l", 1))
    answered = await flow.decide("cus_1", "weekly", "twice")
    assert [decision(answered, place)["action"] for place in (0, 1)] == ["send", "suppress"]
    assert answered.conflicts == 1


async def test_where_no_limit_applies_a_ledger_that_moved_is_no_conflict(flow: Flow) -> None:
    await flow.know("cus_1", **KNOWN)
    once(flow, ("HINCRBY", flow.services.keys.of("cus_1").profile, "!l", 1))
    answered = await flow.decide("cus_1", "weekly")
    assert (decision(answered)["action"], answered.conflicts) == ("send", 0)


async def test_attributes_that_change_in_between_are_no_conflict(flow: Flow) -> None:
    await flow.know("cus_1", **KNOWN)
    profile = flow.services.keys.of("cus_1").profile
    field = flow.services.fields.id_of("a:recency")
    once(flow, ("HSET", profile, field, "60"))
    answered = await flow.decide("cus_1", "weekly")
    assert (decision(answered)["action"], answered.conflicts) == ("send", 0)


async def test_facts_that_never_stand_still_end_in_a_conflict_to_be_tried_again(flow: Flow) -> None:
    await flow.know("cus_1", **KNOWN)
    profile = flow.services.keys.of("cus_1").profile
    flow.before_commit = lambda: flow.store.command("HINCRBY", profile, "!g", 1)
    answered = await flow.decide("cus_1", "weekly", budget_ms=60)
    found = decision(answered)
    assert (found["action"], found["rung"]) == ("suppress", "suppress")
    assert (found["reason"], found["retryable"]) == ("conflict", True)
    assert found["degraded"] in (["deadline"], ["commit_unknown"]), "the last commit may have been on its way"
    assert answered.conflicts >= 1
    assert await log_of(flow, "cus_1") == []


async def test_what_is_decided_again_keeps_its_chance(flow: Flow) -> None:
    """Seed and id bits are drawn once: nobody gets a second draw by making the first commit fail."""
    await flow.know("cus_1", **KNOWN)
    drawn = itertools.count(1)
    flow.services.decider._chance = lambda _: next(drawn)
    profile = flow.services.keys.of("cus_1").profile
    once(flow, ("HINCRBY", profile, "!g", 1))
    answered = await flow.decide("cus_1", "weekly")
    assert answered.conflicts == 1
    found = parse_id(decision(answered)["decision_id"])
    assert found is not None
    assert found.chance == 2
    (raw,) = await log_of(flow, "cus_1")
    record = decode(raw, flow.services.bundle)
    assert (record.seed, next(drawn)) == (1, 3)
    assert all(again.same for again in replay(record))


async def test_decisions_for_one_customer_take_turns_and_do_not_conflict(flow: Flow) -> None:
    await flow.know("cus_1", **KNOWN)
    answers = await asyncio.gather(*(flow.decide("cus_1", "thrice") for _ in range(10)))
    assert [decision(each)["action"] for each in answers].count("send") == 3
    assert sum(each.conflicts for each in answers) == 0


async def test_a_twin_that_another_process_committed_first_gives_its_bytes(flow: Flow) -> None:
    await flow.know("cus_1", **KNOWN)
    keys = flow.services.keys.of("cus_1")
    theirs, mine = Idempotency(b"0" * 32, b"h" * 16), Idempotency(b"1" * 32, b"h" * 16)
    first = await flow.decide("cus_1", "weekly", idempotency=theirs)
    once(flow, ("COPY", keys.idempotency(theirs.key_hash), keys.idempotency(mine.key_hash)))
    answered = await flow.decide("cus_1", "weekly", idempotency=mine)
    assert (answered.body, answered.replayed) == (first.body, True)
    assert len(await log_of(flow, "cus_1")) == 1
    assert await flow.services.client.zcard(keys.ledger) == 1


async def test_the_kept_answer_is_what_was_answered(flow: Flow) -> None:
    await flow.know("cus_1", **KNOWN)
    mine = Idempotency(b"0" * 32, b"h" * 16)
    first = await flow.decide("cus_1", "weekly", idempotency=mine, explain=True)
    again = await flow.decide("cus_1", "weekly", idempotency=mine, explain=True)
    assert (again.body, again.replayed, first.replayed) == (first.body, True, False)


async def test_a_script_that_the_store_has_forgotten_is_taught_again(flow: Flow) -> None:
    await flow.know("cus_1", **KNOWN)
    flow.store.command("SCRIPT", "FLUSH", "SYNC")
    assert decision(await flow.decide("cus_1", "weekly"))["action"] == "send"


async def test_every_answer_of_a_request_is_one_record_that_replays(flow: Flow) -> None:
    await flow.know("cus_1", **KNOWN)
    answered = await flow.decide("cus_1", "weekly", "push", "wordings", "receipt", context={"trigger": "browse"})
    (raw,) = await log_of(flow, "cus_1")
    replayed = replay(decode(raw, flow.services.bundle))
    assert [orjson.loads(again.answer) for again in replayed] == orjson.loads(answered.body)["decisions"]
    assert all(again.same for again in replayed)


async def test_the_ledger_holds_what_was_answered_and_forgets_what_is_too_old(flow: Flow) -> None:
    await flow.know("cus_1", **KNOWN)
    await flow.decide("cus_1", "weekly")
    keys = flow.services.keys.of("cus_1")
    ((member, at_ms),) = await flow.services.client.zrange(keys.ledger, 0, -1, withscores=True)
    assert len(member) <= 64, "above, the store's compact encoding is lost"
    await flow.services.client.zadd(keys.ledger, {member: at_ms - 91 * 86_400_000})
    await flow.decide("cus_1", "push")
    left = await flow.services.client.zrange(keys.ledger, 0, -1)
    assert len(left) == 1
    assert left != [member]


async def test_every_key_that_a_decision_writes_will_go_by_itself_or_is_trimmed(flow: Flow) -> None:
    mine = Idempotency(b"0" * 32, b"h" * 16)
    await flow.know("cus_1", **KNOWN)
    await flow.decide("cus_1", "weekly", "push", idempotency=mine)
    await flow.decide("cus_stranger", "parcel")
    for key in await flow.services.client.keys("{s*"):
        if not key.endswith(b":decisions"):
            assert await flow.services.client.ttl(key) > 0, key
