"""What outcomes do, on a real store: each effect, once and again, late, and beside decisions in flight."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from app.core.decision.commit import Committed, Moved, Unreadable
from app.core.decision.ids import pack_id
from app.core.outcomes import kept_for_ms
from app.errors import Problem
from tests.support.deciding import DAY_MS, granted
from tests.support.link import soon, until
from tests.support.outcomes import CUSTOMER, KEYS, Desk, bundle, desk_on
from tests.support.valkey import StartStore

FAILURES = ("not_sent", "dropped", "bounced_soft", "bounced_hard")
ARRIVALS = ("delivered", "opened", "clicked", "converted", "complained")


@pytest.fixture
async def desk(store_url: str) -> AsyncIterator[Desk]:
    async with desk_on(store_url) as made:
        yield made


# The contact


async def test_a_contact_counts_at_the_instant_of_its_sending_and_no_longer_in_its_whole_window(desk: Desk) -> None:
    decision = await desk.send()
    (reserved,) = await desk.contacts()
    assert reserved.not_after_ms > reserved.not_before_ms
    now_ms = await desk.now_ms()
    told = await desk.tell(decision, "sent", now_ms)
    assert (told.at_ms, told.duplicate, told.effects) == (now_ms, False, ("contact_sent",))
    (sent,) = await desk.contacts()
    assert (sent.not_before_ms, sent.not_after_ms, sent.confirmed, sent.engaged) == (now_ms, now_ms, True, False)
    assert (sent.decision, sent.kind) == (reserved.decision, reserved.kind)


@pytest.mark.parametrize("what", FAILURES)
async def test_what_was_not_sent_does_not_count_any_more(desk: Desk, what: str) -> None:
    decision = await desk.send()
    assert "contact_released" in (await desk.tell(decision, what)).effects
    assert await desk.contacts() == (), "and its ledger, rightly empty, does not look lost"


@pytest.mark.parametrize("what", FAILURES)
@pytest.mark.parametrize("arrival", ARRIVALS)
async def test_what_arrived_counts_whatever_failure_is_told_before_or_after(
    desk: Desk, what: str, arrival: str
) -> None:
    for first, second in ((what, arrival), (arrival, what)):
        decision = await desk.send()
        now_ms = await desk.now_ms()
        await desk.tell(decision, first, now_ms - 1)
        await desk.tell(decision, second, now_ms)
        assert (await desk.member(decision)) is not None, (first, second)


async def test_a_sending_that_comes_late_counts_again(desk: Desk) -> None:
    decision = await desk.send()
    await desk.tell(decision, "not_sent", decision.at_ms)
    assert await desk.contacts() == ()
    told = await desk.tell(decision, "sent", decision.at_ms + 5)
    assert told.effects == ("contact_sent",)
    (contact,) = await desk.contacts()
    assert (contact.not_before_ms, contact.confirmed) == (decision.at_ms + 5, True)
    assert contact.kind.message == "only"


@pytest.mark.parametrize(("what", "counts"), [("bounced_soft", False), ("dropped", False), ("not_sent", True)])
async def test_of_one_instant_a_failure_follows_the_sending_and_a_contradiction_counts(
    desk: Desk, what: str, counts: bool
) -> None:
    for first, second in (("sent", what), (what, "sent")):
        decision = await desk.send()
        now_ms = await desk.now_ms()
        await desk.tell(decision, first, now_ms)
        await desk.tell(decision, second, now_ms)
        assert (await desk.member(decision) is not None) is counts


async def test_a_delivery_says_that_it_was_sent_until_the_sending_itself_is_told(desk: Desk) -> None:
    decision = await desk.send()
    first_ms = decision.at_ms
    await desk.tell(decision, "delivered", first_ms + 20)
    assert await desk.member(decision) == (await desk_end(desk, b",0,s"), first_ms + 20)
    await desk.tell(decision, "sent", first_ms + 10)
    assert (await desk.member(decision) or ())[1:] == (first_ms + 10,)


async def desk_end(desk: Desk, flags: bytes) -> bytes:
    return desk.fields.id_of("k:once/email/marketing/only/red/spring") + flags


async def test_an_open_a_click_and_a_purchase_engage_and_a_machine_does_not(desk: Desk) -> None:
    for what in ("opened", "clicked", "converted"):
        decision = await desk.send()
        told = await desk.tell(decision, what)
        assert "contact_engaged" in told.effects
        assert (await desk.member(decision) or (b"",))[0].endswith(b",0,se")
    for what in ("opened", "clicked"):
        decision = await desk.send()
        told = await desk.tell(decision, what, machine=True)
        assert told.effects == ("contact_sent",), "it arrived"
        assert (await desk.member(decision) or (b"",))[0].endswith(b",0,s")


async def test_waiting_and_queueing_change_nothing(desk: Desk) -> None:
    decision = await desk.send()
    before = await desk.profile(), await desk.member(decision)
    for what in ("queued", "deferred"):
        assert (await desk.tell(decision, what)).effects == ()
    assert (await desk.profile(), await desk.member(decision)) == before


async def test_whatever_an_outcome_writes_ends_at_some_time(desk: Desk) -> None:
    decision = await desk.send()
    await desk.client.delete(desk.keys.profile)  # its time is over
    await desk.client.pexpire(desk.keys.ledger, 1_000)
    await desk.tell(decision, "clicked")
    names = [desk.keys.profile, desk.keys.ledger, KEYS.variants(0), KEYS.outcomes(0, str(decision).encode())]
    assert [name for name in names if await desk.client.pttl(name) < 60_000] == []
    assert await desk.client.pttl(desk.keys.ledger) > (bundle().ledger_retention_s - 60) * 1000, "as its last contact"


async def test_other_contacts_of_the_customer_stay_as_they_are(desk: Desk) -> None:
    other = await desk.send("open")
    before = await desk.member(other)
    decision = await desk.send()
    for what in ("sent", "bounced_soft", "delivered", "clicked"):
        await desk.tell(decision, what)
        assert await desk.member(other) == before


async def test_nothing_happens_before_its_decision_or_in_the_future(desk: Desk) -> None:
    decision = await desk.send()
    assert (await desk.tell(decision, "sent", 1)).at_ms == decision.at_ms, "a time of 1970 opens no limit"
    now_ms = await desk.now_ms()
    assert now_ms <= (await desk.tell(decision, "delivered", now_ms + 3_000)).at_ms <= await desk.now_ms()
    with pytest.raises(Problem, match="future_time"):
        await desk.tell(decision, "clicked", now_ms + 9_000)
    assert (await desk.member(decision) or (b"",))[0].endswith(b",0,s")


# Suppressions


@pytest.mark.parametrize(
    ("what", "scope", "expected"),
    [
        ("bounced_hard", None, {"email": "hard_bounce"}),
        ("complained", None, {"*": "complaint"}),
        ("unsubscribed", None, {"email": "unsubscribed"}),
        ("unsubscribed", "*", {"*": "unsubscribed"}),
        ("unsubscribed", "push", {"push": "unsubscribed"}),
    ],
)
async def test_a_stop_holds_as_soon_as_it_is_acknowledged(
    desk: Desk, what: str, scope: str | None, expected: dict[str, str]
) -> None:
    decision = await desk.send()
    before = await desk.facts()
    told = await desk.tell(decision, what, scope=scope, reason="550 no such user")
    assert "suppressed" in told.effects
    assert await desk.suppressions() == expected
    assert (await desk.facts()).general_version > before.general_version, "decisions in flight must not commit"
    ((where, why),) = expected.items()
    source = desk.fields.id_of("s:outcome").decode()
    assert await desk.history() == [f"-{where}:{why}=…,{source} 550 no such user"]


async def test_a_stop_that_was_said_before_is_not_counted_twice(desk: Desk) -> None:
    for _ in range(2):
        await desk.tell(await desk.send(), "complained")
    assert (await desk.profile())[b"!s"] == b"1"


async def test_a_suppressed_profile_and_its_history_live_without_an_end(desk: Desk) -> None:
    decision = await desk.send()
    await desk.tell(decision, "unsubscribed", decision.at_ms)
    await desk.tell(decision, "resubscribed")
    assert await desk.client.pttl(KEYS.history(CUSTOMER)) > 0
    await desk.tell(decision, "bounced_hard")
    assert await desk.client.pttl(desk.keys.profile) == -1
    assert await desk.client.pttl(KEYS.history(CUSTOMER)) == -1


async def test_who_is_stopped_is_recognised_by_an_alias_for_ever(desk: Desk) -> None:
    decision = await desk.send()
    await desk.client.sadd(KEYS.aliases(CUSTOMER), "id:external:ab")
    await desk.client.set("id:external:ab", CUSTOMER, ex=1_000)
    await desk.tell(decision, "unsubscribed", decision.at_ms)
    assert await desk.client.pttl("id:external:ab") == -1
    await desk.tell(decision, "resubscribed")
    assert await desk.client.pttl("id:external:ab") > 0


async def test_resubscribing_lifts_what_unsubscribing_set_and_nothing_else(desk: Desk) -> None:
    decision = await desk.send()
    first_ms = decision.at_ms
    for what in ("bounced_hard", "complained", "unsubscribed"):
        await desk.tell(decision, what, first_ms + 5)
    await desk.tell(decision, "unsubscribed", first_ms + 5, scope="push")
    told = await desk.tell(decision, "resubscribed", first_ms + 10)
    assert told.effects == ("suppression_lifted",)
    assert await desk.suppressions() == {"email": "hard_bounce", "*": "complaint", "push": "unsubscribed"}
    assert (await desk.profile())[b"!s"] == b"3"
    assert (await desk.history())[-1] == "~email:unsubscribed"


async def test_the_last_lift_gives_the_profile_its_time_to_live_again(desk: Desk) -> None:
    decision = await desk.send()
    await desk.tell(decision, "unsubscribed", decision.at_ms)
    await desk.tell(decision, "resubscribed", decision.at_ms + 5)
    assert b"!s" not in await desk.profile()
    for name in (desk.keys.profile, KEYS.history(CUSTOMER)):
        assert 0 < await desk.client.pttl(name) <= bundle().profile_retention_s * 1000


async def test_an_older_word_never_lifts_a_later_stop(desk: Desk) -> None:
    decision = await desk.send()
    first_ms = decision.at_ms
    await desk.tell(decision, "unsubscribed", first_ms + 1)
    await desk.tell(decision, "unsubscribed", first_ms + 20)
    for at_ms in (first_ms + 10, first_ms + 20):
        assert (await desk.tell(decision, "resubscribed", at_ms)).effects == ()
        assert await desk.suppressions() == {"email": "unsubscribed"}


# Pauses


async def test_the_last_time_is_kept_of_what_pauses_begin_with(desk: Desk) -> None:
    decision = await desk.send()
    first_ms = decision.at_ms
    for at_ms in (first_ms + 5, first_ms + 2):
        await desk.tell(decision, "clicked", at_ms)
    await desk.tell(decision, "converted", first_ms + 3)
    await desk.tell(decision, "opened", first_ms + 4)
    await desk.tell(decision, "clicked", first_ms + 9, machine=True)
    kept = {(each.type, each.at_ms) for each in (await desk.facts()).outcomes}
    assert kept == {("clicked", first_ms + 5), ("converted", first_ms + 3)}
    assert {each.kind.message for each in (await desk.facts()).outcomes if each.kind} == {"only"}


async def test_what_pauses_are_counted_from_moves_the_ledger_s_version(desk: Desk) -> None:
    decision = await desk.send()
    await desk.tell(decision, "converted", decision.at_ms)
    before = (await desk.facts()).ledger_version
    await desk.tell(decision, "converted", decision.at_ms + 5)
    assert (await desk.facts()).ledger_version > before


async def test_what_happened_too_long_ago_for_any_pause_is_forgotten(desk: Desk) -> None:
    long_ago_ms = await desk.now_ms() - kept_for_ms(bundle()) - DAY_MS
    decision = await desk.send()
    await desk.client.hset(
        desk.keys.profile, mapping={"+converted.": long_ago_ms, "+complained.": long_ago_ms + 2 * DAY_MS}
    )
    await desk.tell(decision, "unsubscribed")
    assert {field for field in await desk.profile() if field.startswith(b"+")} == {
        b"+complained.",
        b"+unsubscribed." + await desk_end(desk, b""),
    }


# What variants earned


async def test_a_variant_counts_a_sending_once_and_a_response_once(desk: Desk) -> None:
    decision = await desk.send()
    assert await desk.earned() == {}
    for what, at_s in (("sent", 1), ("delivered", 2), ("opened", 6)):
        await desk.tell(decision, what, decision.at_ms + at_s * 1000)
        assert await desk.earned() == {"only@4.a:n": 1}
    for what, at_s in (("clicked", 7), ("clicked", 8), ("converted", 9)):
        await desk.tell(decision, what, decision.at_ms + at_s * 1000)
        assert await desk.earned() == {"only@4.a:n": 1, "only@4.a:r": 1}
    assert await desk.client.ttl(KEYS.variants(0)) > 0


async def test_a_machine_s_click_is_no_response(desk: Desk) -> None:
    decision = await desk.send()
    await desk.tell(decision, "clicked", machine=True)
    assert await desk.earned() == {"only@4.a:n": 1}


async def test_what_was_not_sent_after_all_is_taken_back_from_its_variant(desk: Desk) -> None:
    decision = await desk.send()
    await desk.tell(decision, "sent", decision.at_ms)
    await desk.tell(decision, "not_sent", decision.at_ms + 2)
    assert await desk.earned() == {}
    await desk.tell(decision, "delivered", decision.at_ms + 4)
    assert await desk.earned() == {"only@4.a:n": 1}


async def test_variants_that_nobody_compares_are_not_counted(desk: Desk) -> None:
    await desk.tell(await desk.send("open"), "clicked")
    assert await desk.earned() == {}


# Repeats


@pytest.mark.parametrize("by", ["event_id", "at"])
async def test_a_repeat_is_told_from_another_outcome_and_changes_nothing(desk: Desk, by: str) -> None:
    decision = await desk.send()
    at_ms = await desk.now_ms() if by == "at" else None
    known = {"event_id": "evt_1"} if by == "event_id" else {}
    for what in ("sent", "clicked", "unsubscribed", "not_sent"):
        first = await desk.tell(decision, what, at_ms, **known)
        before = await desk.profile(), await desk.member(decision), await desk.earned(), await desk.history()
        again = await desk.tell(decision, what, at_ms, **known)
        assert (again.duplicate, again.effects, again.at_ms) == (True, (), first.at_ms)
        assert before == (await desk.profile(), await desk.member(decision), await desk.earned(), await desk.history())


async def test_one_event_id_for_different_events_hides_none_of_them(desk: Desk) -> None:
    decision = await desk.send()
    await desk.tell(decision, "opened", event_id="the message")
    assert not (await desk.tell(decision, "complained", event_id="the message")).duplicate
    assert await desk.suppressions() == {"*": "complaint"}


async def test_what_is_remembered_of_a_decision_ends_with_it(desk: Desk) -> None:
    decision = await desk.send()
    await desk.tell(decision, "opened")
    name = str(decision).encode()
    left = await desk.client.pttl(KEYS.outcomes(0, name))
    assert 0 < left <= await desk.client.pttl(KEYS.decision(0, name)) + 1_000


async def test_machines_that_open_without_end_do_not_fill_the_store(desk: Desk) -> None:
    decision = await desk.send()
    await asyncio.gather(*(desk.tell(decision, "opened", event_id=f"e{n}") for n in range(520)))
    assert await desk.client.hlen(KEYS.outcomes(0, str(decision).encode())) < 510
    assert not (await desk.tell(decision, "converted", value=12.5, event_id="order")).duplicate
    assert (await desk.tell(decision, "converted", value=12.5, event_id="order")).duplicate


# Where little is left


async def test_without_its_record_an_outcome_still_finds_its_customer_and_channel(desk: Desk) -> None:
    decision = await desk.send()
    await desk.client.delete(desk.keys.decisions)
    await desk.tell(decision, "not_sent")
    assert await desk.contacts() == ()
    await desk.tell(decision, "sent")
    await desk.tell(decision, "bounced_hard")
    assert await desk.suppressions() == {"email": "hard_bounce"}


async def test_a_stop_whose_channel_nobody_knows_any_more_stops_every_channel(desk: Desk) -> None:
    decision = await desk.send()
    await desk.client.delete(desk.keys.decisions, desk.keys.ledger)
    await desk.client.hdel(desk.keys.profile, "!t")
    await desk.client.set(KEYS.decision(0, str(decision).encode()), f"1-0 {CUSTOMER}", ex=1_000)  # of an older release
    await desk.tell(decision, "unsubscribed")
    assert await desk.suppressions() == {"*": "unsubscribed"}
    (kept,) = (await desk.facts()).outcomes
    assert (kept.type, kept.kind) == ("unsubscribed", None), "a pause after it fits everything"


async def test_a_ledger_that_was_lost_does_not_pass_for_whole_by_one_sending(desk: Desk) -> None:
    other, decision = await desk.send("open"), await desk.send()
    await desk.client.delete(desk.keys.ledger)
    assert isinstance(await desk.decisions.read(CUSTOMER, None, soon()), Unreadable)
    for what in ("sent", "not_sent", "clicked"):
        await desk.tell(decision, what)
        await desk.tell(other, what)
        assert isinstance(await desk.decisions.read(CUSTOMER, None, soon()), Unreadable), what
    assert "suppressed" in (await desk.tell(decision, "complained")).effects


async def test_outcomes_of_what_is_not_remembered_are_refused(desk: Desk) -> None:
    decision = await desk.send()
    await desk.client.delete(KEYS.decision(0, str(decision).encode()))
    with pytest.raises(Problem, match="decision_expired"):
        await desk.tell(decision, "sent")
    with pytest.raises(Problem, match="decision_expired"):
        await desk.tell(decision._replace(chance=77), "sent")


async def test_what_sent_nothing_has_no_outcomes(desk: Desk) -> None:
    await desk.tell(await desk.send(), "complained")
    intent, decision = desk.intent("once", await desk.now_ms(), await desk.facts())
    assert not intent.contacts
    assert isinstance(await desk.commit(intent), Committed)
    with pytest.raises(Problem, match="nothing_sent"):
        await desk.tell(decision, "sent")
    with pytest.raises(Problem, match="nothing_sent"):
        await desk.tell(decision._replace(place=3), "sent")


async def test_a_customer_who_became_another_one_is_stopped_as_that_one(desk: Desk) -> None:
    decision = await desk.send()
    await desk.client.hset(desk.keys.profile, "!m", ">cus_2")
    assert "suppressed" in (await desk.tell(decision, "complained")).effects
    assert b"-*:complaint" in await desk.client.hgetall(KEYS.profile("cus_2"))
    assert b"-*:complaint" not in await desk.profile()
    assert await desk.client.zcard(KEYS.of("cus_2").ledger) == 1


# Beside decisions


async def test_a_decision_in_flight_sees_what_was_told_meanwhile(desk: Desk) -> None:
    first = await desk.send()
    for what in ("sent", "clicked", "not_sent", "complained"):
        second = await desk.send("open")
        facts = await desk.facts()
        intent, _ = desk.intent("receipt", facts.now_ms, facts)
        await desk.tell(second if what == "not_sent" else first, what)
        assert isinstance(await desk.commit(intent), Moved), what


async def test_whatever_is_released_meanwhile_a_limit_of_one_holds_and_its_room_is_used(desk: Desk) -> None:
    """Several processes decide for one customer, and take back what they did not send."""
    sends, most = 0, 0

    async def decide_and_release() -> None:
        nonlocal sends, most
        for _ in range(8):
            facts = (await desk.facts())._replace(consent=(granted("marketing"),), region="DE")
            intent, decision = desk.intent("once", facts.now_ms, facts)
            committed = isinstance(await desk.commit(intent), Committed)
            most = max(most, await desk.client.zcard(desk.keys.ledger))
            if committed and intent.contacts:
                sends += 1
                await desk.tell(decision, "sent")
                await desk.tell(decision, "bounced_soft")

    await asyncio.gather(*(decide_and_release() for _ in range(5)))
    assert most == 1
    assert sends > 1
    assert await desk.contacts() == ()


async def test_what_was_sent_though_it_had_been_taken_back_counts(desk: Desk) -> None:
    """Its answer was `suppress`. Whoever sends all the same has sent."""
    intent, decision = await taken_back(desk)
    assert await desk.contacts() == ()
    assert (await desk.tell(decision, "not_sent")).effects == ()
    assert (await desk.tell(decision, "sent")).effects == ("contact_sent",)
    (contact,) = await desk.contacts()
    assert contact.decision == pack_id(str(decision))
    assert await desk.earned() == {}, "it teaches nothing: nobody chose to send it"
    assert await desk.client.get(KEYS.decision(0, str(decision).encode())) == b"aborted"
    assert await desk.take_back(intent) == b"released"
    assert len(await desk.contacts()) == 1


async def test_taking_back_what_is_known_to_be_sent_leaves_the_contact(desk: Desk) -> None:
    now_ms = await desk.now_ms()
    intent, decision = desk.intent("once", now_ms)
    intent = intent._replace(commit_by_ms=now_ms + 20)
    assert isinstance(await desk.commit(intent), Committed)
    await desk.tell(decision, "sent")
    assert await desk.take_back(intent) == b"released"
    assert len(await desk.contacts()) == 1


async def taken_back(desk: Desk) -> tuple:  # type: ignore[type-arg]  # the intent, and what was decided
    now_ms = await desk.now_ms()
    intent, decision = desk.intent("once", now_ms)
    intent = intent._replace(commit_by_ms=now_ms + 20)
    assert isinstance(await desk.commit(intent), Committed)
    assert await desk.take_back(intent) == b"released"
    return intent, decision


async def test_all_keys_of_an_outcome_lie_in_one_slot(own_store: StartStore) -> None:
    """On a node of a cluster, which refuses scripts across slots."""
    store = own_store("--cluster-enabled", "yes")
    store.command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
    await until(lambda: b"cluster_state:ok" in store.command("CLUSTER", "INFO"))
    async with desk_on(store.url) as desk:
        decision = await desk.send()
        for what in ("sent", "clicked", "unsubscribed", "resubscribed"):
            await desk.tell(decision, what)
        assert (await desk.earned())["only@4.a:r"] == 1


async def test_a_store_that_is_away_is_a_problem_and_nothing_is_lost_by_repeating(own_store: StartStore) -> None:
    store = own_store()
    async with desk_on(store.url) as desk:
        decision = await desk.send()
        store.kill()
        with pytest.raises(Problem, match="store_unavailable"):
            await desk.tell(decision, "complained", event_id="e")
        store.start()
        assert await desk.client.ping()
        await until(lambda: desk.link.connected)
        assert "suppressed" in (await desk.tell(decision, "complained", event_id="e")).effects
