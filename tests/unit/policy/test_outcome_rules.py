"""outcomes.yaml and rewards: what they compile to, and what lint refuses, each at its line."""

from __future__ import annotations

import pytest

from app.core.outcome_events import wanted
from policy.bundle import Bundle
from policy.codes import OutcomeType
from policy.compile import from_canonical, load
from policy.outcome_rules import Conversion, Rate, Reward, SoftBounces
from tests.unit.policy.conftest import Folder

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
PURCHASE = "{id: purchase, on: order_completed, value: revenue, order: order_id, attribute: [decision_id, last_click]}"


def compiled(folder: Folder, outcomes: str = "", reward: str = "") -> Bundle:
    spoil(folder, outcomes, reward)
    assert folder.mistakes() == ()
    return load(folder.path)


def spoil(folder: Folder, outcomes: str = "", reward: str = "") -> None:
    if outcomes:
        (folder.path / "outcomes.yaml").write_text(outcomes)
    if reward:
        folder.change("placements.yaml", "channel: email\n", f"channel: email\n    reward: {reward}\n")


def test_a_bundle_without_outcomes_has_the_usual_rules(folder: Folder) -> None:
    bundle = compiled(folder)
    rules = bundle.outcomes
    assert rules.conversions == ()
    assert rules.by_event == {}
    assert rules.soft_bounces == SoftBounces(3, 30 * DAY_MS)
    assert rules.match_within_ms == 72 * HOUR_MS
    assert rules.watch is not None
    assert (rules.watch.window_ms, rules.watch.at_least) == (DAY_MS, 200)
    assert rules.watch.rates == {
        "complained": Rate(0.001, 0.003),
        "bounced": Rate(0.02, 0.05),
        "unsubscribed": Rate(0.005, None),
    }
    assert rules.watch.domains["gmail.com"] == "gmail"
    assert {placement.reward for placement in bundle.placements.values()} == {None}


def test_what_is_written_is_what_holds(folder: Folder) -> None:
    text = (
        f"conversions:\n  - {PURCHASE}\nsoft_bounces: {{suppress_at: 5, within: 7d}}\nmatch_within: 24h\n"
        "watch: {window: 2h, at_least: 50, complained: {brake: 0.01},"
        " domains: {ours: [example.com], gmail: [example.org]}}\n"
    )
    bundle = compiled(folder, text, "{of: revenue, window: 3d, unsubscribe: 1, complaint: 5}")
    rules = bundle.outcomes
    way = ("decision_id", "last_click")
    purchase = Conversion("purchase", "order_completed", "revenue", way, 7 * DAY_MS, None, "order_id")  # type: ignore[arg-type]  # ways, as their texts
    assert rules.conversions == (purchase,)
    assert rules.by_event == {"order_completed": (purchase,)}
    assert rules.soft_bounces == SoftBounces(5, 7 * DAY_MS)
    assert rules.match_within_ms == DAY_MS
    assert rules.watch is not None
    assert rules.watch.rates["complained"] == Rate(None, 0.01)
    assert (rules.watch.domains["example.com"], rules.watch.domains["example.org"]) == ("ours", "gmail")
    assert rules.watch.domains["googlemail.com"] == "gmail"
    assert Reward("revenue", 3 * DAY_MS, 1.0, 5.0) in [each.reward for each in bundle.placements.values()]
    assert from_canonical(bundle.canonical).outcomes == rules


def test_the_watch_can_be_switched_off(folder: Folder) -> None:
    assert compiled(folder, "watch: {enabled: false}\n").outcomes.watch is None


def test_a_record_of_a_bundle_before_outcomes_is_still_read(folder: Folder) -> None:
    """Such a canonical form has no `outcomes`."""
    import orjson

    document = orjson.loads(load(folder.path).canonical)
    del document["outcomes"]
    assert from_canonical(orjson.dumps(document)).outcomes.match_within_ms == 72 * HOUR_MS


@pytest.mark.parametrize(
    ("ways", "looks"),
    [
        ("[decision_id]", set()),
        ("[last_click]", {OutcomeType.CLICKED}),
        ("[last_click, last_open]", {OutcomeType.CLICKED, OutcomeType.OPENED}),
    ],
)
def test_looks_become_events_where_conversions_wait_for_them(
    folder: Folder, ways: str, looks: set[OutcomeType]
) -> None:
    bundle = compiled(folder, f"conversions:\n  - {{id: a, on: order_completed, attribute: {ways}}}\n")
    assert wanted(bundle) == looks


@pytest.mark.parametrize(
    ("text", "code", "words", "remedy"),
    [
        ("conversions:\n  - {id: a, on: order_complete}", "unknown_event", "`order_complete`", "order_completed"),
        (
            "conversions:\n  - {id: a, on: message_clicked}",
            "unknown_event",
            "`message_clicked`",
            "customers or systems",
        ),
        ("conversions:\n  - {id: a, on: order_completed, value: revenu}", "unknown_property", "`revenu`", "revenue"),
        (
            "conversions:\n  - {id: a, on: order_completed, value: order_id}",
            "wrong_type",
            "no number",
            "int or a float",
        ),
        ("conversions:\n  - {id: a, on: order_completed, order: cart}", "unknown_property", "`cart`", "declare it"),
        (
            "conversions:\n  - {id: a, on: order_completed, refund: product_viewed}",
            "missing_field",
            "`order`",
            "order_id",
        ),
        (
            "conversions:\n  - {id: a, on: order_completed, refund: product_viewed, order: order_id}",
            "missing_field",
            "`value` is missing",
            "add `value:`",
        ),
        (
            "conversions:\n  - {id: a, on: order_completed, refund: order_completed, order: order_id, value: revenue}",
            "bad_refund",
            "cannot take back itself",
            "name the event",
        ),
        ("conversions:\n  - {id: a, on: order_completed, refund_value: revenue}", "misplaced_field", "`refund`", "add"),
        ("conversions:\n  - {id: a, on: order_completed, window: 30m}", "out_of_range", "`30m`", "7d"),
        ("conversions:\n  - {id: a, on: order_completed, window: 91d}", "out_of_range", "`91d`", "7d"),
        (
            "conversions:\n  - {id: a, on: order_completed, attribute: [last_click, last_click]}",
            "duplicate_id",
            "twice",
            "remove",
        ),
        (
            "conversions:\n  - {id: a, on: order_completed, attribute: [first_click]}",
            "not_a_choice",
            "first_click",
            "last_c",
        ),
        ("watch:\n  bounced: {alert: 0.05, brake: 0.02}", "bad_range", "`brake` is below", "no lower"),
        ("watch:\n  window: 8d", "out_of_range", "seven days", "24h"),
        ("watch:\n  domains: {a: [example.com], b: [example.com]}", "duplicate_id", "`example.com`", "one class"),
        ("watch:\n  domains: {a: [Example]}", "bad_domain", "`Example`", "gmail.com"),
        ("match_within: 4d\nsoft_bounce: {}", "unknown_field", "`soft_bounce`", "soft_bounces"),
    ],
)
def test_a_mistake_in_outcomes_is_shown_where_it_stands(
    folder: Folder, text: str, code: str, words: str, remedy: str
) -> None:
    spoil(folder, text + "\n")
    found = folder.mistakes()
    assert {(each.file, each.code) for each in found} == {("outcomes.yaml", code)}, found
    assert all(each.line == 2 for each in found)
    assert words in found[0].message
    assert any(remedy in each.remedy for each in found)


@pytest.mark.parametrize(
    ("reward", "outcomes", "code", "remedy"),
    [
        ("{of: conversion}", "", "missing_conversion", "outcomes.yaml"),
        ("{of: revenue}", "conversions: [{id: a, on: order_completed}]\n", "missing_conversion", "value"),
        ("{of: click, window: 59m}", "", "out_of_range", "7d"),
        ("{of: opens}", "", "not_a_choice", "click"),
        ("{of: click, complaint: -1}", "", "out_of_range", "correct"),
    ],
)
def test_a_reward_that_could_not_be_earned_is_a_mistake(
    folder: Folder, reward: str, outcomes: str, code: str, remedy: str
) -> None:
    spoil(folder, outcomes, reward)
    mistake = next(each for each in folder.mistakes() if each.code == code)
    assert mistake.file == "placements.yaml"
    assert mistake.line == folder.line("placements.yaml", "reward:")
    assert remedy in mistake.remedy


def test_a_window_longer_than_contacts_are_kept_is_a_mistake(folder: Folder) -> None:
    folder.change("data.yaml", "ledger: 90d", "ledger: 5d")
    spoil(folder, f"conversions:\n  - {PURCHASE}\n", "{of: click}")
    files = {
        each.file for each in folder.mistakes() if each.code == "bad_window" and "retention.ledger" in each.message
    }
    assert {"outcomes.yaml", "placements.yaml"} <= files


def test_events_of_messages_feed_features_without_being_declared(folder: Folder) -> None:
    clicked = "  it: {on: message_clicked, affinity: {key: category, half_life: 7d}}\n"
    clicked += "  earned: {on: message_converted, sum: value}\n"
    folder.change("features.yaml", "  cart_abandoned:", clicked + "  cart_abandoned:")
    assert folder.mistakes() == ()
    assert not [note for note in folder.report().notes if note.code == "unknown_event" and "message_" in note.message]
    folder.change("features.yaml", "key: category, half_life: 7d}}\n  earned", "key: colour, half_life: 7d}}\n  earned")
    assert [each.code for each in folder.mistakes()] == ["unknown_property"]


def test_the_names_of_the_events_of_messages_are_taken(folder: Folder) -> None:
    folder.add("events.yaml", "  message_clicked: {properties: {}}\n")
    (mistake,) = folder.mistakes()
    assert (mistake.file, mistake.code) == ("events.yaml", "reserved_name")
