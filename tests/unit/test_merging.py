"""What two customers make together: nothing is permitted that either of them had closed."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.core.decision.gate import gate
from app.core.decision.situation import Situation, situation
from app.core.merging import Place, place_of_both
from policy.bundle import Bundle, Placement
from policy.cooldowns import pauses
from policy.facts import Facts
from policy.limits import customer_zones, reached_limits
from tests.support.contract import contract_bundle
from tests.support.deciding import NOW_MS
from tests.support.merging import people, united
from tests.support.outcomes import bundle as outcomes_bundle

MANY = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
HOUR_MS = 3_600_000


def both(bundle: Bundle) -> st.SearchStrategy[tuple[Facts, Facts]]:
    return st.tuples(people(bundle, 1), people(bundle, 2))


def where_they_are_together(winner: Facts, loser: Facts, bundle: Bundle) -> tuple[Facts, Facts, Facts]:
    """Both in the place that the merge gives them (another region is another law, and no merge), and united."""
    after = united(winner, loser, bundle)
    place: Any = {"region": after.region, "timezone": after.timezone}
    return winner._replace(**place), loser._replace(**place), after


def seen(bundle: Bundle, facts: Facts) -> Situation:
    return situation(bundle, facts, {}, 0, "cus_1")


@MANY
@given(both(contract_bundle()))
def test_marketing_goes_to_both_only_where_neither_refused_and_one_permitted(pair: tuple[Facts, Facts]) -> None:
    bundle = contract_bundle()
    winner, loser, after = where_they_are_together(*pair, bundle)
    for placement in bundle.placements.values():
        if placement.klass != "marketing":
            continue
        united_gate, *gates = (gate(placement, seen(bundle, facts)) for facts in (after, winner, loser))
        if united_gate.stop is None:
            assert all(each.contact is not None and each.contact.state != "denied" for each in gates), placement.id
            assert any(each.stop is None for each in gates), placement.id
        assert not united_gate.personal or any(
            each.personalisation is not None and each.personalisation.permitted for each in gates
        )


def reached(bundle: Bundle, placement: Placement, facts: Facts) -> set[int]:
    zones = lambda: customer_zones(facts.timezone, facts.region, None)  # noqa: E731  # named as the parameter
    return set(reached_limits(bundle, placement, facts.contacts, NOW_MS, NOW_MS + HOUR_MS, zones))


@MANY
@given(both(contract_bundle()))
def test_a_limit_that_either_had_reached_is_reached_by_both(pair: tuple[Facts, Facts]) -> None:
    bundle = contract_bundle()
    winner, loser, after = where_they_are_together(*pair, bundle)
    for placement in bundle.placements.values():
        if placement.limits:
            either = reached(bundle, placement, winner) | reached(bundle, placement, loser)
            assert either <= reached(bundle, placement, after), placement.id


@MANY
@given(both(outcomes_bundle()))
def test_a_pause_of_either_is_a_pause_of_both_and_ends_no_sooner(pair: tuple[Facts, Facts]) -> None:
    bundle = outcomes_bundle()
    winner, loser, after = where_they_are_together(*pair, bundle)
    for placement in bundle.placements.values():
        ends = pauses(bundle, placement, after.outcomes, (), NOW_MS)
        for side in (winner, loser):
            for cooldown, end_ms in pauses(bundle, placement, side.outcomes, (), NOW_MS).items():
                assert ends[cooldown] >= end_ms


@MANY
@given(people(contract_bundle(), 1), people(contract_bundle(), 2), people(contract_bundle(), 3))
def test_three_customers_who_become_one_are_refused_and_counted_the_same_in_any_order(
    one: Facts, two: Facts, three: Facts
) -> None:
    bundle = contract_bundle()
    left = united(united(one, two, bundle), three, bundle)
    right = united(one, united(two, three, bundle), bundle)
    assert left.consent == right.consent
    assert left.suppressions == right.suppressions
    assert set(left.contacts) == set(right.contacts)
    assert set(left.outcomes) == set(right.outcomes)


@MANY
@given(people(contract_bundle(), 1), people(contract_bundle(), 2))
def test_what_is_told_of_the_winner_stays_and_what_comes_is_no_fresher_than_it_was(winner: Facts, loser: Facts) -> None:
    bundle = contract_bundle()
    after = united(winner, loser, bundle)
    assert {name: after.values[name] for name in winner.values} == winner.values
    for name in after.values.keys() - winner.values.keys():
        owner = bundle.fact_by_name[name].owner
        assert after.as_of_ms[owner] <= loser.as_of_ms[owner]


def test_a_zone_comes_over_only_into_the_region_that_it_was_told_for() -> None:
    """In another country's zone contacts would be counted in the wrong days; unknown, every zone must have room."""
    berlin, nowhere = Place("DE", "Europe/Berlin"), Place(None, None)
    assert place_of_both(Place("US", None), berlin) == Place("US", None)
    assert place_of_both(nowhere, berlin) == berlin
    assert place_of_both(Place("DE", None), berlin) == berlin
    assert place_of_both(Place("DE", None), Place(None, "Europe/Berlin")) == Place("DE", None)
    assert place_of_both(nowhere, Place(None, "Europe/Berlin")) == Place(None, "Europe/Berlin")
    assert place_of_both(Place(None, "Asia/Tokyo"), berlin) == Place("DE", "Asia/Tokyo")
