"""The whole way of an outcome, on a real store: whose it is, what it stops, what waits, what is known."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.core.heard import Heard, Take, Taken, message_hash
from app.core.identity import fallback_key, identity_hash
from app.core.outcomes import Outcome
from app.core.standing import Known, stage
from app.store import keys as key_names
from app.store.outcomes import Told
from policy.codes import OutcomeType, SuppressionReason
from tests.support.outcomes import CUSTOMER, HASH_KEY, KEYS, Desk, desk_on

TOLD = Told("webhook:postmark", "webhook")
ADDRESS = sha256(b"jane@example.com").hexdigest()
KEYED = identity_hash("email_sha256", ADDRESS, HASH_KEY)
MAIL = message_hash("postmark", "m-1")


@pytest.fixture
async def desk(store_url: str) -> AsyncIterator[Desk]:
    async with desk_on(store_url) as made:
        yield made


def said(what: str, at_ms: int | None, event_id: str, decision: Any = None, **more: Any) -> Heard:
    named = {each: more.pop(each) for each in ("message", "recipient", "customer", "domain") if each in more}
    outcome = Outcome(OutcomeType(what), at_ms, event_id=f"postmark:{event_id}", **more)
    return Heard(outcome, decision, provider="postmark", **named)


async def take(desk: Desk, *heard: Heard) -> list[Taken]:
    return await desk.taker.take(heard, TOLD)


async def link(desk: Desk, customer: str = CUSTOMER) -> None:
    await desk.client.set(key_names.identity("email_sha256", KEYED), customer)


async def mail(desk: Desk, customer: str = CUSTOMER) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = await desk.client.hgetall(KEYS.mail(customer))
    return found


async def known(desk: Desk, decision: Any) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = await desk.client.hgetall(KEYS.outcomes(0, str(decision).encode()))
    return found


async def test_a_decision_of_another_customer_is_not_believed_and_the_recipient_is_stopped(desk: Desk) -> None:
    decision = await desk.send()
    await link(desk, "cus_other")
    (taken,) = await take(desk, said("complained", decision.at_ms + 1, "c", decision, recipient=ADDRESS))
    assert (taken.status, taken.decision, taken.customer) == (Take.ACCEPTED, None, "cus_other")
    assert await desk.suppressions() == {}
    assert b"-*:complaint" in await desk.client.hgetall(KEYS.profile("cus_other"))


async def test_a_mail_is_found_by_its_provider_s_id_also_when_that_is_known_later(desk: Desk) -> None:
    decision = await desk.send()
    at_ms = decision.at_ms
    (waits,) = await take(desk, said("opened", at_ms + 9_000, "o", message=MAIL))
    assert (waits.status, waits.decision) == (Take.ACCEPTED, None)
    assert (await take(desk, said("opened", at_ms + 9_000, "o", message=MAIL)))[0].status is Take.DUPLICATE
    await take(desk, said("delivered", at_ms + 1_000, "d", decision, message=MAIL))
    assert (await desk.member(decision) or (b"",))[0].endswith(b",0,se"), "what waited is applied"
    assert await desk.client.exists(key_names.waiting_for_message(MAIL)) == 0
    (clicked,) = await take(desk, said("clicked", at_ms + 9_500, "k", message=MAIL))
    assert clicked.decision == decision


async def test_the_only_contact_of_a_recipient_is_meant_and_of_two_none(desk: Desk) -> None:
    await link(desk)
    decision = await desk.send()
    at_ms = decision.at_ms
    (dropped,) = await take(desk, said("dropped", at_ms + 1, "x", recipient=ADDRESS))
    assert (dropped.decision, dropped.effects) == (decision, ("contact_released",))
    (sent,) = await take(desk, said("sent", at_ms + 5, "s", recipient=ADDRESS))
    assert sent.decision == decision, "what was released is still known by its customer"
    await desk.send(ago_ms=50_000)
    (bounced,) = await take(desk, said("bounced_hard", at_ms + 30_000, "b", recipient=ADDRESS))
    assert (bounced.decision, bounced.customer) == (None, CUSTOMER)
    assert await desk.suppressions() == {"email": "hard_bounce"}


async def test_what_stops_an_unknown_recipient_waits_without_an_end_and_holds_once_it_is_linked(desk: Desk) -> None:
    (taken,) = await take(desk, said("complained", 1_700_000_000_000, "c", recipient=ADDRESS))
    assert taken.status is Take.ACCEPTED
    waiting = key_names.waiting_for_recipient(KEYED)
    assert await desk.client.pttl(waiting) == -1
    alone = fallback_key("email_sha256", ADDRESS, HASH_KEY)
    assert b"-*:complaint" in await desk.client.hgetall(KEYS.profile(alone)), "who is asked for by the address alone"
    await link(desk)
    await desk.taker.linked([KEYED])
    assert await desk.suppressions() == {"*": "complaint"}
    assert await desk.client.exists(waiting) == 0


async def test_soft_bounces_of_several_messages_stop_the_channel_and_repeats_do_not_count(desk: Desk) -> None:
    for n in range(3):
        assert await desk.suppressions() == {}
        decision = await desk.send()
        for _ in range(2):
            await take(desk, said("bounced_soft", decision.at_ms + n, f"b{n}", decision))
    assert await desk.suppressions() == {"email": "soft_bounces"}


async def test_the_sender_s_own_list_is_heeded(desk: Desk) -> None:
    decision = await desk.send()
    await take(desk, said("dropped", decision.at_ms + 1, "x", decision, suppressed=SuppressionReason.HARD_BOUNCE))
    assert await desk.suppressions() == {"email": "hard_bounce"}


async def test_a_scanner_that_follows_every_link_is_no_reader_and_its_delivery_may_be_told_last(desk: Desk) -> None:
    decision = await desk.send()
    at_ms = decision.at_ms
    clicks = [said("clicked", at_ms + 9_000 + n, f"k{n}", decision, link=f"{n}") for n in range(3)]
    assert [each.machine for each in await take(desk, *clicks)] == [False, False, True]
    assert (await desk.member(decision) or (b"",))[0].endswith(b",0,s")
    early = await desk.send("open")
    await take(desk, said("opened", early.at_ms + 500, "o", early))
    assert (await desk.member(early) or (b"",))[0].endswith(b",0,se")
    await take(desk, said("delivered", early.at_ms + 400, "d", early))
    assert (await desk.member(early) or (b"",))[0].endswith(b",0,s")


async def test_two_takers_that_receive_one_batch_at_once_count_it_once(desk: Desk, store_url: str) -> None:
    decision = await desk.send()
    at_ms = decision.at_ms
    batch = [said(what, at_ms + 5_000 + n, what, decision, domain="gmail") for n, what in enumerate(
        ("sent", "delivered", "bounced_soft", "converted", "unsubscribed"))]  # fmt: skip
    async with desk_on(store_url) as other:
        both = await asyncio.gather(desk.taker.take(batch, TOLD), other.taker.take(batch[::-1], TOLD))
    told = [[each.status for each in both[0]], [each.status for each in both[1]][::-1]]
    assert all({one, two} == {Take.ACCEPTED, Take.DUPLICATE} for one, two in zip(*told, strict=True))
    assert await desk.client.xlen(KEYS.outcome_stream(0)) == len(batch)
    counted = await desk.client.hgetall(KEYS.watch(0, at_ms // 3_600_000))
    assert set(counted.values()) == {b"1"}
    assert await desk.earned() == {"only@4.a:n": 1, "only@4.a:r": 1}


NAMED = st.sampled_from(["decision", "message", "recipient"])
EVENTS = st.lists(
    st.tuples(
        st.sampled_from([each.value for each in OutcomeType]), st.sampled_from([1, 2, 3, 9, 10]), NAMED, st.booleans(),
        st.integers(0, 3),
    ),
    min_size=1, max_size=8,
)  # fmt: skip
usual = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@usual
@given(EVENTS, st.randoms(use_true_random=False))
async def test_however_a_contact_s_outcomes_arrive_they_end_in_the_same(
    store_url: str, events: list[tuple[str, int, str, bool, int]], order: random.Random
) -> None:
    async with desk_on(store_url) as desk:
        intent, decision = desk.intent("once", await desk.now_ms() - 60_000)
        ways: dict[str, dict[str, Any]] = {
            "decision": {"decision": decision, "message": MAIL},
            "message": {"message": MAIL},
            "recipient": {"recipient": ADDRESS},
        }

        def heard(number: int) -> Heard:
            what, at_s, way, machine, number_of_link = events[number]
            more: dict[str, Any] = dict(ways[way])
            if what in ("opened", "clicked"):
                more |= {"machine": machine, "link": f"{number_of_link}"}
            return said(what, decision.at_ms + at_s * 1000, f"e{number}", **more)

        async def ends(arrivals: list[int]) -> Any:
            await desk.forget()
            names = [name for pattern in ("pm*", "rcp*", "id:*") async for name in desk.client.scan_iter(pattern)]
            if names:
                await desk.client.delete(*names)
            await desk.commit(intent)
            await link(desk)
            for number in arrivals:
                await take(desk, heard(number))
            await take(desk, said("queued", decision.at_ms, "last", decision, message=MAIL))
            told = await known(desk, decision)
            told.pop(b"c", None)
            ledger = await desk.client.zrange(desk.keys.ledger, 0, -1, withscores=True)
            (last, *_) = await desk.client.xrevrange(KEYS.outcome_stream(0), count=1)
            stops = {(each.scope, each.reason) for each in (await desk.facts()).suppressions}
            return told, await mail(desk), ledger, stops, await desk.earned(), last[1][b"s"]

        numbers = list(range(len(events)))
        first = await ends(numbers)
        again = [*order.sample(numbers, len(numbers)), *order.choices(numbers, k=3)]
        assert await ends(again) == first
        assert stage(Known.of(first[0])) == first[5].decode(), "the store and the core say the same of where it stands"


async def test_a_mail_that_bounced_softly_counts_once_however_often_it_was_tried(desk: Desk) -> None:
    """Mailtrap tells each of its eleven tries with an id of its own; three mails stop the channel, in any order."""
    decisions = [await desk.send("open", ago_ms=600_000 + each) for each in range(3)]
    mails = [message_hash("mailtrap", f"m-{each}") for each in range(3)]
    tries = [
        said("bounced_soft", decision.at_ms + 1_000 * number, f"try-{place}-{number}", decision, message=of)
        for place, (decision, of) in enumerate(zip(decisions, mails, strict=True))
        for number in range(1, 12)
    ]
    await take(desk, *tries[:22])
    assert await desk.suppressions() == {}
    assert len([name for name in await mail(desk) if name[:1] == b"b"]) == 2
    latest = {value for name, value in (await mail(desk)).items() if name[:1] == b"b"}
    await take(desk, *reversed(tries[:22]))
    assert {value for name, value in (await mail(desk)).items() if name[:1] == b"b"} == latest
    await take(desk, tries[30])
    assert await desk.suppressions() == {"push": "soft_bounces"}
