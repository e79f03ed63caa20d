"""Erasing a customer: what is left, what everybody is told from then on, what ends it, and whoever dies on the way."""

from __future__ import annotations

import asyncio
import itertools
from datetime import UTC, datetime
from functools import partial
from typing import Any

import orjson
import pytest

from app.core.decision.commit import Idempotency
from app.core.decision.ids import parse_id
from app.core.erasure import Job, Step
from app.core.events.commands import carrying
from app.core.events.entry import encode, encode_letter
from app.core.events.event import Collected, Edge, Letter, Misfit, Misfits
from app.core.heard import Heard, Take, Taken
from app.core.identity import Alias, customer_hash, identity_hash
from app.core.identity_graph import Claim
from app.core.keeping import keeping
from app.core.outcomes import Outcome as Happened
from app.errors import Problem
from app.flows.erase import Erasures
from app.http.erasure import receipt
from app.store.append_only_file import write_anew
from app.store.claims import ClaimStore
from app.store.erasure import ERASE, Tombstones
from app.store.erasure_jobs import ErasureJobs
from app.store.erasure_sweeps import Sweeps
from app.store.keys import CTL_ERASURES
from app.store.outcomes import Told
from policy.codes import OutcomeType, SuppressionReason
from tests.flows.conftest import Flow
from tests.flows.test_merge import KNOWN, customers, first, merge, merges_of, reader
from tests.flows.test_merged_customers import Doubtful
from tests.support.contract import consent
from tests.support.erasing import where_named

GONE, OTHER, LOSER = "cus_gone", "cus_stays", "cus_was_gone_before"
EMAIL = "ab" * 32
NAMES = (GONE, LOSER)
#: Values that `live` leaves: of attributes, preferences, history, features, events.
WORDS = ("the reader", "fortnightly", "asked by phone", "state of", "a thing looked at")
IDS = (f"ers_{number}" for number in itertools.count())


def parts_of(flow: Flow) -> list[Any]:
    services = flow.services
    tombstones = Tombstones(services.client, services.keys, services.fields)
    return [tombstones, ErasureJobs(services.client), Sweeps(services.client, services.keys)]


def erasures_of(flow: Flow, parts: list[Any] | None = None) -> Erasures:
    tombstones, jobs, sweeps = parts or parts_of(flow)
    key = flow.services.hash_key
    return Erasures(
        tombstones,
        jobs,
        sweeps,
        merges_of(flow),
        lambda name: customer_hash(name, key),
        lambda: next(IDS),
        16,
        partial(write_anew, flow.services.client),
    )


async def erase(flow: Flow, customer: str = GONE) -> Job:
    """Erase, and do all that follows."""
    erasures = erasures_of(flow)
    job = await erasures.finish(await erasures.erase(customer, "desk"))
    assert job.done_ms is not None, job
    return job


@pytest.fixture(autouse=True)
async def alone(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody takes up what these tests leave. The store's file is small, and soon written."""
    monkeypatch.setattr("app.store.append_only_file.LOOK_EVERY_S", 0.005)
    await flow.services.erasures.close()


def idempotent(key: bytes = b"k") -> Idempotency:
    return Idempotency(key.hex().encode(), b"b" * 16)


async def tell(flow: Flow, decision: str, what: str = "clicked") -> None:
    parsed = parse_id(decision)
    assert parsed is not None
    (taken,) = await flow.services.outcome_taker.take(
        [Heard(Happened(OutcomeType(what), None), parsed)], Told("outcome", "esp")
    )
    if taken.status is Take.REJECTED:
        raise Problem(taken.code, taken.detail)


def collected(customer: str, number: int, **more: Any) -> Collected:
    return Collected(
        customer, "viewed", 1, 1, 2, number.to_bytes(8, "big"), b"", {"product": "a thing looked at"}, **more
    )


async def live(flow: Flow, customer: str = GONE) -> str:
    """All that can be kept of a customer; a decision that sent."""
    services = flow.services
    client, keys = services.client, services.keys
    identities = {"email_sha256": EMAIL, "external": f"crm-{customer}"} if customer == GONE else {}
    await flow.know(customer, **KNOWN, identities=identities, preferences={"frequency": "fortnightly"})
    await customers(flow).suppress(customer, "sms", SuppressionReason.MANUAL, "desk", None, "asked by phone")
    decision = first(await flow.decide(customer, "thrice", idempotency=idempotent()))
    assert decision["action"] == "send"
    await tell(flow, decision["decision_id"])
    shard = keys.shard_of(customer)
    await client.hset(keys.of(customer).features, "viewed", b"state of " + customer.encode())
    await client.xadd(keys.events(shard), {"e": encode(collected(customer, 1))})
    letter = Letter(Misfit(Misfits.TOO_OLD, ""), customer, "viewed", 1, 1, 2, b"12345678", {})
    await client.xadd(keys.dead_letters(shard), {"e": encode_letter(letter)})
    edge = Edge("anonymous_id", bytes.fromhex(identity_hash("anonymous_id", f"web-{customer}", services.hash_key)))
    await ClaimStore(client, keys, services.hash_key, keeping(services.bundle)).record([Claim(edge, customer, 5)], 10)
    return str(decision["decision_id"])


async def stored(flow: Flow, customer: str = GONE) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = await flow.services.client.hgetall(flow.services.keys.profile(customer))
    return found


def now() -> str:
    return datetime.now(UTC).isoformat()


async def test_nothing_is_left_but_a_tombstone_and_the_ways_to_it(flow: Flow) -> None:
    await live(flow)
    await live(flow, LOSER)
    await merge(flow, LOSER, GONE)
    keys = flow.services.keys
    assert len(await where_named(flow.services.client, *WORDS)) > 3
    await erase(flow)
    assert await where_named(flow.services.client, *WORDS) == set()
    names = {f"id:{kind}:{identity_hash(kind, value, flow.services.hash_key)}" for kind, value in
             (("email_sha256", EMAIL), ("external", f"crm-{GONE}"))}  # fmt: skip
    profiles = {keys.profile(name).decode() for name in NAMES}
    pointers = {keys.aliases(GONE).decode()}
    assert await where_named(flow.services.client, *NAMES) == names | profiles | pointers
    assert set(await stored(flow)) == {b"!g", b"!u", b"!s", b"!e", b"-*:erased"}
    assert set(await stored(flow, LOSER)) == {b"!m", b"!g"}
    held = {member.decode() for member in await flow.services.client.smembers(keys.aliases(GONE))}
    assert held == names | {keys.profile(LOSER).decode()}
    for key in names | profiles | pointers:
        assert await flow.services.client.ttl(key) == -1, key


async def test_what_waits_for_a_mail_whose_decision_is_not_known_goes_too(flow: Flow) -> None:
    """It lies under the mail's id and names the recipient; others' words of the same mail stay."""
    await live(flow)
    theirs, mail, only = "cd" * 32, b"m" * 16, b"n" * 16

    async def say() -> list[Taken]:
        said = Happened(OutcomeType.DELIVERED, 1_700_000_000_000)  # before any contact
        heard = [Heard(said._replace(event_id=f"esp:{number}"), message=message, recipient=whose, customer=customer)
                 for number, (message, whose, customer) in enumerate(
                     ((mail, EMAIL, None), (mail, theirs, None), (only, None, GONE), (mail, None, OTHER)))]  # fmt: skip
        return await flow.services.outcome_taker.take(heard, Told("webhook:postmark", "webhook"))

    await say()
    gone = identity_hash("email_sha256", EMAIL, flow.services.hash_key)
    assert f"pmw:{mail.hex()}" in await where_named(flow.services.client, gone)
    await erase(flow)
    for _ in range(2):  # and what is said of them later is not kept
        assert {f"pmw:{mail.hex()}"} & await where_named(flow.services.client, gone, EMAIL) == set()
        assert {f"pmw:{only.hex()}"} & await where_named(flow.services.client, GONE) == set()
        assert await flow.services.client.hlen(f"pmw:{mail.hex()}") == 2
        await say()


async def test_the_ways_to_the_tombstone_have_no_end_though_the_customer_s_had_one(flow: Flow) -> None:
    await flow.know(GONE, **KNOWN, identities={"email_sha256": EMAIL})
    client, keys = flow.services.client, flow.services.keys
    ways = [keys.aliases(GONE), *await client.smembers(keys.aliases(GONE)), keys.profile(GONE)]
    assert all([await client.ttl(way) > 0 for way in ways])
    await erase(flow)
    assert all([await client.ttl(way) == -1 for way in ways])


async def test_nobody_else_loses_anything(flow: Flow) -> None:
    await live(flow)
    decision = await live(flow, OTHER)
    before = await where_named(flow.services.client, OTHER, decision)
    await erase(flow)
    assert await where_named(flow.services.client, OTHER, decision) == before
    assert first(await flow.decide(OTHER, "thrice"))["action"] == "send"


async def test_once_answered_every_reader_heeds_it(flow: Flow) -> None:
    decision = await live(flow)
    await erasures_of(flow).erase(GONE, "desk")  # and nothing else is swept up yet
    for placement in ("weekly", "thrice", "once"):
        assert first(await flow.decide(GONE, placement))["reason"] == "suppressed:erased"
    for asked in (reader(flow).read(GONE), reader(flow).history(GONE)):
        with pytest.raises(Problem) as refused:
            await asked
        assert refused.value.code == "erased"
    with pytest.raises(Problem) as refused:
        await tell(flow, decision, "complained")
    assert refused.value.code == "decision_expired"
    assert b"-email:complaint" not in await stored(flow)
    alias = await flow.services.store.customer_of(Alias("email_sha256", EMAIL), float("inf"))
    assert alias == GONE


async def now_ms(flow: Flow) -> int:
    """By the store's clock."""
    seconds, microseconds = await flow.services.client.time()
    return int(seconds) * 1000 + int(microseconds) // 1000


async def test_an_answer_from_before_is_not_given_again_and_one_from_after_is(flow: Flow) -> None:
    await live(flow)
    again = await flow.decide(GONE, "thrice", idempotency=idempotent())
    assert first(again)["action"] == "send"
    job = await erasures_of(flow).erase(GONE, "desk")
    while (await now_ms(flow)) <= job.erased_ms:
        pass  # an answer of the same millisecond counts as one from before
    answered = await flow.decide(GONE, "thrice", idempotency=idempotent())
    assert first(answered)["reason"] == "suppressed:erased"
    assert (await flow.decide(GONE, "thrice", idempotency=idempotent())).body == answered.body
    await erase(flow)
    assert (await flow.decide(GONE, "thrice", idempotency=idempotent())).body == answered.body


async def test_an_erasure_that_was_answered_wins_over_a_decision_in_flight(flow: Flow) -> None:
    await flow.know(GONE, **KNOWN)
    keys = flow.services.keys

    def erased_meanwhile() -> None:
        flow.before_commit = None
        # The tombstone as erase.lua leaves it, by another connection.
        names = [keys.profile(GONE).decode(), *[f"{{s{keys.shard_of(GONE):03d}}}:x:{i}" for i in range(7)]]
        flow.store.command("EVAL", ERASE.source, 8, *names, "ers_x", "1")

    flow.before_commit = erased_meanwhile
    decided = first(await flow.decide(GONE, "weekly"))
    assert (decided["action"], decided["reason"]) == ("suppress", "suppressed:erased")
    assert await flow.services.client.zcard(keys.of(GONE).ledger) == 0


async def test_a_stranger_is_erased_too_and_stays_so(flow: Flow) -> None:
    await erase(flow, "cus_nobody_knew")
    assert first(await flow.decide("cus_nobody_knew", "weekly"))["reason"] == "suppressed:erased"


async def test_repeating_it_gives_the_same_receipt_under_any_of_the_keys(flow: Flow) -> None:
    await live(flow)
    await live(flow, LOSER)
    await merge(flow, LOSER, GONE)
    job = await erase(flow)
    for name in NAMES:
        assert await erasures_of(flow).erase(name, "somebody else") == job
    assert await flow.services.client.zcard(CTL_ERASURES) == 0


async def test_the_receipt_says_what_was_done_and_names_nobody(flow: Flow) -> None:
    await live(flow)
    said = receipt(await erase(flow))
    assert said["customer_hash"] == customer_hash(GONE, flow.services.hash_key)
    assert [step["what"] for step in said["steps"]] == list(Step)
    counts = {step["what"]: step["count"] for step in said["steps"]}
    assert counts == {
        "customer": 1, "identities": 1, "decisions": 2, "receipts": 2, "events": 2, "archive": 0, "append_only_file": 0,
    }  # fmt: skip
    assert said["done_at"] is not None
    assert GONE not in orjson.dumps(said).decode()
    assert not await where_named(flow.services.client, said["erasure"]) - {
        f"ctl:erasure:{said['erasure']}", flow.services.keys.profile(GONE).decode()
    }  # fmt: skip


async def test_attributes_alone_bring_nobody_back(flow: Flow) -> None:
    await live(flow)
    await erase(flow)
    for known in ({"attributes": {"recency": 1}}, {"region": "DE"}, {"identities": {"external": "new"}}, dict(KNOWN)):
        with pytest.raises(Problem) as refused:
            await flow.know(GONE, **known)  # KNOWN's consents are of January: an old import
        assert refused.value.code == "erased"
    assert set(await stored(flow)) == {b"!g", b"!u", b"!s", b"!e", b"-*:erased"}
    assert not [key async for key in flow.services.client.scan_iter(match="id:external:*")][1:]


async def test_a_consent_given_after_it_begins_a_new_and_empty_profile(flow: Flow) -> None:
    await live(flow)
    await erase(flow)
    await flow.know(GONE, consent=[consent("marketing", at=now()), consent("personalisation")], region="DE")
    known = await reader(flow).read(GONE)
    assert [(each.purpose, each.state) for each in known.profile.consent] == [("marketing", "granted")]
    assert (known.contacts, known.profile.suppressions, dict(known.profile.attributes)) == (0, (), {})
    assert first(await flow.decide(GONE, "weekly"))["reason"] != "suppressed:erased"
    assert await flow.services.client.ttl(flow.services.keys.profile(GONE)) > 0
    # What was said before the erasure stays unsaid.
    await flow.know(GONE, consent=[consent("personalisation")], attributes={"recency": 1})
    assert len((await reader(flow).read(GONE)).profile.consent) == 1
    await flow.know(GONE, consent=[consent("personalisation", at=now())])
    assert len((await reader(flow).read(GONE)).profile.consent) == 2


async def test_who_comes_back_under_another_key_needs_a_consent_too(flow: Flow) -> None:
    await live(flow)
    await erase(flow)
    returning: dict[str, Any] = {"identities": {"email_sha256": EMAIL}, "region": "DE"}
    for consents in ([], [consent("marketing")], [consent("marketing", "denied", at=now())]):
        with pytest.raises(Problem) as refused:
            await flow.know("cus_new", **returning, consent=consents)
        assert refused.value.code == "erased"
    await flow.know("cus_new", **returning, consent=[consent("marketing", at=now())])
    link = await flow.services.store.customer_of(Alias("email_sha256", EMAIL), float("inf"))
    assert link == "cus_new"
    key = f"id:email_sha256:{identity_hash('email_sha256', EMAIL, flow.services.hash_key)}"
    assert await flow.services.client.ttl(key) > 0
    assert not await flow.services.client.sismember(flow.services.keys.aliases(GONE), key)
    assert first(await flow.decide("cus_new", "weekly"))["reason"] != "suppressed:erased"
    assert first(await flow.decide(GONE, "weekly"))["reason"] == "suppressed:erased"


async def test_an_identity_of_somebody_who_lives_is_still_a_conflict(flow: Flow) -> None:
    await live(flow)
    with pytest.raises(Problem) as refused:
        await flow.know("cus_new", identities={"email_sha256": EMAIL}, consent=[consent("marketing", at=now())])
    assert refused.value.code == "identity_conflict"


async def test_many_decisions_at_once_send_nothing_after_the_answer(flow: Flow) -> None:
    await flow.know(GONE, **KNOWN)
    erasures = erasures_of(flow)

    async def asked() -> list[dict[str, Any]]:
        return [first(await flow.decide(GONE, "thrice", "weekly")) for _ in range(10)]

    asking = [asyncio.create_task(asked()) for _ in range(8)]
    await asyncio.sleep(0)
    job = await erasures.erase(GONE, "desk")
    sent = [each["decision_id"] for task in asking for each in await task if each["action"] == "send"]
    after = [parse_id(each) for each in sent]
    assert all(each is not None and each.at_ms <= job.erased_ms for each in after)
    keys = flow.services.keys.of(GONE)
    assert not await flow.services.client.exists(keys.ledger)
    assert set(await stored(flow)) == {b"!g", b"!u", b"!s", b"!e", b"-*:erased"}


@pytest.mark.parametrize("key", NAMES)
async def test_what_was_sent_without_the_store_is_logged_late_and_counted_for_nobody(flow: Flow, key: str) -> None:
    await flow.know(GONE, **KNOWN)
    await flow.know(LOSER, **KNOWN)
    services = flow.services
    doubtful = Doubtful(flow, applied=False)
    store, services.decider._store = services.decider._store, doubtful  # type: ignore[assignment]  # a stand-in
    await flow.decide(key, "once")
    services.decider._store = store
    await merge(flow, LOSER, GONE)
    await erase(flow)
    late = doubtful.intents[0]._replace(general_version=None, ledger_version=None, commit_by_ms=2**50)
    assert services.reconciler.log_later(late)
    assert await services.reconciler.drained(5)
    assert not await services.client.exists(services.keys.of(GONE).ledger, services.keys.of(LOSER).ledger)
    assert set(await stored(flow)) == {b"!g", b"!u", b"!s", b"!e", b"-*:erased"}
    with pytest.raises(Problem) as refused:
        await tell(flow, late.contacts[0].decision_id)
    assert refused.value.code == "decision_expired"


async def test_a_stop_for_that_reason_said_by_hand_erases_nothing(flow: Flow) -> None:
    await flow.know(GONE, **KNOWN)
    await customers(flow).suppress(GONE, "*", SuppressionReason.ERASED, "desk", None)
    assert dict((await reader(flow).read(GONE)).profile.attributes)
    await flow.know(GONE, attributes={"recency": 1}, consent=[consent("marketing", at=now())])
    assert first(await flow.decide(GONE, "weekly"))["reason"] == "suppressed:erased"
    await erase(flow)
    await flow.know(GONE, consent=[consent("marketing", at=now())])
    assert first(await flow.decide(GONE, "weekly"))["reason"] != "suppressed:erased"


async def test_a_consent_of_no_stated_time_is_given_now_and_ends_it(flow: Flow) -> None:
    await erase(flow)
    given = consent("marketing")
    del given["at"]
    await flow.know(GONE, consent=[given])
    assert [each.state for each in (await reader(flow).read(GONE)).profile.consent] == ["granted"]


async def test_a_refusal_after_it_is_kept_and_ends_nothing(flow: Flow) -> None:
    await live(flow)
    await erase(flow)
    await flow.know(GONE, consent=[consent("marketing", "denied", at=now())])
    assert first(await flow.decide(GONE, "weekly"))["reason"] == "suppressed:erased"
    await flow.know(GONE, consent=[consent("personalisation", at=now())])
    assert first(await flow.decide(GONE, "weekly"))["reason"] == "consent_denied"


async def test_a_stop_said_after_it_outlives_a_later_consent(flow: Flow) -> None:
    await erase(flow)
    await customers(flow).suppress(GONE, "email", SuppressionReason.COMPLAINT, "esp", None)
    await flow.know(GONE, consent=[consent("marketing", at=now())])
    stops = (await reader(flow).read(GONE)).profile.suppressions
    assert [stop.reason for stop, _ in stops] == [SuppressionReason.COMPLAINT]
    assert await flow.services.client.ttl(flow.services.keys.profile(GONE)) == -1


async def test_whoever_came_back_can_be_erased_again(flow: Flow) -> None:
    await live(flow)
    await live(flow, LOSER)
    await merge(flow, LOSER, GONE)
    before = await erase(flow)
    await flow.know(GONE, consent=[consent("marketing", at=now())], region="DE")
    after = await erase(flow, LOSER)
    assert after.erasure != before.erasure
    assert first(await flow.decide(LOSER, "weekly"))["reason"] == "suppressed:erased"
    assert receipt(after)["merged_hashes"] == receipt(before)["merged_hashes"]


async def test_an_event_after_a_later_consent_is_left_in_the_stream(flow: Flow) -> None:
    keys, client = flow.services.keys, flow.services.client
    erasures = erasures_of(flow)
    job = await erasures.erase(GONE, "desk")
    await flow.know(GONE, consent=[consent("marketing", at=now())])
    stream = keys.events(keys.shard_of(GONE))
    later = collected(GONE, 9)._replace(received_at_ms=job.erased_ms + 1)
    for event in (collected(GONE, 8), later):
        await client.xadd(stream, {"e": encode(event)})
    await erasures.finish(job)
    assert [fields[b"e"] for _, fields in await client.xrange(stream)] == [encode(later)]


async def test_an_event_of_somebody_else_loses_only_that_this_was_the_customer(flow: Flow) -> None:
    keys, client = flow.services.keys, flow.services.client
    stream = keys.events(keys.shard_of(OTHER))
    others = collected(OTHER, 1, previous=(Edge("user_id", b"u" * 16),), previous_customer=GONE, known=True)
    await client.xadd(stream, {"e": encode(others)})
    await client.xadd(stream, {"e": encode(carrying(OTHER, GONE, 1))})
    await client.xadd(stream, {"e": b"what nobody can read, of cus_gone"})
    await erase(flow)
    kept = [fields[b"e"] for _, fields in await client.xrange(stream)]
    assert kept == [b"what nobody can read, of cus_gone", encode(others._replace(previous=(), previous_customer=""))]
