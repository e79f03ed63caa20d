"""Which contacts count under which limit; how windows are counted stands in `policy/cases/limits.yaml`."""

from __future__ import annotations

import pytest

from policy.bundle import Bundle
from policy.calendar import ANYWHERE
from policy.facts import ContactKind
from policy.limits import customer_zones, limits_counting, matches, reached_limits
from tests.support.contract import contract_bundle
from tests.support.deciding import DAY_MS, HOUR_MS, NOW_MS, contact, kind


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return contract_bundle()


def reached(bundle: Bundle, placement: str, *before: tuple[str, str, int]) -> list[str]:
    """Ids of the limits that stop a contact in `placement`; `before` are (placement, message, hours ago)."""
    ledger = [
        contact(kind(bundle.placements[where], what), NOW_MS - hours * HOUR_MS, number=number)
        for number, (where, what, hours) in enumerate(before)
    ]
    found = reached_limits(bundle, bundle.placements[placement], ledger, NOW_MS, NOW_MS, lambda: ("UTC",))
    return [bundle.limits[index].id for index in found]


def test_a_contact_counts_only_where_every_entry_of_match_fits(bundle: Bundle) -> None:
    limit = bundle.limits[0]
    fits = ContactKind("once", "email", "marketing", "alpha", "red", "spring")
    assert matches(limit, fits)
    assert not matches(limit, ContactKind("twice", "email", "marketing", "alpha", "red", "spring"))
    assert not matches(limit, ContactKind("once", "email", "transactional", "alpha", "red", "spring"))


def test_contacts_of_bundles_long_gone_count_by_what_they_were(bundle: Bundle) -> None:
    gone = ContactKind("a_placement_of_old", "sms", "marketing", "gone", "", "")
    assert [bundle.limits[index].id for index in limits_counting(bundle, gone)] == ["one_sms_a_day"]


@pytest.mark.parametrize(("placement", "at_most"), [("once", 1), ("twice", 2), ("thrice", 3)])
def test_a_limit_holds_at_its_number_and_not_before(bundle: Bundle, placement: str, at_most: int) -> None:
    sent = [(placement, "alpha", hours) for hours in range(5)]
    assert reached(bundle, placement, *sent[: at_most - 1]) == []
    assert len(reached(bundle, placement, *sent[:at_most])) == 1
    assert len(reached(bundle, placement, *sent)) == 1


def test_the_contacts_that_fill_a_limit_are_named(bundle: Bundle) -> None:
    placement = bundle.placements["twice"]
    ledger = [contact(kind(placement, "alpha"), NOW_MS - n * DAY_MS, number=n) for n in (9, 5, 1)]
    (found,) = reached_limits(bundle, placement, ledger, NOW_MS, NOW_MS, lambda: ("UTC",)).values()
    assert [int.from_bytes(each.decision, "big") for each in found] == [5, 1], "the one nine days ago is out"


def test_another_placement_does_not_fill_a_limit_of_this_one(bundle: Bundle) -> None:
    assert reached(bundle, "once", ("twice", "alpha", 1), ("weekly", "alpha", 1)) == []


def test_transactional_contacts_count_in_no_marketing_limit(bundle: Bundle) -> None:
    assert reached(bundle, "daily", ("parcel", "thanks", 1)) == []
    assert reached(bundle, "daily", ("daily", "alpha", 1)) == ["one_sms_a_day"]


def test_a_window_in_a_zone_of_its_own_ignores_the_customers(bundle: Bundle) -> None:
    """A week in UTC: NOW_MS is a Tuesday."""
    monday_ms = NOW_MS - 34 * HOUR_MS  # Monday, 00:00 UTC
    push = bundle.placements["push"]
    for at_ms, stopped in ((monday_ms, True), (monday_ms - 1, False)):
        ledger = [contact(kind(push, "alpha"), at_ms)]
        found = reached_limits(bundle, push, ledger, NOW_MS, NOW_MS, lambda: ("Pacific/Kiritimati",))
        assert bool(found) is stopped


def test_a_zone_is_asked_for_only_when_a_window_must_be_looked_at(bundle: Bundle) -> None:
    def never() -> tuple[str, ...]:
        raise AssertionError("nobody needs a zone here")

    placement = bundle.placements["thrice"]
    ledger = [contact(kind(placement, "alpha"), NOW_MS)] * 2
    assert reached_limits(bundle, placement, ledger, NOW_MS, NOW_MS, never) == {}


def test_the_zones_a_customer_may_be_in(bundle: Bundle) -> None:
    germany, anywhere_else = bundle.region("DE"), bundle.region("US")
    assert customer_zones("Asia/Tokyo", "DE", germany) == ("Asia/Tokyo",)
    assert customer_zones(None, "DE", germany) == ("Europe/Berlin",)
    american = customer_zones(None, "US-CA", anywhere_else)
    assert {"America/New_York", "America/Los_Angeles", "Pacific/Honolulu"} <= set(american)
    assert customer_zones(None, "ZZ", anywhere_else) == ANYWHERE
    assert customer_zones(None, None, None) == ANYWHERE
