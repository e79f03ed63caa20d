"""The model that judges storms (`tests.support.verdict`) is itself judged: tales with nothing wrong, or one thing."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from typing import Any

import pytest

from tests.support.everything import BUDGET, PAUSE_S
from tests.support.history import NOT_YET, Asked, History, Merge, Off, Said, Span, Stop, Told
from tests.support.verdict import verdict, verdict_by_the_log

#: A Tuesday, 10:00 UTC.
T = 1_795_514_400.0


class Tale:
    """A history, told step by step: each takes a tenth of a second, and a tenth passes before the next one."""

    def __init__(self) -> None:
        self.history = History()
        self.now_s = T
        self._numbers = count()

    def took(self) -> Span:
        begun, self.now_s = self.now_s, self.now_s + 0.2
        return Span(begun, begun + 0.1)

    def decided(self, placement: str, at: Span, **more: Any) -> dict[str, Any]:
        decision_id = f"dec_000{int(at.start * 1000):011x}{next(self._numbers):012x}00"
        usual = {
            "decision_id": decision_id, "placement": placement, "action": "suppress", "reason": "", "rung": "rules",
            "arm": "treatment", "degraded": [], "excluded": [], "retryable": False, "message": None,
        }  # fmt: skip
        return usual | more

    def asks(self, *decisions: dict[str, Any], customer: str, at: Span, key: str | None = None) -> None:
        placements = tuple(each["placement"] for each in decisions)
        self.history.asked.append(Asked(customer, placements, 0, at, decisions, key))

    def sends(
        self, placement: str, customer: str = "c", at: Span | None = None, window_s: int = 3600, message: str = "a"
    ) -> str:
        at = at or self.took()
        window = {
            "not_before": datetime.fromtimestamp(int(at.start), UTC).isoformat(),
            "not_after": datetime.fromtimestamp(int(at.start) + window_s, UTC).isoformat(),
        }
        sent = {"action": "send", "reason": "rule_ranked", "message": {"id": message}, "send_window": window}
        decision = self.decided(placement, at, **sent)
        self.asks(decision, customer=customer, at=at)
        return str(decision["decision_id"])

    def refuses(
        self, placement: str, reason: str, code: str = "", customer: str = "c", at: Span | None = None, **more: Any
    ) -> None:
        at = at or self.took()
        excluded = [{"message": "a", "code": code}] if code else []
        self.asks(self.decided(placement, at, reason=reason, excluded=excluded, **more), customer=customer, at=at)

    def tells(self, decision_id: str, *outcomes: str) -> None:
        for what in outcomes:
            at = self.took()
            self.history.told.append(Told(decision_id, what, at, at.start))

    def says(self, granted: bool, customer: str = "c", for_s: float | None = None) -> None:
        at = self.took()
        said = Said(customer, granted, at) if for_s is None else Said(customer, granted, at, at.start + for_s)
        self.history.said.append(said)

    def stops(self, customer: str = "c") -> Stop:
        self.history.stops.append(Stop(customer, self.took()))
        return self.history.stops[-1]

    def off(self, kind: str, name: str, server: int = 1) -> Off:
        self.history.switches.append(Off(kind, name, server, self.took(), NOT_YET))
        return self.history.switches[-1]

    def merges(self, loser: str = "lost", winner: str = "c") -> None:
        self.history.merges.append(Merge(loser, winner, self.took()))

    def passes(self, seconds: float) -> None:
        self.now_s += seconds

    @property
    def wrong(self) -> list[str]:
        return verdict(self.history)


@pytest.fixture
def tale() -> Tale:
    return Tale()


def test_as_many_as_a_limit_allows_are_right_and_one_more_is_wrong(tale: Tale) -> None:
    tale.sends("twice")
    tale.sends("twice")
    tale.sends("twice", customer="another")
    assert tale.wrong == []
    tale.sends("twice")
    assert any("3 of 2 in `twice`" in each for each in tale.wrong)


def test_two_that_were_asked_for_at_once_cannot_both_have_been_in_time(tale: Tale) -> None:
    for _ in range(2):
        tale.sends("once", at=Span(T, T + 1))
    assert any("2 of 1 in `once`" in each for each in tale.wrong)


def test_a_release_that_was_asked_for_before_the_next_answer_may_have_made_room(tale: Tale) -> None:
    first = tale.sends("once")
    tale.tells(first, "not_sent")
    tale.sends("once", at=tale.history.told[-1].at)
    assert tale.wrong == []
    tale.sends("once")
    assert tale.wrong


@pytest.mark.parametrize("story", [("sent", "delivered", "not_sent"), ("sent",), ("converted", "dropped")])
def test_what_was_received_is_not_released(tale: Tale, story: tuple[str, ...]) -> None:
    tale.tells(tale.sends("once"), *story)
    tale.sends("once")
    assert any("2 of 1" in each for each in tale.wrong)


def test_what_was_sent_although_it_was_released_counts_against_what_is_asked_afterwards(tale: Tale) -> None:
    first = tale.sends("once")
    tale.tells(first, "not_sent")
    tale.sends("once")
    tale.tells(first, "sent")
    assert tale.wrong == []  # both were sent, and that was the sender's doing
    assert [len(each.sure) for each in tale.history.contacts()] == [2, 1]
    tale.tells(tale.history.contacts()[1].decision_id, "dropped")
    tale.sends("once")
    assert any("2 of 1" in each for each in tale.wrong)


@pytest.mark.parametrize(("story", "counts"), [(("not_sent", "sent"), False), (("sent", "dropped"), True)])
def test_what_happened_last_holds_also_where_the_clock_was_set_back_before_it_was_told(
    tale: Tale, story: tuple[str, str], counts: bool
) -> None:
    tale.tells(tale.sends("once"), *story)
    ahead, back = tale.history.told
    tale.history.told[0] = replace(ahead, happened_s=back.happened_s + 3600)
    (contact,) = tale.history.contacts()
    assert contact.surely_at(tale.now_s) is counts
    assert contact.released is not counts


def test_a_reservation_that_expired_makes_room_and_one_that_was_confirmed_does_not(tale: Tale) -> None:
    confirmed = tale.sends("hold", window_s=1)
    tale.tells(confirmed, "sent")
    tale.sends("hold", window_s=1)
    tale.passes(3)
    tale.sends("hold")
    assert tale.wrong == []
    tale.sends("hold")
    assert any("3 of 2 in `hold`" in each for each in tale.wrong)


def test_rivals_are_wrong_together(tale: Tale) -> None:
    tale.tells(tale.sends("red"), "not_sent")
    tale.sends("blue")
    assert tale.wrong == []
    tale.sends("red")
    assert any("both of" in each for each in tale.wrong)


def test_a_budget_is_for_all(tale: Tale) -> None:
    for number in range(BUDGET):
        tale.sends("scarce", customer=f"c{number}")
    assert tale.wrong == []
    tale.tells(tale.sends("scarce"), "not_sent")
    assert any("where the budget is" in each for each in tale.wrong)


def test_nothing_is_right_after_a_refusal_until_it_is_granted_again(tale: Tale) -> None:
    tale.says(granted=False)
    tale.sends("receipt")
    denied_at = tale.history.said[-1].at
    tale.says(granted=True)
    tale.sends("open", at=denied_at)  # asked before the refusal was acknowledged
    tale.sends("open")
    assert tale.wrong == []
    tale.says(granted=True, for_s=1)
    tale.passes(1)
    tale.sends("open")
    assert any("withdrawn consent" in each for each in tale.wrong)


def test_the_log_convicts_what_was_asked_before_a_refusal_and_committed_after_it(tale: Tale) -> None:
    sent = tale.sends("open", at=Span(T, T + 2))
    tale.says(granted=False)
    assert tale.wrong == []
    assert verdict_by_the_log(tale.history, {sent: Span(T + 0.05, T + 0.051)}) == []
    assert verdict_by_the_log(tale.history, {sent: Span(T + 0.5, T + 0.501)}) != []


def test_nothing_is_right_under_a_suppression(tale: Tale) -> None:
    stop = tale.stops()
    tale.refuses("open", "suppressed:manual")
    stop.lifted_at = tale.took()
    tale.sends("open")
    assert tale.wrong == []
    stop.lifted_at = tale.took()
    assert any("was suppressed" in each for each in tale.wrong)


def test_nothing_is_right_in_a_pause(tale: Tale) -> None:
    tale.tells(tale.sends("shop"), "converted")
    tale.refuses("shop", "no_admissible_message", "cooldown")
    tale.sends("once")
    tale.passes(PAUSE_S)
    tale.sends("shop")
    assert tale.wrong == []
    tale.tells(tale.history.contacts()[-1].decision_id, "converted")
    tale.sends("shop")
    assert any("had bought" in each for each in tale.wrong)


def test_a_switch_is_in_force_within_a_second_and_at_once_where_it_was_turned(tale: Tale) -> None:
    tale.off("placement", "open", server=1)
    tale.sends("open")
    tale.passes(1)
    tale.refuses("open", "switched_off")
    tale.sends("twice", message="twice_b")
    assert tale.wrong == []
    tale.sends("open")
    assert any("`placement/open` was off" in each for each in tale.wrong)
    tale.history.switches.clear()
    tale.off("message", "twice_a", server=0)
    tale.sends("twice", message="twice_a")
    assert any("`message/twice_a` was off" in each for each in tale.wrong)


def test_who_became_one_has_one_limit_from_then_on(tale: Tale) -> None:
    tale.sends("once")
    tale.sends("once", customer="lost")
    tale.merges()
    tale.refuses("once", "no_admissible_message", "limit_reached", customer="lost")
    assert tale.wrong == []
    tale.sends("once", customer="lost")
    assert any("for c in" in each for each in tale.wrong)


def test_the_refusal_of_either_holds_for_both_who_became_one(tale: Tale) -> None:
    tale.says(granted=False, customer="lost")
    tale.says(granted=True)
    tale.merges()
    tale.refuses("open", "consent_denied")
    assert tale.wrong == []
    tale.sends("open")
    assert any("withdrawn consent" in each for each in tale.wrong)


@pytest.mark.parametrize(("granted", "may_be"), [(True, True), (None, False)])
def test_who_became_another_may_have_granted_for_that_one_while_a_question_was_on_its_way(
    tale: Tale, granted: bool | None, may_be: bool
) -> None:
    tale.says(granted=False)
    tale.merges()
    joined = tale.history.merges[-1].at
    if granted is not None:
        tale.says(granted=granted, customer="lost")
    tale.sends("open", at=Span(joined.start + 0.05, joined.start + 1))
    assert any("withdrawn consent" in each for each in tale.wrong) is not may_be


@pytest.mark.parametrize(
    ("from_s", "to_s", "may_be"),
    [(-1, -0.5, False), (-1, 0.05, True), (-1, 1, True), (0.05, 1, True), (0.2, 1, False)],
    ids=["over before", "answered meanwhile", "asked before, answered after", "asked meanwhile", "asked after"],
)
def test_only_a_question_during_which_its_customer_became_another_may_be_answered_for_that_one(
    tale: Tale, from_s: float, to_s: float, may_be: bool
) -> None:
    tale.says(granted=True, customer="c")
    tale.says(granted=False, customer="lost")
    tale.passes(2)
    tale.merges()  # takes a tenth of a second
    joined = tale.history.merges[-1].at
    tale.sends("open", customer="lost", at=Span(joined.start + from_s, joined.start + to_s))
    assert any("withdrawn consent" in each for each in tale.wrong) is not may_be


@pytest.mark.parametrize(
    ("placement", "reason", "code"),
    [
        ("once", "no_admissible_message", "limit_reached"),
        ("red", "no_admissible_message", "excluded_by"),
        ("shop", "no_admissible_message", "cooldown"),
        ("twice", "no_admissible_message", "switched_off"),
        ("twice", "no_admissible_message", "outranked"),
        ("open", "consent_denied", ""),
        ("open", "suppressed:manual", ""),
        ("open", "switched_off", ""),
        ("open", "merge_pending", ""),
        ("open", "holdout", ""),
        ("open", "quiet_hours", ""),
        ("open", "facts_unavailable", ""),  # and not retryable
    ],
)
def test_a_refusal_for_which_there_was_no_reason_is_wrong(tale: Tale, placement: str, reason: str, code: str) -> None:
    tale.says(granted=True)
    tale.refuses(placement, reason, code)
    assert len(tale.wrong) == 1


def test_a_commit_that_may_have_been_excuses_that_a_limit_is_reached(tale: Tale) -> None:
    tale.refuses("once", "facts_unavailable", retryable=True, degraded=["commit_unknown"])
    tale.refuses("once", "no_admissible_message", "limit_reached")
    assert tale.wrong == []


def test_nobody_changes_arms_or_is_sent_what_they_are_held_out_of(tale: Tale) -> None:
    tale.refuses("held", "holdout", arm="holdout")
    assert tale.wrong == []
    tale.sends("held")
    assert any("several arms" in each for each in tale.wrong)
    tale.history.asked[-1].decisions[0]["arm"] = "holdout"
    assert any("held out" in each for each in tale.wrong)
