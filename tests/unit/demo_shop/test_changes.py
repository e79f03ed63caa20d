"""Why an answer changed, as the demo says it."""

from __future__ import annotations

from typing import Any

from app.demo_shop import changes
from app.demo_shop.house import BUNDLE
from app.demo_shop.sight import Answer, Seen
from policy.source import read


def seen(message: str | None, features: dict[str, Any] | None = None, **excluded: tuple[str, str]) -> Seen:
    answer = Answer(message, "rule_ranked" if message else "consent_denied", excluded)
    return Seen("ada", {"home_banner": answer}, features)


def test_the_rule_that_began_to_hold_is_the_reason() -> None:
    rule = "customer.favourite_category == 'bags'"
    before = seen("bestsellers", {"favourite_category": "garden", "visits_30d": 1}, bags_offer=("not_eligible", rule))
    after = seen(
        "bags_offer", {"favourite_category": "bags", "visits_30d": 2}, bestsellers=("outranked", "by bags_offer")
    )
    (change,) = changes.changes(before, after)
    assert change.sentence() == (
        f"ada: banner bestsellers → bags_offer  (favourite_category garden → bags; now true: {rule})"
    )


def test_the_rule_that_ceased_to_hold_is_the_reason_where_the_old_message_ranked_higher() -> None:
    rule = "customer.cart_abandoned"
    before = seen("cart_reminder", {"cart_abandoned": True}, newsletter=("outranked", "by cart_reminder"))
    after = seen("newsletter", {"cart_abandoned": False}, cart_reminder=("not_eligible", rule))
    (change,) = changes.changes(before, after)
    assert (change.why, change.moved) == (f"no longer true: {rule}", ("cart_abandoned yes → no",))


def test_where_one_rule_ceased_and_another_began_both_are_told() -> None:
    before = seen(
        "cart_reminder", {"cart_abandoned": True, "buys_per_view_30d": 0.0}, new=("not_eligible", "segment.decided")
    )
    now = {"cart_abandoned": False, "buys_per_view_30d": 0.5}
    (change,) = changes.changes(before, seen("new", now, cart_reminder=("not_eligible", "customer.cart_abandoned")))
    assert change.why == "no longer true: customer.cart_abandoned · now true: segment.decided"
    assert change.moved == ("cart_abandoned yes → no", "buys_per_view_30d 0 → 0.5")


def test_a_contract_that_broke_is_named() -> None:
    before = seen("cart_reminder", {"cart_abandoned": True}, newsletter=("outranked", "by cart_reminder"))
    stale = ("stale_feature", "`cart_abandoned` is older than its contract allows")
    (change,) = changes.changes(before, seen("newsletter", {"cart_abandoned": True}, cart_reminder=stale))
    assert change.why == "stopped: stale_feature, `cart_abandoned` is older than its contract allows"


def test_a_segment_is_explained_by_the_features_behind_it() -> None:
    before = seen("bestsellers", {"spend_90d": 440.0, "orders_365d": 3}, vip_preview=("not_eligible", "segment.vip"))
    after = seen("vip_preview", {"spend_90d": 528.5, "orders_365d": 4})
    (change,) = changes.changes(before, after)
    assert change.moved == ("spend_90d 440 → 528.5",)


def test_an_answer_that_stays_is_no_change_whatever_moved() -> None:
    assert list(changes.changes(seen("bestsellers", {"visits_30d": 1}), seen("bestsellers", {"visits_30d": 2}))) == []


def test_nothing_for_another_reason_is_a_change() -> None:
    before = Seen("ada", {"home_banner": Answer(None, "consent_unknown", {})}, None)
    (change,) = changes.changes(before, seen(None))
    assert change.sentence() == "ada: banner nothing (consent_unknown) → nothing (consent_denied)  (consent_denied)"


def test_features_that_cannot_be_seen_are_not_told() -> None:
    (change,) = changes.changes(seen("bestsellers"), seen("thanks", {"visits_30d": 2}))
    assert change.moved == ()


def test_the_features_behind_each_segment_are_those_of_the_glossary() -> None:
    glossary = read((BUNDLE / "glossary.yaml").read_text(encoding="utf-8")).data()["segments"]
    assert changes.OF_SEGMENT.keys() == glossary.keys()
    for name, features in changes.OF_SEGMENT.items():
        assert all(f"customer.{feature}" in glossary[name]["rule"] for feature in features)
