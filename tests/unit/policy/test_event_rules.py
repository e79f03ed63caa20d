"""Events of a bundle: every name means one event, and a version that is served takes tomorrow what it takes today."""

from __future__ import annotations

from typing import Any

import pytest

from policy.compile import load
from policy.event_checks import broken
from policy.event_rules import EventRule, PropertyRule
from policy.lint import lint
from policy.schema import facts
from policy.shop_events import FORMER, NAMES, SHOP_EVENTS
from tests.unit.policy.conftest import COMPLETE, Folder


def test_an_event_is_found_by_its_id_its_aliases_and_the_name_of_the_specification() -> None:
    rules = load(COMPLETE).events
    viewed = rules.find("product_viewed")
    assert viewed is not None
    assert rules.find("Product Viewed") is rules.find("Viewed Product") is viewed
    assert rules.find("PRODUCT VIEWED") is None
    assert rules.find("Cart Viewed") is None, "the bundle does not declare it"


def test_the_specifications_names_need_no_alias(folder: Folder) -> None:
    folder.change("events.yaml", 'aliases: ["Order Completed", "Completed Order"]', "owner: shop")
    folder.change("events.yaml", "    owner: shop\n    owner: shop", "    owner: shop")
    rules = load(folder.path).events
    order = rules.find("order_completed")
    assert rules.find("Order Completed") is rules.find("Completed Order") is order is not None


def test_what_a_bundle_says_of_a_name_beats_the_specification(folder: Folder) -> None:
    folder.change("events.yaml", 'aliases: ["Product Viewed", "Viewed Product"]', 'aliases: ["Completed Order"]')
    folder.change("events.yaml", ', "Completed Order"]', "]")
    found = load(folder.path).events.find("Completed Order")
    assert found is not None
    assert found.id == "product_viewed"


def test_former_names_are_those_of_events_that_there_are() -> None:
    assert set(FORMER.values()) <= set(NAMES)
    assert SHOP_EVENTS["Product Removed from Wishlist"] == "product_removed_from_wishlist"


def test_what_the_matrix_says_of_a_property_holds_in_events(folder: Folder) -> None:
    folder.change("data.yaml", "  ip_address: {collect: drop}", "  category: {collect: drop}\n  price: {store: keep}")
    folder.add("data.yaml", "  product_id: {transform: hash}\n")
    rule = load(folder.path).events.find("product_viewed")
    assert rule is not None
    assert rule.properties.keys() == {"product_id", "price"}
    assert rule.dropped == {"category"}
    assert [rule.properties[name].hashed for name in ("product_id", "price")] == [True, False]


def test_an_event_is_taken_as_it_was_authored(folder: Folder) -> None:
    folder.change(
        "events.yaml",
        "  order_completed:\n",
        "  survey_sent:\n"
        "    version: 3\n"
        "    owner: care\n"
        '    sensitivity: "sensitive:health"\n'
        "    purposes: [care]\n"
        "    undeclared: refuse\n"
        "    allowed_lateness: 100h\n"
        "    once_per: survey\n"
        "    properties:\n"
        "      survey: {type: string, max_length: 16, required: true, sensitivity: personal}\n"
        "      score:  {type: int, range: [1, 5]}\n"
        "      mood:   {type: enum, values: [good, bad]}\n"
        "      words:  {type: string}\n"
        "  order_completed:\n",
    )
    rules = load(folder.path).events
    health = "sensitive:health"
    properties = {
        "survey": PropertyRule("survey", "string", bytes_max=16, required=True, sensitivity="personal"),
        "score": PropertyRule("score", "int", 1.0, 5.0, sensitivity=health),
        "mood": PropertyRule("mood", "enum", values=("good", "bad"), sensitivity=health),
        "words": PropertyRule("words", "string", bytes_max=1024, sensitivity=health),
    }
    assert rules.find("survey_sent") == EventRule(
        "survey_sent", 3, "care", health, frozenset({"care"}), True, 360_000_000, "survey", properties, frozenset()
    )
    viewed = rules.find("product_viewed")
    assert viewed is not None
    assert not viewed.refuses_undeclared
    assert rules.link_lateness_ms == 360_000_000, "as late as the latest of the events"


def test_two_events_of_one_name_are_a_mistake(folder: Folder) -> None:
    folder.change("events.yaml", "Completed Order", "Viewed Product")
    (mistake,) = folder.mistakes()
    assert (mistake.code, mistake.file) == ("duplicate_alias", "events.yaml")
    assert "`product_viewed`" in mistake.message
    line = (folder.path / "events.yaml").read_text().splitlines()[mistake.line - 1]
    assert line[mistake.column - 1 :].startswith('"Viewed Product"')


def test_what_happens_once_needs_its_property(folder: Folder) -> None:
    folder.change("events.yaml", "once_per: order_id", "once_per: order")
    (mistake,) = folder.mistakes()
    assert mistake.code == "unknown_property"
    assert "order_id" in mistake.remedy
    assert mistake.line == folder.line("events.yaml", "once_per")


# Versions

TWO = (
    "    version: 2\n    earlier: [{version: 1, properties: {product_id: {type: int, required: true}}}]\n    owner: web"
)


def with_two_versions(folder: Folder) -> None:
    folder.change("events.yaml", "    version: 1\n    owner: web", TWO)


def test_versions_live_side_by_side(folder: Folder) -> None:
    with_two_versions(folder)
    rule = load(folder.path).events.find("Product Viewed")
    assert rule is not None
    first = rule.at(1)
    assert first is not None
    assert (rule.at(None), rule.at(2), rule.at(3), rule.at(-1), rule.at(0)) == (rule, rule, None, None, None)
    assert (first.version, first.properties["product_id"].type, rule.properties["product_id"].type) == (
        1,
        "int",
        "string",
    )
    assert first.lateness_ms == rule.lateness_ms


@pytest.mark.parametrize("numbers", [(2,), (3,), (1, 1)])
def test_an_earlier_version_has_a_lower_number_of_its_own(folder: Folder, numbers: tuple[int, ...]) -> None:
    earlier = ", ".join(f"{{version: {number}}}" for number in numbers)
    folder.change(
        "events.yaml", "    version: 1\n    owner: web", f"    version: 2\n    earlier: [{earlier}]\n    owner: web"
    )
    assert "bad_version" in {mistake.code for mistake in folder.mistakes()}


def test_a_version_that_is_served_takes_what_it_took(folder: Folder) -> None:
    assert lint(folder.path, against=COMPLETE).mistakes == ()
    folder.change(
        "events.yaml", "price:      {type: float, range: [0, 1000000]}", "price: {type: float, range: [0, 10]}"
    )
    folder.change("events.yaml", "category:   {type: string, max_length: 64}", "colour: {type: string, required: true}")
    assert lint(folder.path).mistakes == ()
    mistakes = lint(folder.path, against=COMPLETE).mistakes
    assert {mistake.code for mistake in mistakes} == {"incompatible_change"}
    said = " ".join(mistake.message for mistake in mistakes)
    assert "the range of `price` is narrower" in said
    assert "`category` is gone" in said
    assert "`colour` is new and required" in said
    assert "version 2" in mistakes[0].remedy
    assert {(each.file, each.line) for each in mistakes} == {("events.yaml", folder.line("events.yaml", "product_v"))}


def test_a_new_version_may_be_anything_where_the_old_one_stays(folder: Folder) -> None:
    with_two_versions(folder)
    assert lint(folder.path, against=COMPLETE).mistakes != (), "version 1 was another one"
    as_served = "product_id: {type: string, max_length: 64, required: true}, category: {type: string, max_length: 64}"
    as_served += ", price: {type: float, range: [0, 1000000]}"
    folder.change("events.yaml", "{product_id: {type: int, required: true}}", f"{{{as_served}}}")
    assert lint(folder.path, against=COMPLETE).mistakes == ()


def event(**fields: Any) -> facts.Event:
    return facts.Event.model_validate({"id": "viewed", **fields})


@pytest.mark.parametrize(
    ("before", "after", "breaks"),
    [
        ({"type": "int"}, {"type": "float"}, False),
        ({"type": "float"}, {"type": "int"}, True),
        ({"type": "int"}, {"type": "string"}, True),
        ({"type": "bool"}, {"type": "float"}, True),
        ({"type": "string"}, {"type": "string", "required": True}, True),
        ({"type": "string", "required": True}, {"type": "string"}, False),
        ({"type": "int", "range": [0, 5]}, {"type": "int", "range": [0, 5]}, False),
        ({"type": "int", "range": [0, 5]}, {"type": "int", "range": [-1, 6]}, False),
        ({"type": "int", "range": [0, 5]}, {"type": "int", "range": [1, 5]}, True),
        ({"type": "int", "range": [0, 5]}, {"type": "int", "range": [0, 4]}, True),
        ({"type": "int", "range": [0, 5]}, {"type": "int"}, False),
        ({"type": "int"}, {"type": "int", "range": [0, 5]}, True),
        ({"type": "enum", "values": ["a"]}, {"type": "enum", "values": ["a", "b"]}, False),
        ({"type": "enum", "values": ["a", "b"]}, {"type": "enum", "values": ["a"]}, True),
        ({"type": "string", "max_length": 64}, {"type": "string", "max_length": 65}, False),
        ({"type": "string", "max_length": 64}, {"type": "string", "max_length": 63}, True),
        ({"type": "string"}, {"type": "string", "max_length": 1024}, False),
        ({"type": "string"}, {"type": "string", "max_length": 1023}, True),
        ({"type": "string", "max_length": 4096}, {"type": "string"}, True),
    ],
)
def test_a_change_breaks_what_no_longer_fits(before: dict[str, Any], after: dict[str, Any], breaks: bool) -> None:
    found = list(broken(event(properties={"it": before}), event(properties={"it": after})))
    assert bool(found) is breaks, found


def test_a_new_property_breaks_nothing_unless_it_is_required() -> None:
    old = event()
    assert not list(broken(old, event(properties={"it": {"type": "int"}})))
    assert list(broken(old, event(properties={"it": {"type": "int", "required": True}})))
    assert list(broken(old, event(undeclared="refuse")))
    assert not list(broken(event(undeclared="refuse"), event()))
