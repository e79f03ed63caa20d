"""Whose conversion it is."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.attribution import Claim, Contact, claims_in, outcome_of, settled
from app.core.events.event import Collected
from app.core.standing import Known
from policy.outcome_rules import OutcomeRules
from tests.support.conversions import DAY_MS, HOUR_MS, MINUTE_MS, NOW_MS, bought, decided, packed, returned, rules, told

D1, D2, D3 = decided(1), decided(2, NOW_MS - 12 * HOUR_MS), decided(3, NOW_MS - 30 * DAY_MS)


def contact(decision: str, *looks: tuple[bytes, bytes]) -> Contact:
    return Contact(packed(decision), Known.of(dict(looks)))


def clicked(hours_before: float, **more: Any) -> tuple[bytes, bytes]:
    return told("clicked", int(NOW_MS - hours_before * HOUR_MS), **more)


def opened(hours_before: float, **more: Any) -> tuple[bytes, bytes]:
    return told("opened", int(NOW_MS - hours_before * HOUR_MS), **more)


def whose(entry: Collected, contacts: list[Contact], by: OutcomeRules | None = None) -> str:
    by = by or rules()
    (claim,) = claims_in(entry, by)
    found = settled([claim], contacts, by)
    return found[0].decision if found else ""


def test_an_order_is_of_the_decision_that_it_names() -> None:
    contacts = [contact(D1, clicked(1)), contact(D2)]
    assert whose(bought(decision_id=D2), contacts) == D2
    assert whose(bought(nextbest_decision_id=D2), contacts) == D2
    assert whose(bought(url=f"https://shop.example.com/done?utm=x&did={D2}"), contacts) == D2
    assert whose(bought(page_url=f"https://shop.example.com/?did={D2}#top"), contacts) == D2


def test_a_decision_that_is_not_the_customers_gets_nothing() -> None:
    """An id travels with the link that somebody passes on."""
    stranger = decided(9)
    assert whose(bought(decision_id=stranger), [contact(D1)]) == ""
    assert whose(bought(decision_id=stranger), [contact(D1, clicked(1))]) == D1
    assert whose(bought(decision_id="dec_nonsense"), [contact(D1)]) == ""


def test_a_named_decision_counts_within_the_window_and_not_before_it_was_made() -> None:
    assert whose(bought(decision_id=D3), [contact(D3)]) == ""
    later = decided(4, NOW_MS + HOUR_MS)
    assert whose(bought(decision_id=later), [contact(later)]) == ""


def test_the_last_click_before_the_order_gets_it() -> None:
    contacts = [contact(D1, clicked(2)), contact(D2, clicked(5), clicked(-1))]
    assert whose(bought(), contacts) == D1
    assert whose(bought(), [contact(D1, clicked(6)), contact(D2, clicked(5))]) == D2


def test_a_click_outside_of_the_window_gets_nothing() -> None:
    assert whose(bought(), [contact(D1, clicked(7 * 24))]) == D1
    assert whose(bought(), [contact(D1, clicked(7 * 24 + 0.001))]) == ""
    assert whose(bought(), [contact(D1, clicked(-0.001))]) == ""


def test_an_open_counts_where_the_bundle_says_so_and_after_clicks() -> None:
    contacts = [contact(D1, clicked(5)), contact(D2, opened(1))]
    assert whose(bought(), [contact(D2, opened(1))]) == ""
    assert whose(bought(), [contact(D2, opened(1))], rules("last_click", "last_open")) == D2
    assert whose(bought(), contacts, rules("last_click", "last_open")) == D1
    assert whose(bought(), contacts, rules("last_open", "last_click")) == D2


def test_looks_of_machines_earn_nothing() -> None:
    flagged = contact(D1, clicked(1, machine=True))
    at_ms = NOW_MS - HOUR_MS
    hasty = contact(D1, told("delivered", at_ms), told("clicked", at_ms + 1_500))
    scanner = contact(D1, *(told("clicked", at_ms + n, link=f"{n}") for n in range(3)))
    for each in (flagged, hasty):
        assert whose(bought(), [each]) == ""
    assert whose(bought(), [scanner]) == ""


def test_an_event_that_is_no_conversion_claims_nothing() -> None:
    assert claims_in(bought()._replace(type="viewed"), rules()) == []
    assert claims_in(returned(order_id=""), rules()) == []


def test_an_order_without_a_number_counts_by_its_own_message() -> None:
    one, two = (claims_in(bought(number, order_id=""), rules())[0] for number in (1, 2))
    assert one.key != two.key
    (again,) = claims_in(bought(2, revenue=1.0), rules())
    (same,) = claims_in(bought(1), rules())
    assert again.key == same.key  # one order, told by two systems


def test_no_order_number_stands_in_what_is_kept_or_told() -> None:
    (claim,) = claims_in(bought(order_id="JANE-DOE-1"), rules())
    assert b"JANE" not in claim.encode()
    assert Claim.decode(claim.encode()) == claim


def test_a_refund_follows_its_order_and_gives_back_what_it_says() -> None:
    by = rules()
    claims = [*claims_in(bought(), by), *claims_in(returned(2, total=30.0), by), *claims_in(returned(3), by)]
    found = settled(claims, [contact(D1, clicked(1))], by)
    assert [each.decision for each in found] == [D1] * 3
    outcomes = [outcome_of(each) for each in found]
    assert [each and each.value for each in outcomes] == [80.0, -30.0, -80.0]
    assert len({each and each.event_id for each in outcomes}) == 3


def test_a_refund_of_another_order_gives_nothing_back() -> None:
    by = rules()
    claims = [*claims_in(bought(), by), *claims_in(returned(order_id="B-2"), by)]
    assert len(settled(claims, [contact(D1, clicked(1))], by)) == 1


def test_what_was_attributed_stays_where_it_went() -> None:
    by = rules()
    (claim,) = claims_in(bought(), by)
    went = claim._replace(decision=D1)
    assert settled([went], [contact(D1, clicked(5)), contact(D2, clicked(1))], by) == []


@pytest.mark.parametrize("order", list(permutations(["click", "order", "refund"])))
def test_one_click_an_order_and_its_refund_end_the_same_in_any_order(order: tuple[str, ...]) -> None:
    assert ended(order) == {(D1, 80.0), (D1, -30.0)}


@given(st.lists(st.sampled_from(["click", "order", "refund", "again"]), max_size=8))
def test_repeats_change_nothing(more: list[str]) -> None:
    assert ended([*more, "click", "order", "refund"]) == {(D1, 80.0), (D1, -30.0)}


def ended(order: Any) -> set[tuple[str, float | None]]:
    """What is told in the end, as the flow goes through it: keep what is new, settle what can be."""
    by, claims, looks = rules(), dict[bytes, Claim](), dict[bytes, bytes]()
    entries = {"order": bought(1), "again": bought(7), "refund": returned(2, total=30.0)}
    for what in order:
        if what == "click":
            looks |= [clicked(1)]
        else:
            for claim in claims_in(entries[what], by):
                claims.setdefault(claim.key, claim)
        for claim in settled(list(claims.values()), [Contact(packed(D1), Known.of(looks))], by):
            claims[claim.key] = claim
    return {(each.decision, outcome.value) for each in claims.values() if (outcome := outcome_of(each))}


def test_minutes_between_a_click_and_an_order_are_enough() -> None:
    assert whose(bought(at_ms=NOW_MS), [contact(D1, clicked(MINUTE_MS / HOUR_MS))]) == D1
