"""What a feature is: its definition, its fact, and what bundles may say of it."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from policy.catalogue import facts
from policy.feature_rules import FeatureRule
from policy.schema.facts import FOLDS, Feature
from tests.support.folding import EVERYTHING, documents_of, rules_of


def rule(text: str) -> FeatureRule:
    return rules_of(f"it: {text}")[0]


@pytest.mark.parametrize(
    "other",
    [
        "{on: bought, sum: revenue, window: 90d, owner: crm, doc: money, layer: commercial, version: 7}",
        "{on: [bought], sum: revenue, window: 2160h, max_lag: 15m, on_stale: use, default: 0.0}",
        "{on: bought, sum: revenue, window: 90d, decimals: 4, sensitivity: none, purposes: [personalisation, care]}",
    ],
)
def test_a_definition_is_what_a_feature_means_and_not_who_owns_it(other: str) -> None:
    assert rule(other).definition == rule("{on: bought, sum: revenue, window: 90d}").definition


@pytest.mark.parametrize(
    "other",
    [
        "{on: bought, sum: revenue, window: 91d}",
        "{on: bought, sum: revenue}",
        "{on: bought, sum: items, window: 90d}",
        "{on: bought, mean: revenue, window: 90d}",
        "{on: bought, sum: revenue, window: 90d, decimals: 2}",
        "{on: [bought, viewed], sum: revenue, window: 90d}",
        "{on: bought, decayed: {half_life: 90d, sum: revenue}}",
    ],
)
def test_another_meaning_is_another_definition(other: str) -> None:
    assert rule(other).definition != rule("{on: bought, sum: revenue, window: 90d}").definition


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("{on: viewed, decayed: {half_life: 7d}}", "{on: viewed, decayed: {half_life: 8d}}"),
        ("{on: viewed, recency: days}", "{on: viewed, recency: hours}"),
        ("{rate: {of: viewed, per: bought}}", "{rate: {of: bought, per: viewed}}"),
        ("{on: viewed, sessions: {gap: 30m}, window: 7d}", "{on: viewed, sessions: {gap: 31m}, window: 7d}"),
        ("{on: viewed, hours: {}}", "{on: viewed, hours: {span: 4}}"),
        ("{on: viewed, hours: {}}", "{on: viewed, hours: {at_least: 6}}"),
        (
            "{funnel: {after: added, without: bought, minutes: 30}}",
            "{funnel: {after: added, without: bought, minutes: 31}}",
        ),
    ],
)
def test_parameters_belong_to_the_definition(one: str, other: str) -> None:
    assert rule(one).definition != rule(other).definition


def test_a_property_that_becomes_another_type_of_number_makes_another_definition() -> None:
    text = "it: {on: bought, sum: items}"
    whole, decimal = (
        rules_of(text, f"bought: {{properties: {{items: {{type: {kind}}}}}}}") for kind in ("int", "float")
    )
    assert (whole[0].decimals, decimal[0].decimals) == (0, 4)
    assert whole[0].definition != decimal[0].definition


def test_definitions_stay_as_they_are_across_releases() -> None:
    """What is stored and what models were trained on hangs on them. This value moves only on purpose."""
    assert rule("{on: bought, sum: revenue, window: 90d}").definition == "028171c417b489a5"


def test_every_fold_has_a_type() -> None:
    types = {fact.name: fact.type for fact in facts(documents_of(EVERYTHING))}
    assert types["views"] == types["products"] == types["since"] == types["visits_7d"] == "int"
    assert (
        types["spend"] == types["mean_90d"] == types["cheapest"] == types["fading"] == types["bought_rate"] == "float"
    )
    assert types["last_product"] == types["favourite"] == types["hours"] == "string"
    assert types["last_price"] == "float"
    assert types["abandoned"] == "bool"
    assert {each.fold for each in rules_of(EVERYTHING)} == set(FOLDS)


def test_a_feature_is_folded_as_it_was_authored() -> None:
    taste = rule("{on: viewed, affinity: {key: category, half_life: 14d, top: 3}, max_lag: 15m}")
    assert (taste.half_life_ms, taste.top, taste.max_lag_ms) == (14 * 86_400_000, 3, 15 * 60_000)
    assert rule("{on: viewed, count: {}}").max_lag_ms is None
    decimals = [rule(f"{{on: bought, {fold}}}").decimals for fold in ("max: revenue", "min: revenue", "max: items")]
    assert decimals == [4, 4, 0]
    assert rule("{on: bought, decayed: {half_life: 7d, sum: revenue}}").decimals == 4


@pytest.mark.parametrize(
    ("kinds", "seen"),
    [
        (("enum, values: [a, b]", "enum, values: [a, b]"), "string"),
        (("int", "int"), "int"),
        (("int", "float"), "string"),
    ],
)
def test_a_last_value_is_text_unless_all_events_agree_on_its_type(kinds: tuple[str, str], seen: str) -> None:
    events = "\n".join(
        f"{name}: {{properties: {{it: {{type: {kind}}}}}}}" for name, kind in zip("ab", kinds, strict=True)
    )
    (fact,) = facts(documents_of("last_it: {on: [a, b], last: it}", events))
    assert fact.type == seen


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"on": ["viewed"], "count": {}, "mean": "price"}, "a feature has one fold"),
        ({"on": ["viewed"]}, "a feature has one fold"),
        ({"mean": "price"}, "a feature needs the event"),
        ({"on": ["viewed"], "rate": {"of": "bought", "per": "viewed"}}, "names its events in `of` and `per`"),
        ({"on": ["viewed"], "count": {}, "window": "59s"}, "shorter than a minute"),
        ({"on": ["viewed"], "sessions": {"gap": "30m"}}, "window of at most 90 days"),
        ({"on": ["viewed"], "sessions": {"gap": "30m"}, "window": "91d"}, "window of at most 90 days"),
        ({"on": ["viewed"], "sessions": {"gap": "90s"}, "window": "7d"}, "no whole number of minutes"),
        ({"on": ["viewed"], "count": {}, "decimals": 2}, "keeps no number"),
        ({"on": ["viewed"], "decayed": {"half_life": "7d"}, "decimals": 2}, "keeps no number"),
        ({"on": ["viewed"], "sum": "price", "decimals": 7}, "less than or equal to 6"),
        ({"on": ["viewed"], "hours": {"span": 13}}, "less than or equal to 12"),
    ],
)
def test_what_no_fold_can_mean_is_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Feature.model_validate({"id": "it", **given})
