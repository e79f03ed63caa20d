"""Lint names every mistake with its code, file and line, and says what to write instead."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

from policy.compile import load
from policy.lint import BundleError, lint

if TYPE_CHECKING:
    from tests.unit.policy.conftest import Folder


class Spoilt(NamedTuple):
    """One change to the complete bundle, and the one mistake that it makes: on the line that holds `at`."""

    file: str
    old: str
    new: str
    code: str
    at: str
    remedy: str
    where: str = ""  # the file of the mistake, where it is another


SPOILT = {
    "a placement's rules name a message that does not exist": Spoilt(
        "placements.yaml", "rules_order: [mens_email, womens_email]", "rules_order: [mens_emial]",
        "unknown_message", "rules_order", "did you mean `mens_email`?"),
    "a placement's default does not exist": Spoilt(
        "placements.yaml", "default: mens_email", "default: men", "unknown_message", "default: men", "declare it"),
    "a placement has no default": Spoilt(
        "placements.yaml", "default: mens_email", "#", "placement_without_default", "- id: weekly_offer", "default:"),
    "a rule ends too early": Spoilt(
        "messages.yaml", '"customer.recency <= 12"', '"customer.recency <="', "cel_syntax", "recency <=", "docs"),
    "a rule assigns instead of comparing": Spoilt(
        "messages.yaml", "customer.recency <= 12", "customer.recency = 12", "cel_syntax", "recency = 12", "write `==`"),
    "a rule compares a number with text": Spoilt(
        "messages.yaml", "customer.recency <= 12", "customer.recency <= '12'", "cel_type", "<= '12'", "numbers"),
    "a rule mixes whole and decimal numbers in arithmetic": Spoilt(
        "messages.yaml", "customer.recency <= 12", "customer.history * 2 > 10.0", "cel_type", "* 2", "2.0"),
    "a rule gives a number": Spoilt(
        "messages.yaml", "customer.recency <= 12", "customer.recency + 1", "cel_type", "recency + 1", "compare"),
    "a rule asks for null": Spoilt(
        "messages.yaml", "customer.recency <= 12", "customer.recency != null", "cel_type", "!= null", "has("),
    "a rule compares an enum with a value it never has": Spoilt(
        "messages.yaml", "customer.recency <= 12", "customer.zip_code == 'Suburban'", "unknown_value", "Suburban",
        "did you mean `Surburban`?"),
    "a rule reads an unknown fact": Spoilt(
        "messages.yaml", "customer.recency <= 12", "customer.recencey <= 12", "unknown_fact", "recencey",
        "did you mean `recency`?"),
    "a rule reads an unknown context field": Spoilt(
        "messages.yaml", "customer.recency <= 12", "context.regoin == 'DE'", "unknown_context", "regoin",
        "did you mean `region`?"),
    "a rule reads an unknown segment": Spoilt(
        "messages.yaml", "customer.recency <= 12", "segment.recent_buyers", "unknown_segment", "recent_buyers",
        "did you mean `recent_buyer`?"),
    "a rule forgets the root of a fact": Spoilt(
        "messages.yaml", "customer.recency <= 12", "recency <= 12", "unknown_name", "recency <= 12",
        "write `customer.recency`"),
    "a rule calls an unknown function": Spoilt(
        "messages.yaml", "customer.recency <= 12", "customer.zip_code.startswith('U')", "unknown_function",
        "startswith", "did you mean `startsWith`?"),
    "a rule holds a broken regular expression": Spoilt(
        "messages.yaml", "customer.recency <= 12", "customer.zip_code.matches('(')", "cel_type", "matches", "brackets"),
    "a context weight reads the customer": Spoilt(
        "messages.yaml", "context.trigger == 'browse' ?", "customer.newbie == 1 ?", "cel_type", "customer.newbie",
        "eligible"),
    "a context weight gives no number": Spoilt(
        "messages.yaml", "? 1.2 : 1.0", "? 'a' : 'b'", "cel_type", "? 'a'", "number"),
    "a segment's rule reads an unknown fact": Spoilt(
        "glossary.yaml", "customer.recency <= 3", "customer.recent <= 3", "unknown_fact", "recent <= 3", "recency"),
    "a segment needs itself": Spoilt(
        "glossary.yaml", "customer.recency <= 3", "segment.recent_buyer", "segment_cycle", "rule:", "write out"),
    "a default message reads a personal fact": Spoilt(
        "placements.yaml", "default: mens_email", "default: womens_email", "personal_default", "customer.recency <= 12",
        "name another default", "messages.yaml"),
    "a rule reads a fact outside its purposes": Spoilt(
        "messages.yaml", "customer.recency <= 12", "customer.condition == 'x'", "outside_purposes", "condition",
        "add the purpose"),
    "a sensitive fact has no approval": Spoilt(
        "attributes.yaml", ", approval: PR-12", "", "missing_approval", "condition:", "approval"),
    "an id stands twice": Spoilt(
        "messages.yaml", "id: womens_email", "id: mens_email", "duplicate_id", "id: mens_email", "another id"),
    "a key stands twice": Spoilt(
        "attributes.yaml", "  newbie:", "  recency:", "duplicate_key", "  recency:", "remove one"),
    "an attribute and a feature have one name": Spoilt(
        "features.yaml", "spend_90d:  ", "history:", "duplicate_id", "history", "rename"),
    "a rolling window cannot be parsed": Spoilt(
        "limits.yaml", "rolling: 7d", "rolling: 7 days", "bad_window", "7 days", "`7d`"),
    "a calendar window cannot be parsed": Spoilt(
        "limits.yaml", "calendar: month", "calendar: mnth", "bad_window", "mnth", "did you mean `month`?"),
    "a window is rolling and calendar": Spoilt(
        "limits.yaml", "rolling: 7d", "rolling: 7d, calendar: day", "bad_window", "7d, cal", "write `{rolling"),
    "a window's zone does not exist": Spoilt(
        "limits.yaml", "in: customer}", "in: Europe/Berln}", "unknown_zone", "Berln", "Europe/Berlin"),
    "a window's zone is a fixed offset": Spoilt(
        "limits.yaml", "in: customer}", "in: Etc/GMT-2}", "unknown_zone", "GMT-2", "Europe/Berlin"),
    "a window is longer than contacts are kept": Spoilt(
        "data.yaml", "ledger: 90d", "ledger: 20d", "bad_window", "calendar: month", "raise `ledger`", "limits.yaml"),
    "a duration cannot be parsed": Spoilt(
        "attributes.yaml", "max_age: 30d", "max_age: month", "bad_duration", "month", "`7d`"),
    "a limit counts an unknown message": Spoilt(
        "limits.yaml", "budget: {message: mens_email", "budget: {message: men_email", "unknown_message", "men_email",
        "did you mean `mens_email`?"),
    "a model reads an unknown fact": Spoilt(
        "models.yaml", "customer.newbie", "customer.newby", "unknown_input", "newby", "did you mean `newbie`?"),
    "a model reads a feature that no message has": Spoilt(
        "models.yaml", "message.is_mens", "message.is_man", "unknown_input", "is_man", "did you mean `is_mens`?"),
    "a message lacks what its placement's model reads": Spoilt(
        "messages.yaml", "{is_mens: 0, is_womens: 1}", "{is_womens: 1}", "missing_feature", "{is_womens: 1}",
        "add `is_mens: 0`"),
    "a model reads a fact outside its purposes": Spoilt(
        "models.yaml", "purposes: [personalisation]", "purposes: [care]", "outside_purposes", "inputs:",
        "add the purpose"),
    "a model reads free text": Spoilt(
        "models.yaml", "customer.newbie", "customer.top_category", "text_input", "top_category", "enum"),
    "an input is neither of the customer nor of the message": Spoilt(
        "models.yaml", "customer.newbie", "context.region", "unknown_input", "context.region", "customer.<"),
    "a placement's model does not exist": Spoilt(
        "placements.yaml", "model: response", "model: responses", "unknown_model", "responses", "`response`?"),
    "a field is unknown": Spoilt(
        "messages.yaml", "    campaign: spring", "    campain: spring", "unknown_field", "campain",
        "did you mean `campaign`?"),
    "a field of a field is unknown": Spoilt(
        "messages.yaml", "{template: weekly_womens}", "{templat: x, template: y}", "unknown_field", "templat:",
        "did you mean `template`?"),
    "a message's placement does not exist": Spoilt(
        "messages.yaml", "2\n    placements: [weekly_offer]", "2\n    placements: [weekly_offer, week]",
        "unknown_placement", ", week]", "declare it"),
    "a fallback names an unknown category": Spoilt(
        "placements.yaml", "{mens: mens_email, womens:", "{mens: mens_email, women:", "unknown_category", "women:",
        "did you mean `womens`?"),
    "a placement needs an unknown purpose": Spoilt(
        "placements.yaml", "purpose: marketing", "purpose: marketting", "unknown_purpose", "marketting",
        "did you mean `marketing`?"),
    "a fact serves an unknown purpose": Spoilt(
        "attributes.yaml", "purposes: [care]", "purposes: [caring]", "unknown_purpose", "caring", "declare"),
    "a message's validity ends before it starts": Spoilt(
        "messages.yaml", "until: 2027-01-01T00:00:00Z", "until: 2025-01-01T00:00:00Z", "bad_validity", "valid:",
        "after `from`"),
    "a time has no zone": Spoilt(
        "messages.yaml", "until: 2027-01-01T00:00:00Z", "until: 2027-01-01T00:00:00", "bad_time", "valid:", "zone"),
    "a variant's weight is nought": Spoilt(
        "messages.yaml", "weight: 1}", "weight: 0}", "out_of_range", "weight: 0", "correct"),
    "a string attribute is longer than the store keeps compact": Spoilt(
        "attributes.yaml", "max_length: 40", "max_length: 65", "out_of_range", "max_length: 65", "correct"),
    "an enum has no values": Spoilt(
        "attributes.yaml", "values: [Phone, Web, Multichannel], ", "", "missing_field", "channel:", "values"),
    "a default does not fit": Spoilt(
        "attributes.yaml", "default: null", "default: 500", "bad_default", "default: 500", "valid int"),
    "a number stands in quotes": Spoilt(
        "placements.yaml", "budget_ms: 40", 'budget_ms: "40"', "wrong_type", '"40"', "without quotes"),
    "an id holds capitals": Spoilt(
        "models.yaml", "- id: response", "- id: Response", "bad_id", "Response", "lower-case"),
    "a class is misspelt": Spoilt(
        "placements.yaml", "class: marketing", "class: marketin", "not_a_choice", "marketin", "`marketing`?"),
    "a feature has two folds": Spoilt(
        "features.yaml", "sum: revenue", "sum: revenue, count: {}", "bad_fold", "spend_90d", "exactly one"),
    "an experiment's shares do not add up": Spoilt(
        "experiments.yaml", "treatment: 0.95", "treatment: 0.9", "bad_shares", "global_holdout", "add up to 1"),
    "an experiment sets an unknown variant": Spoilt(
        "experiments.yaml", "{variant: urgent}", "{variant: urgnt}", "unknown_variant", "urgnt", "`urgent`?"),
    "a file is not YAML": Spoilt(
        "models.yaml", "models:", "models: [", "yaml_syntax", "- id: response", "brackets"),
}  # fmt: skip


#: These spoil more than one thing: what refers to the spoilt part is then wrong as well.
SEVERAL = {
    "a fact serves an unknown purpose",
    "a file is not YAML",
    "a key stands twice",
    "a model reads a fact outside its purposes",
    "a placement's model does not exist",
    "an attribute and a feature have one name",
    "an id holds capitals",
    "an id stands twice",
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_mistake_is_named_where_it_was_made_and_only_once(folder: Folder, name: str) -> None:
    spoilt = SPOILT[name]
    folder.change(spoilt.file, spoilt.old, spoilt.new)
    file, mistakes = spoilt.where or spoilt.file, folder.mistakes()
    found = [mistake for mistake in mistakes if mistake.code == spoilt.code and mistake.file == file]
    assert found, mistakes
    text = (folder.path / file).read_text().splitlines()
    assert spoilt.at in text[found[0].line - 1], found
    assert spoilt.remedy in found[0].remedy
    assert len(mistakes) == 1 or name in SEVERAL, mistakes


def test_a_clean_bundle_has_no_mistakes(folder: Folder) -> None:
    assert folder.mistakes() == ()


@pytest.mark.parametrize("file", ["bundle.yaml", "placements.yaml", "messages.yaml"])
def test_a_required_file_that_is_missing_is_the_only_mistake(folder: Folder, file: str) -> None:
    """Names that it would have declared are not called unknown."""
    (folder.path / file).unlink()
    assert [(mistake.file, mistake.line, mistake.code) for mistake in folder.mistakes()] == [(file, 1, "missing_file")]


def test_every_other_file_may_be_missing(folder: Folder) -> None:
    for path in folder.path.iterdir():
        if path.name not in ("bundle.yaml", "placements.yaml", "messages.yaml"):
            path.unlink()
    folder.change("placements.yaml", "    model: response ", "    # model: response ")
    folder.change("messages.yaml", "customer.recency <= 12", "context.region == 'DE'")
    folder.change("messages.yaml", "context.trigger == 'browse'", "context.language == 'de'")
    assert folder.mistakes() == ()


def test_a_misspelt_file_is_not_passed_over(folder: Folder) -> None:
    (folder.path / "limits.yaml").rename(folder.path / "limit.yaml")
    assert [(each.file, each.code, each.remedy) for each in folder.mistakes()] == [
        ("limit.yaml", "unknown_file", "did you mean `limits.yaml`?")
    ]


def test_a_folder_that_does_not_exist_is_a_mistake(folder: Folder) -> None:
    assert [mistake.code for mistake in lint(folder.path / "nowhere").mistakes] == ["missing_file"]


def test_a_placement_that_no_message_names_is_empty(folder: Folder) -> None:
    folder.add("placements.yaml", "  - {id: banner, channel: web, default: mens_email}\n")
    found = {(mistake.code, mistake.line) for mistake in folder.mistakes()}
    assert ("empty_placement", folder.line("placements.yaml", "id: banner")) in found


def test_a_default_of_another_placement_is_not_a_candidate(folder: Folder) -> None:
    folder.add("placements.yaml", "  - {id: banner, channel: web, default: mens_email}\n")
    folder.change("messages.yaml", "version: 2\n    placements: [weekly_offer]", "placements: [banner, weekly_offer]")
    found = [(mistake.code, mistake.line) for mistake in folder.mistakes()]
    assert found == [("not_a_candidate", folder.line("placements.yaml", "id: banner"))]


@pytest.mark.parametrize("collection", ["placements", "messages"])
def test_a_bundle_without_placements_or_messages_says_nothing(folder: Folder, collection: str) -> None:
    (folder.path / f"{collection}.yaml").write_text(f"{collection}: []\n")
    assert (f"{collection}.yaml", "empty_file") in {(each.file, each.code) for each in folder.mistakes()}


def test_all_mistakes_of_all_files_are_found_in_one_run(folder: Folder) -> None:
    """A mistake in one item, even one that cannot be read, hides none in another."""
    folder.change("attributes.yaml", "range: [0, 120],", "rnge: [0, 120],")
    folder.change("placements.yaml", "budget_ms: 40", "budget_ms: soon")
    folder.change("messages.yaml", "customer.recency <= 12", "customer.womans == 1")
    folder.change("models.yaml", "version: 1", "version: nought")
    folder.change("limits.yaml", "rolling: 7d", "rolling: week")
    folder.change("consent.yaml", "contact: opt_out,", "contact: optout,")
    found = {(mistake.file, mistake.code) for mistake in folder.mistakes()}
    assert found == {
        ("attributes.yaml", "unknown_field"),
        ("placements.yaml", "wrong_type"),
        ("messages.yaml", "unknown_fact"),
        ("models.yaml", "wrong_type"),
        ("limits.yaml", "bad_window"),
        ("consent.yaml", "not_a_choice"),
    }


def test_several_mistakes_of_one_item_are_found_in_one_run(folder: Folder) -> None:
    folder.change("placements.yaml", "    channel: email\n", "    channel: E-Mail\n    colour: red\n")
    folder.change("placements.yaml", "    default: mens_email", "    # default: mens_email")
    assert {mistake.code for mistake in folder.mistakes()} == {"bad_id", "unknown_field"}
    folder.change("placements.yaml", "    channel: E-Mail\n", "    channel: email\n")
    assert {mistake.code for mistake in folder.mistakes()} == {"unknown_field", "placement_without_default"}


def test_items_behind_a_broken_one_keep_their_lines(folder: Folder) -> None:
    """Also when the broken one has been set aside, and the rest is validated a second time."""
    folder.change("limits.yaml", "at_most: 3, window: {rolling: 7d}", "at_most: 3, at_least: 1, window: {rolling: x}")
    folder.change("limits.yaml", "at_most: 4, window:", "at_most: 4, windw:")
    found = [(mistake.line, mistake.code) for mistake in folder.mistakes()]
    first, third = folder.line("limits.yaml", "email_weekly"), folder.line("limits.yaml", "mens_monthly")
    assert found == [
        (first, "bad_window"),
        (first, "unknown_field"),
        (third, "missing_field"),  # seen only once `windw` is out of the way
        (third, "unknown_field"),
    ]


def test_a_mistake_in_a_folded_rule_is_shown_on_its_own_line(folder: Folder) -> None:
    folder.change(
        "messages.yaml",
        '"customer.recency <= 12"',
        ">-\n      customer.recency <= 12\n      && (customer.mens == 1\n      || customer.womans == 1)",
    )
    (mistake,) = folder.mistakes()
    text = (folder.path / "messages.yaml").read_text().splitlines()[mistake.line - 1]
    assert text[mistake.column - 1 :].startswith("customer.womans")


def test_facts_may_be_missing_unless_asked_for_or_given_a_default(folder: Folder) -> None:
    def noted() -> list[tuple[str, int]]:
        return [(note.file, note.line) for note in folder.report().notes if note.code == "may_be_missing"]

    at_rule = ("messages.yaml", folder.line("messages.yaml", "customer.recency"))
    assert at_rule in noted()
    folder.change("messages.yaml", "customer.recency <= 12", "has(customer.recency) && customer.recency <= 12")
    assert at_rule not in noted()
    assert noted() == [("glossary.yaml", folder.line("glossary.yaml", "customer.recency"))]
    folder.change("attributes.yaml", "default: null", "default: 120")
    assert noted() == []


def test_parts_that_are_not_in_force_yet_say_so_with_their_line(folder: Folder) -> None:
    folder.change("data.yaml", "  ip_address:", "  price: {transform: truncate}\n  ip_address:")
    notes = [note for note in folder.report().notes if note.code == "not_in_force"]
    assert [(note.file, note.line) for note in notes] == [("data.yaml", folder.line("data.yaml", "price:"))]


def test_parts_in_force_are_not_noted(folder: Folder) -> None:
    assert not [note for note in folder.report().notes if note.code == "not_in_force"]
    assert not [note for note in folder.report().notes if "email_weekly" in note.message]


def test_a_bundle_with_mistakes_is_not_served_and_the_error_lists_them_all(folder: Folder) -> None:
    folder.change("messages.yaml", "customer.recency <= 12", "customer.womans == 1")
    folder.change("limits.yaml", "rolling: 7d", "rolling: week")
    with pytest.raises(BundleError) as refused:
        load(folder.path)
    assert refused.value.mistakes == folder.mistakes()
    assert "messages.yaml:24" in str(refused.value)
    assert "limits.yaml:3" in str(refused.value)
