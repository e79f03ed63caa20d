"""A bundle: from authored files to the compiled objects, and back from its canonical form."""

from __future__ import annotations

import math
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cel
import jsonschema
import pytest
import yaml

from policy.bundle import Bundle
from policy.compile import from_canonical, load
from policy.durations import seconds
from policy.expressions import Expression
from policy.lint import lint
from policy.schema import FILES, json_schemas
from policy.source import YamlMistake, read

if TYPE_CHECKING:
    from tests.unit.policy.conftest import Folder

ROOT = Path(__file__).parents[3]
COMPLETE = Path(__file__).parent / "bundles" / "complete"
DEMO = ROOT / "policy" / "bundles" / "retail_demo"
STANDARD = ROOT / "loadtests" / "standard" / "bundle"


@pytest.fixture(scope="module")
def complete() -> Bundle:
    return load(COMPLETE)


@pytest.mark.parametrize("path", [COMPLETE, DEMO, STANDARD], ids=lambda path: path.name)
def test_shipped_bundles_have_no_mistakes(path: Path) -> None:
    assert lint(path).mistakes == ()


@pytest.mark.parametrize("path", [COMPLETE, DEMO, STANDARD], ids=lambda path: path.name)
def test_the_canonical_form_gives_the_same_bundle_again(path: Path) -> None:
    bundle = load(path)
    again = from_canonical(bundle.canonical)
    assert repr(again) == repr(bundle)
    assert again.canonical == bundle.canonical


@pytest.mark.parametrize("path", [DEMO, STANDARD], ids=lambda path: path.name)
def test_a_bundle_loads_fast_enough_for_the_start_of_a_server(path: Path) -> None:
    best_s = math.inf
    for _ in range(3):
        started = time.perf_counter()
        load(path)
        best_s = min(best_s, time.perf_counter() - started)
    assert best_s < 0.15  # of three seconds in all; seen: 0.03 s


def test_comments_order_of_fields_and_spelling_of_collections_leave_the_digest(folder: Folder) -> None:
    digest = load(folder.path).digest
    folder.add("limits.yaml", "# nothing to see\n")
    folder.change(
        "glossary.yaml", '{owner: crm, rule: "customer.recency <= 3",', "{rule: 'customer.recency <= 3', owner: crm,"
    )
    folder.change("features.yaml", "features:", "features:\n  cart_left:\n    {on: cart_left, count: {}}")
    with_mapping = load(folder.path).digest
    folder.change("features.yaml", "  cart_left:\n    {on: cart_left, count: {}}", "")
    assert load(folder.path).digest == digest
    assert with_mapping != digest


def test_features_may_be_a_list_in_the_short_spelling(folder: Folder) -> None:
    (folder.path / "features.yaml").write_text(
        "features:\n  - {id: product_views_7d, owner: growth, layer: behaviour, on: product_viewed, count: 1,"
        " window: 7d, max_lag: 15m, on_stale: rules, pii: none, purposes: [personalisation]}\n"
    )
    fact = load(folder.path).fact_by_name["product_views_7d"]
    assert (fact.kind, fact.type, fact.sensitivity, fact.max_age_s) == ("feature", "int", "none", 900)


def test_any_change_of_meaning_changes_the_digest(folder: Folder) -> None:
    before = load(folder.path)
    folder.change("limits.yaml", "at_most: 3", "at_most: 4")
    after = load(folder.path)
    assert before.digest != after.digest
    assert after.digest.startswith("sha256:")
    assert len(after.digest) == 7 + 64


def test_facts_are_attributes_then_features(complete: Bundle) -> None:
    assert [fact.name for fact in complete.facts][:2] == ["recency", "history"]
    assert [fact.index for fact in complete.facts] == list(range(len(complete.facts)))
    recency, views = complete.fact_by_name["recency"], complete.fact_by_name["product_views_7d"]
    assert (recency.type, recency.minimum, recency.maximum, recency.max_age_s) == ("int", 0, 120, 30 * 86_400)
    assert (views.kind, views.type, views.max_age_s, views.on_stale) == ("feature", "int", 900, "rules")
    assert complete.fact_by_name["zip_code"].values == ("Urban", "Surburban", "Rural")
    assert complete.fact_by_name["condition"].max_length == 40


def test_a_message_carries_its_content_weights_and_validity(complete: Bundle) -> None:
    mens, womens = complete.messages
    assert (mens.id, mens.version, mens.category, mens.campaign, mens.risk) == (
        "mens_email",
        3,
        "mens",
        "spring",
        "low",
    )
    assert (mens.valid_from_ms, mens.valid_until_ms) == (1_767_225_600_000, 1_798_761_600_000)
    assert [(variant.id, variant.weight) for variant in mens.variants] == [("plain", 1.0), ("urgent", 1.0)]
    assert [(variant.id, variant.subject) for variant in womens.variants] == [("default", None)]
    assert (mens.template, mens.params) == ("weekly_mens", {"hero": "spring"})
    assert womens.purpose is None
    assert womens.context_weight == 1.0
    assert isinstance(mens.context_weight, Expression)
    facts = cel.Context({"customer": {}, "context": {"trigger": "browse"}})
    assert mens.context_weight.evaluate(facts) == 1.2


def test_a_rule_that_is_always_true_is_no_rule(complete: Bundle) -> None:
    mens, womens = complete.messages
    assert mens.rules == ()
    assert [complete.rules[number].source for number in womens.rules] == ["customer.recency <= 12"]


def test_messages_share_the_conditions_that_they_have_in_common(folder: Folder) -> None:
    folder.change("messages.yaml", "customer.recency <= 12", "context.region == 'DE' && segment.recent_buyer")
    folder.change("messages.yaml", 'eligible: "true"', "eligible: context.language == 'de' && context.region == 'DE'")
    bundle = load(folder.path)
    assert [rule.source for rule in bundle.rules] == [
        "context.language == 'de'",
        "context.region == 'DE'",
        "segment.recent_buyer",
    ]
    assert [message.rules for message in bundle.messages] == [(0, 1), (1, 2)]
    assert [rule.impersonal for rule in bundle.rules] == [True, True, False]
    assert bundle.rules[2].expression.source == "(customer.recency <= 3)"
    placement = bundle.placements["weekly_offer"]
    assert placement.rules == (0, 1, 2)
    assert placement.customer_names == ("recency",)
    assert placement.context_names == ("language", "region", "trigger")


def test_facts_that_are_not_personal_keep_a_rule_impersonal(folder: Folder) -> None:
    folder.change("messages.yaml", "customer.recency <= 12", "customer.newbie == 1")
    assert [rule.impersonal for rule in load(folder.path).rules] == [True]


def test_a_placement_knows_its_candidates_fallbacks_and_contracts(complete: Bundle) -> None:
    placement = complete.placements["weekly_offer"]
    assert [candidate.message.id for candidate in placement.candidates] == ["mens_email", "womens_email"]
    assert (placement.default, placement.rules_order, placement.category_messages) == (
        0,
        (0, 1),
        {"mens": 0, "womens": 1},
    )
    assert placement.model is complete.models[0]
    assert [fact.name for fact in placement.contracts] == ["recency"]
    assert (placement.klass, placement.purpose, placement.budget_ms) == ("marketing", "marketing", 40)


def test_a_limit_binds_the_candidates_that_fit_it(complete: Bundle) -> None:
    assert [limit.id for limit in complete.limits] == ["email_weekly", "one_a_day", "mens_monthly"]
    placement = complete.placements["weekly_offer"]
    assert [candidate.limits for candidate in placement.candidates] == [(0, 1, 2), (0, 1)]
    assert placement.limits == (0, 1, 2)
    weekly, daily, monthly = (limit.window for limit in complete.limits)
    assert (weekly.kind, weekly.seconds, weekly.source) == ("rolling", 604_800, "rolling 7d")
    assert (daily.unit, daily.zone, daily.source) == ("day", "customer", "calendar day in customer")
    assert (monthly.unit, monthly.zone) == ("month", "UTC")


def test_marketing_limits_do_not_bind_transactional_placements() -> None:
    bundle = load(DEMO)
    assert bundle.placements["order_receipt"].limits == ()
    assert bundle.placements["weekly_offer"].limits == (0, 1)


def test_the_customers_zone_has_two_spellings(folder: Folder) -> None:
    folder.change("limits.yaml", "in: customer}", "in: customer_timezone}")
    assert load(folder.path).limits[1].window.zone == "customer"


def test_a_limit_on_another_channel_binds_nothing_and_is_noted(folder: Folder) -> None:
    folder.change("limits.yaml", "{channel: email}", "{channel: sms}")
    assert load(folder.path).placements["weekly_offer"].limits == (1, 2)
    assert [note.line for note in folder.report().notes if note.code == "binds_nothing"] == [
        folder.line("limits.yaml", "sms")
    ]


def test_regions_purposes_and_retention_are_as_authored(complete: Bundle) -> None:
    assert complete.purposes == ("marketing", "personalisation", "care")
    assert complete.regions["US"].contact == "opt_out"
    assert complete.regions["DE"].timezones == ("Europe/Berlin",)
    assert complete.ledger_retention_s == 90 * 86_400


def test_without_a_consent_file_everything_is_opt_in(folder: Folder) -> None:
    (folder.path / "consent.yaml").unlink()
    folder.change("attributes.yaml", "  condition:", "  # condition:")
    bundle = load(folder.path)
    assert bundle.purposes == ("marketing", "personalisation")
    default = bundle.regions["default"]
    assert (default.contact, default.personalisation) == ("opt_in", "opt_in")


def test_a_consent_file_without_a_default_row_is_opt_in_elsewhere(folder: Folder) -> None:
    folder.change(
        "consent.yaml", "  default: {contact: opt_in,  personalisation", "  FR: {contact: opt_out, personalisation"
    )
    regions = load(folder.path).regions
    assert (regions["FR"].contact, regions["default"].contact, regions["default"].personalisation) == (
        "opt_out",
        "opt_in",
        "opt_in",
    )


def test_region_timezone_and_language_are_always_in_the_context(folder: Folder) -> None:
    (folder.path / "context.yaml").write_text("context:\n  trigger: {type: enum, values: [none, browse]}\n")
    assert set(load(folder.path).context) == {"region", "timezone", "language", "trigger"}


def test_a_rule_without_quotes_is_the_same_rule(folder: Folder) -> None:
    digest = load(folder.path).digest
    folder.change("messages.yaml", 'eligible: "true"', "eligible: true")
    assert load(folder.path).digest == digest


def test_a_bare_date_is_its_midnight_in_utc(folder: Folder) -> None:
    folder.change("messages.yaml", "from: 2026-01-01T00:00:00Z", "from: 2026-01-01")
    assert load(folder.path).messages[0].valid_from_ms == 1_767_225_600_000


def test_the_order_of_a_templates_parameters_does_not_depend_on_how_the_bundle_was_read(folder: Folder) -> None:
    """Answers are replayed to the same bytes."""
    folder.change("messages.yaml", "params: {hero: spring}", "params: {z: 1, a: 2}")
    bundle = load(folder.path)
    assert list(bundle.messages[0].params) == list(from_canonical(bundle.canonical).messages[0].params)


def test_the_standard_job_has_its_twenty_messages_eight_rules_and_three_limits() -> None:
    bundle = load(STANDARD)
    placement = bundle.placements["standard"]
    assert [message.id for message in bundle.messages] == [f"m{index}" for index in range(20)]
    assert [message.value for message in bundle.messages] == [1 + index / 20 for index in range(20)]
    assert len(bundle.rules) == 8
    by_remainder = {message.index % 8: message.rules for message in bundle.messages}
    assert all(by_remainder[message.index % 8] == message.rules for message in bundle.messages)
    for message in bundle.messages:
        assert len(message.rules) == len({message.index % 8, 3 * message.index % 8})
    assert [limit.id for limit in bundle.limits] == ["day", "week", "category"]
    assert len(placement.candidates) == 20
    assert placement.model is not None
    assert len(placement.model.inputs) == 24


@pytest.mark.parametrize("path", [COMPLETE, DEMO, STANDARD], ids=lambda path: path.name)
def test_the_published_schemas_accept_what_loads(path: Path) -> None:
    schemas = json_schemas()
    for file in sorted(path.glob("*.yaml")):
        data = read(file.read_text()).data()
        jsonschema.Draft202012Validator(schemas[file.name]).validate(data)


def test_the_published_schemas_are_schemas_and_describe_every_field() -> None:
    schemas = json_schemas()
    assert list(schemas) == list(FILES)
    for file, schema in schemas.items():
        jsonschema.Draft202012Validator.check_schema(schema)
        assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
        for definition in (schema, *schema.get("$defs", {}).values()):
            for name, field in definition.get("properties", {}).items():
                assert field.get("description"), f"{file}: {name}"


def test_the_guide_to_bundles_names_every_field() -> None:
    guide = (ROOT / "docs" / "bundles.md").read_text()
    words = set(re.findall(r"[a-z0-9_]+", guide))
    for file, schema in json_schemas().items():
        fields = [name for each in (schema, *schema.get("$defs", {}).values()) for name in each.get("properties", {})]
        assert f"## {file}" in guide or f", {file}" in guide
        assert [name for name in fields if name not in words] == [], file


def test_the_guides_examples_are_as_the_schemas_want_them() -> None:
    guide = (ROOT / "docs" / "bundles.md").read_text()
    by_field = {name: schema for schema in json_schemas().values() for name in schema["properties"]}
    examples = [read(text).data() for text in re.findall(r"```yaml\n(.*?)```", guide, re.DOTALL)]
    assert len(examples) > 10
    for example in examples:
        jsonschema.Draft202012Validator(by_field[next(iter(example))]).validate(example)


@pytest.mark.parametrize(
    ("file", "data"),
    [
        ("attributes.yaml", {"attributes": {"x": {"type": "int", "colour": "red"}}}),
        ("attributes.yaml", {"attributes": {"x": {"type": "integer"}}}),
        ("placements.yaml", {"placements": []}),
        ("placements.yaml", {"placements": [{"id": "x", "channel": "email"}]}),
        ("limits.yaml", {"limits": [{"id": "x", "at_most": -1}]}),
        ("messages.yaml", {"messages": [{"id": "Not Valid", "placements": ["a"]}]}),
    ],
)
def test_the_published_schemas_refuse_what_lint_refuses(file: str, data: dict[str, Any]) -> None:
    assert not jsonschema.Draft202012Validator(json_schemas()[file]).is_valid(data)


def test_durations_are_whole_numbers_with_a_unit() -> None:
    assert [seconds(text) for text in ("90s", "15m", "24h", "7d")] == [90, 900, 86_400, 604_800]
    for text in ("7", "7 d", "1.5h", "0d", "-1d", "7w", "", "9999d", "٧d"):
        with pytest.raises(ValueError, match=r"duration|longer"):
            seconds(text)


def test_yaml_words_that_older_yaml_takes_for_booleans_and_numbers_stay_words() -> None:
    data = read("on: NO\nat: 08:00\nday: 2026-01-01\nn: 010\nyes: off\n").data()
    assert data == {"on": "NO", "at": "08:00", "day": "2026-01-01", "n": 10, "yes": "off"}
    assert yaml.safe_load("on: NO") == {True: False}


@pytest.mark.parametrize(
    "text", ["a: [1, 2", "a: b: c", "\tx: 1", "a: &x [*x]", "a: *nowhere", "a: \x07", "--- 1\n--- 2"]
)
def test_what_is_no_yaml_is_refused_with_its_line(text: str) -> None:
    with pytest.raises(YamlMistake) as refused:
        read(text)
    assert refused.value.line >= 1
    assert refused.value.remedy
