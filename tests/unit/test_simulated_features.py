"""Records that hold features, decided again under another bundle: what a feature means may have changed since."""

from __future__ import annotations

from typing import Any

from app.core.decision.difference import Change
from app.simulate_report import document
from tests.support.deciding import NOW_MS, decide, facts_of
from tests.support.features import MINUTE_MS, added, asked_for, complete_until, feature_bundle, live, stored, viewed
from tests.unit.test_simulation import altered, of, simulated

OLD = feature_bundle()


def record(placement: str, watermarks: Any = None, **values: Any) -> bytes:
    done = [viewed(NOW_MS - number * MINUTE_MS, number) for number in range(3)] + [added(NOW_MS - 40 * MINUTE_MS, 9)]
    state = live().state(asked_for(stored(done)))
    facts = live().joined(
        facts_of({"since_order": 999, "adds_24h": 0, **values}), state, 0, watermarks or complete_until(NOW_MS)
    )
    return decide(OLD, facts, [placement]).record


def feature(files: dict[str, Any], name: str) -> dict[str, Any]:
    return of(files["features"]["features"], name)


def test_the_same_features_make_no_difference() -> None:
    new = altered(OLD, lambda files: files["bundle"].update(description="in other words"))
    tally = simulated(new, OLD, *(record(name) for name in OLD.placements))
    assert tally.changes == {Change.SAME: len(OLD.placements)}
    assert not tally.notes


def test_a_feature_that_means_something_else_is_left_out_and_counted() -> None:
    new = altered(OLD, lambda files: feature(files, "views_7d").update(window="14d", version=2))
    tally = simulated(new, OLD, record("looks"))
    assert tally.notes == {("fact_redefined", "views_7d"): 1}
    assert tally.changes == {Change.OTHER_MESSAGE: 1}, "nobody knows what they looked at in 14 days"
    assert any("`views_7d` means something else" in note for note in document(tally, new, [OLD])["notes"])


def test_a_stricter_contract_is_held_against_the_lag_of_then() -> None:
    new = altered(OLD, lambda files: feature(files, "cart_open").update(max_lag="30s"))
    raw = record("reminder", complete_until(NOW_MS, order_completed=NOW_MS - MINUTE_MS))
    tally = simulated(new, OLD, raw)
    assert tally.changes == {Change.OTHER_MESSAGE: 1}
    assert ["stale_feature" in rule for _, rule in tally.whys] == [True]


def test_a_count_of_nothing_is_no_default_that_a_new_default_would_replace() -> None:
    old, new = (altered(OLD, lambda files, n=n: feature(files, "spend_90d").update(default=n)) for n in (0, 200))
    nothing = live().joined(facts_of({"spend_90d": 0}), live().state(asked_for({})), 0, complete_until(NOW_MS))
    tally = simulated(new, old, decide(old, nothing, ["weekly"]).record)
    assert tally.changes == {Change.SAME: 1}
