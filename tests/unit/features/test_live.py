"""Features in a decision: what is asked of the store, what its answer comes to, and until when that is complete."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app.core.decision.commit import Moved, Reading, Unreadable
from app.core.features.live import LiveFeatures, all_features, features_read, live_features
from app.core.features.watermarks import NO_WATERMARKS, Watermarks
from tests.support.contract import contract_bundle
from tests.support.deciding import NOW_MS, facts_of
from tests.support.features import (
    DAY_MS,
    MINUTE_MS,
    added,
    asked_for,
    complete_until,
    feature_bundle,
    live,
    ordered,
    stored,
    viewed,
)

HOUR_MS = 60 * MINUTE_MS
EVENTS = [
    viewed(NOW_MS - 3 * DAY_MS, 1, category="kitchen", price=20.0),
    viewed(NOW_MS - HOUR_MS // 2, 2, category="kitchen", price=60.0),
    added(NOW_MS - 40 * MINUTE_MS, 3, category="garden", price=5.0),
    ordered(NOW_MS - 30 * DAY_MS, 4, revenue=99.5),
]


def test_only_groups_of_features_that_some_placement_reads_are_asked_for() -> None:
    assert {group.key for group in live().groups} == {
        "product_viewed", "product_added", "order_completed", "product_added+product_viewed",
    }  # fmt: skip
    everything = all_features(feature_bundle())
    assert everything is not None
    assert len(everything.groups) == 5


def test_a_bundle_that_reads_no_feature_asks_for_nothing() -> None:
    bundle = contract_bundle()
    assert live_features(bundle, tuple(bundle.placements.values())) is None


def test_a_placement_reads_the_features_of_its_own_rules() -> None:
    bundle = feature_bundle()
    assert features_read(bundle, bundle.placements["reminder"]) == {"cart_open"}
    asked = live_features(bundle, tuple(bundle.placements[name] for name in ("reminder", "now")))
    assert asked is not None
    assert [rule.name for rule in asked.rules] == ["views_1h", "cart_open"]
    assert "visits" not in features_read(bundle, bundle.placements["weekly"])


def test_there_is_one_plan_for_the_same_placements() -> None:
    bundle = feature_bundle()
    reminder, now = (bundle.placements[name] for name in ("reminder", "now"))
    assert live_features(bundle, (reminder, now)) is live_features(bundle, (now, reminder))


def test_features_join_what_else_is_known_under_their_names() -> None:
    state = live().state(asked_for(stored(EVENTS)))
    facts = live().joined(facts_of({"visits": 3, "since_order": 999}), state, 0, NO_WATERMARKS)
    assert facts.values == {
        "visits": 3, "views_7d": 2, "spend_90d": 99.5, "last_price": 5.0, "favourite": "kitchen", "since_order": 30,
        "mean_price": 40.0, "views_1h": 1, "cart_open": True, "adds_24h": 1,
    }  # fmt: skip


def test_of_a_customer_who_did_nothing_counts_are_zero_and_defaults_stand() -> None:
    state = live().state(asked_for({}))
    facts = live().joined(facts_of({"since_order": 999}), state, 0, NO_WATERMARKS)
    assert facts.values == {
        "views_7d": 0, "spend_90d": 0.0, "since_order": 999, "views_1h": 0, "cart_open": False, "adds_24h": 0,
    }  # fmt: skip
    assert not facts.features_unread


def test_a_state_is_read_again_at_the_instant_of_a_repeated_decision() -> None:
    """The cart was filled 29 minutes ago, and a version moved: a minute later it has lain for half an hour."""
    earlier = Reading(facts_of(), live().state(asked_for(stored([added(NOW_MS - 29 * MINUTE_MS)]))))
    later = Moved(Reading(facts_of(now_ms=NOW_MS + MINUTE_MS))).after(earlier)
    assert isinstance(later, Reading)
    first, again = (live().joined(each.facts, each.features, 0, NO_WATERMARKS) for each in (earlier, later))
    assert (first.values["cart_open"], again.values["cart_open"]) == (False, True)


def test_what_cannot_be_used_after_a_conflict_stays_so() -> None:
    unreadable = Unreadable("FactsLost", False)
    assert Moved(unreadable).after(Reading(facts_of())) is unreadable


@pytest.mark.parametrize("bytes_", [b"", b"\xc1", b"\x93\x01\x02", b"null", b"\x92\xa1x\xa1y", b"\x01"])
def test_a_state_that_cannot_be_read_leaves_features_missing_and_says_so(bytes_: bytes) -> None:
    groups = stored(EVENTS) | {b"product_viewed": bytes_}
    facts = live().joined(facts_of({"visits": 3}), live().state(asked_for(groups)), 0, NO_WATERMARKS)
    assert facts.features_unread
    assert facts.values == {"visits": 3}, "nor are the others believed: who wrote this may have written those"


def test_a_state_that_decodes_and_is_none_is_missing_too() -> None:
    state = live().state(asked_for(stored(EVENTS)))
    assert state is not None
    broken = [None if held is None else ["noon", *held[1:]] for held in state]
    assert live().values(broken, NOW_MS) is None


def test_a_last_value_of_another_type_than_declared_is_missing() -> None:
    for given, read in ((60, 60.0), ("dear", None), (True, None)):
        state = live().state(asked_for(stored([added(NOW_MS, price=given)])))
        assert state is not None
        values = live().values(state, NOW_MS)
        assert values is not None
        assert values.get("last_price") == read
        assert type(values.get("last_price")) is type(read)


# Until when it is complete


def as_of(watermarks: Watermarks, shard: int = 0) -> dict[str, int]:
    return dict(live().joined(facts_of(as_of_ms={"crm": 5}), live().state(asked_for({})), shard, watermarks).as_of_ms)


def test_a_feature_is_as_fresh_as_the_least_complete_of_its_events_and_its_shard() -> None:
    told = complete_until(1000, order_completed=300, product_added=700)
    assert as_of(told) == {
        "crm": 5, "events:product_viewed": 1000, "events:product_added": 700,
        "events:order_completed+product_added": 300,
    }  # fmt: skip
    assert as_of(told._replace(shards_ms={0: 500}))["events:product_viewed"] == 500


def test_of_what_nobody_told_nobody_knows_how_fresh_it_is() -> None:
    assert as_of(complete_until(1000), shard=7) == {"crm": 5}
    assert as_of(NO_WATERMARKS) == {"crm": 5}
    told = complete_until(1000)
    silent = told._replace(types_ms={name: ms for name, ms in told.types_ms.items() if name != "order_completed"})
    assert "events:order_completed+product_added" not in as_of(silent)


def test_without_a_contract_nobody_asks_how_fresh_a_feature_is() -> None:
    bundle = feature_bundle()
    bare = replace(
        bundle, fact_by_name={name: replace(fact, max_age_s=None) for name, fact in bundle.fact_by_name.items()}
    )
    without = LiveFeatures(bare, frozenset({"views_1h"}))
    assert without.event_types == ()
    facts = facts_of()
    assert without.joined(facts, without.state([None]), 0, complete_until(1000)).as_of_ms is facts.as_of_ms


def test_what_was_told_once_stays_told() -> None:
    one, other = Watermarks({"a": 5, "b": 9}, {0: 3}), Watermarks({"a": 7, "b": 1}, {1: 4})
    assert one.raised_to(other) == Watermarks({"a": 7, "b": 9}, {0: 3, 1: 4})
    assert one.raised_to(NO_WATERMARKS) == one
