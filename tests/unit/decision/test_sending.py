"""What the time of day makes of whole decisions: sent, deferred, decided anew, and replayed to the same bytes."""

from __future__ import annotations

import dataclasses
from typing import Any

import orjson
import pytest

from app.core.decision.record import decode
from app.core.decision.replay import replay
from policy.bundle import Bundle, QuietHours, Region, SendHours
from policy.facts import Facts
from tests.support.contract import contract_bundle
from tests.support.deciding import HOUR_MS, NOW_MS, Decided, contact, decide, facts_of, kind

WHOLE = {"recency": 3, "zip_code": "Urban"}
MODEL = {"alpha": 0.25, "beta": 0.5, "gamma": 0.125}
MINUTE_MS = 60_000
#: 22:00 in Berlin, and the next morning's eight o'clock.
EVENING_MS, MORNING_MS = NOW_MS + 11 * HOUR_MS, NOW_MS + 21 * HOUR_MS


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    """Nights are quiet, for marketing."""
    return quiet_at_night(contract_bundle())


def quiet_at_night(bundle: Bundle, **more: Any) -> Bundle:
    night = (QuietHours(21 * 60, 8 * 60, **more),)
    rows = {"default": Region("default", "opt_in", "opt_in"), "DE": Region("DE", "opt_in", "opt_in", quiet=night)}
    return dataclasses.replace(bundle, regions=rows)


def with_hours(bundle: Bundle, name: str, hours: SendHours) -> Bundle:
    placement = dataclasses.replace(bundle.placements[name], send_hours=hours)
    return dataclasses.replace(bundle, placements={**bundle.placements, name: placement})


def at(now_ms: int, **more: Any) -> Facts:
    return facts_of(WHOLE, now_ms=now_ms, as_of_ms={"crm": now_ms, "bank": now_ms, "growth": now_ms}, **more)


def answered(decided: Decided, place: int = 0) -> dict[str, Any]:
    answer: dict[str, Any] = orjson.loads(decided.decisions[place].answer)
    return answer


def test_at_night_the_answer_is_to_ask_again_in_the_morning(bundle: Bundle) -> None:
    answer = answered(decide(bundle, at(EVENING_MS), ["weekly"], model=MODEL))
    assert (answer["action"], answer["reason"], answer["rung"]) == ("defer", "quiet_hours", "model")
    assert (answer["message"], answer["propensity"], answer["retryable"]) == (None, None, False)
    assert answer["send_window"] == {
        "not_before": "2026-11-25T07:00:00Z",
        "not_after": "2026-11-25T08:00:00Z",
        "timezone": "Europe/Berlin",
        "basis": "permitted_hours",
    }


def test_who_asks_again_in_the_morning_gets_a_message(bundle: Bundle) -> None:
    first = decide(bundle, at(EVENING_MS), ["weekly"], model=MODEL).first
    again = decide(bundle, at(first.window.not_before_ms), ["weekly"], model=MODEL).first
    assert (again.action, again.message.id, again.window.not_before_ms) == ("send", "beta", MORNING_MS)
    before = decide(bundle, at(first.window.not_before_ms - 1), ["weekly"], model=MODEL).first
    assert before.action == "defer"


def test_a_deferred_decision_reserves_nothing_and_takes_no_message(bundle: Bundle) -> None:
    """Two placements at night: the second is not kept from the message that the first would send in the morning."""
    decided = decide(bundle, at(EVENING_MS), ["once", "weekly"], model=MODEL)
    for each in decided.decisions:
        assert each.decision.action == "defer"
        assert {why.code for why in each.decision.excluded.values()} == {"quiet_hours"}


def test_every_candidate_says_what_it_waits_for(bundle: Bundle) -> None:
    decision = decide(bundle, at(EVENING_MS), ["weekly"], model=MODEL).first
    assert set(decision.excluded.values()) == {("quiet_hours", ("wait", MORNING_MS))}
    assert decision.admissible == []


def test_what_a_limit_forbids_in_the_morning_as_well_is_not_put_off(bundle: Bundle) -> None:
    sent = contact(kind(bundle.placements["once"], "alpha"), NOW_MS)
    decision = decide(bundle, at(EVENING_MS, contacts=(sent,)), ["once"]).first
    assert (decision.action, decision.reason) == ("suppress", "no_admissible_message")
    assert {why.code for why in decision.excluded.values()} == {"limit_reached"}


def test_a_limit_that_has_room_again_in_the_morning_does_not_stand_in_the_way(bundle: Bundle) -> None:
    """Seven days after the last contact, at three in the night."""
    week_ms = 7 * 24 * HOUR_MS
    now_ms = EVENING_MS + 5 * HOUR_MS
    sent = contact(kind(bundle.placements["once"], "alpha"), now_ms + HOUR_MS - week_ms)
    decision = decide(bundle, at(now_ms, contacts=(sent,)), ["once"]).first
    assert (decision.action, decision.window.not_before_ms) == ("defer", MORNING_MS)


def test_transactional_mail_goes_out_at_night_beside_marketing_that_waits(bundle: Bundle) -> None:
    decided = decide(bundle, at(EVENING_MS), ["receipt", "weekly"], model=lambda _: 0.5)
    assert [each.decision.action for each in decided.decisions] == ["send", "defer"]
    assert decided.first.window.basis == "immediate"


def test_transactional_mail_waits_where_quiet_hours_name_it() -> None:
    quiet = quiet_at_night(contract_bundle(), classes=frozenset({"transactional"}))
    decided = decide(quiet, at(EVENING_MS), ["receipt", "weekly"], model=lambda _: 0.5)
    assert [each.decision.action for each in decided.decisions] == ["defer", "send"]


def test_hours_that_are_too_far_off_are_no_reason_to_wait(bundle: Bundle) -> None:
    impatient = with_hours(bundle, "weekly", SendHours(8 * 60, 20 * 60, max_wait_s=3600))
    decision = decide(impatient, at(EVENING_MS), ["weekly"], model=MODEL).first
    assert (decision.action, decision.reason, decision.window) == ("suppress", "quiet_hours", None)
    assert set(decision.excluded.values()) == {("quiet_hours", ("never",))}


def test_a_send_shows_whose_hours_it_goes_by(bundle: Bundle) -> None:
    patient = with_hours(bundle, "weekly", SendHours(8 * 60, 20 * 60, max_wait_s=86_400))
    by_placement = decide(patient, at(NOW_MS), ["weekly"], model=MODEL).first
    assert (by_placement.action, by_placement.window.basis) == ("send", "placement_hours")
    by_customer = decide(patient, at(NOW_MS, best_hours="10:00-12:00"), ["weekly"], model=MODEL).first
    assert by_customer.window == (NOW_MS, NOW_MS + HOUR_MS - 1, "customer_hours")
    later = decide(patient, at(NOW_MS, best_hours="18:30-21:00"), ["weekly"], model=MODEL).first
    assert (later.action, later.window.not_before_ms) == ("defer", NOW_MS + 7 * HOUR_MS + 30 * MINUTE_MS)


@pytest.mark.parametrize("now_ms", [NOW_MS, EVENING_MS, EVENING_MS + 59_999, MORNING_MS - 1])
@pytest.mark.parametrize("best_hours", [None, "22:00-23:30", "10:00-12:00"])
def test_a_record_decides_again_to_the_same_bytes(bundle: Bundle, now_ms: int, best_hours: str | None) -> None:
    hours = with_hours(bundle, "weekly", SendHours(8 * 60, 20 * 60, max_wait_s=86_400))
    decided = decide(hours, at(now_ms, best_hours=best_hours), ["weekly", "receipt"], model=lambda _: 0.5)
    again = replay(decode(decided.record, hours))
    assert [each.answer for each in again] == [each.answer for each in decided.decisions]
    assert all(each.same for each in again)
