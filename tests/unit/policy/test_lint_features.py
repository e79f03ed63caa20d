"""Lint, where features and events do not fit each other."""

from __future__ import annotations

import pytest

from tests.unit.policy.conftest import Folder

LAST = "  cart_abandoned:"


def with_feature(folder: Folder, text: str) -> Folder:
    folder.change("features.yaml", LAST, f"  it: {text}\n{LAST}")
    return folder


@pytest.mark.parametrize(
    "text",
    [
        "{on: order_completed, mean: revenue, window: 30d}",
        "{on: product_viewed, distinct: product_id}",
        "{on: product_viewed, last: category}",
        "{rate: {of: order_completed, per: product_viewed}, window: 30d}",
        "{on: [product_viewed, order_completed], sessions: {gap: 30m}, window: 30d}",
        "{on: [product_viewed, order_completed], max: price}",  # one of them has it
        "{on: never_heard_of, sum: anything}",  # may be declared later
    ],
)
def test_a_feature_that_its_events_can_feed_is_no_mistake(folder: Folder, text: str) -> None:
    assert with_feature(folder, text).mistakes() == ()


@pytest.mark.parametrize(
    ("text", "code", "words", "remedy"),
    [
        ("{on: order_completed, sum: revenu}", "unknown_property", "no property of `order_completed`", "revenue"),
        ("{on: product_viewed, affinity: {key: colour, half_life: 7d}}", "unknown_property", "`colour`", "declare"),
        ("{on: product_viewed, decayed: {sum: cost, half_life: 7d}}", "unknown_property", "`cost`", "declare"),
        ("{on: order_completed, mean: currency}", "wrong_type", "`mean` computes with numbers", "distinct"),
        ("{on: product_viewed, decayed: {sum: category, half_life: 7d}}", "wrong_type", "`decayed` computes", "float"),
    ],
)
def test_a_feature_that_nothing_can_feed_is_a_mistake(
    folder: Folder, text: str, code: str, words: str, remedy: str
) -> None:
    (mistake,) = with_feature(folder, text).mistakes()
    assert (mistake.file, mistake.code) == ("features.yaml", code)
    assert mistake.line == folder.line("features.yaml", "  it:")
    assert words in mistake.message
    assert remedy in mistake.remedy


def test_a_property_that_is_dropped_on_arrival_feeds_nothing(folder: Folder) -> None:
    with_feature(folder, "{on: order_completed, last: currency}").add("data.yaml", "  currency: {collect: drop}\n")
    (mistake,) = folder.mistakes()
    assert mistake.code == "unknown_property"
    assert "dropped on arrival" in mistake.message


def test_a_property_that_is_text_in_one_of_the_events_is_no_number(folder: Folder) -> None:
    folder.change(
        "events.yaml", "      price:      {", "      revenue:    {type: string, max_length: 64}\n      price:      {"
    )
    with_feature(folder, "{on: [product_viewed, order_completed], sum: revenue}")
    assert [mistake.code for mistake in folder.mistakes()] == ["wrong_type"]


def test_both_sides_of_a_rate_are_looked_up(folder: Folder) -> None:
    with_feature(folder, "{rate: {of: order_complete, per: product_seen}, window: 30d}")
    noted = [note.message for note in folder.report().notes if note.code == "unknown_event"]
    assert any("`order_complete`: did you mean `order_completed`?" in each for each in noted)
    assert any("`product_seen`" in each for each in noted)
