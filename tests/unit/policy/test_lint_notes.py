"""What lint notes and where, and what one mistake neither hides nor multiplies; found by small mistakes on purpose
(`make mutate`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from policy.lint import examine
from policy.reports import Mistake

if TYPE_CHECKING:
    from tests.unit.policy.conftest import Folder


def notes(folder: Folder, code: str) -> list[str]:
    """`file: what stands at the note's place`, eleven characters of it."""
    found = []
    for each in folder.report().notes:
        if each.code == code:
            line = (folder.path / each.file).read_text().splitlines()[each.line - 1]
            found.append(f"{each.file}: {line[each.column - 1 :][:11]}")
    return found


def words(folder: Folder, code: str) -> list[str]:
    return [each.message for each in folder.report().notes if each.code == code]


def codes(folder: Folder) -> list[str]:
    return [each.code for each in folder.mistakes()]


# What rules read


def test_a_fact_that_may_be_missing_is_shown_where_the_rule_reads_it(folder: Folder) -> None:
    folder.change("messages.yaml", "customer.recency <= 12", "context.region == 'DE' && customer.mens == 1")
    assert "messages.yaml: customer.me" in notes(folder, "may_be_missing")


def test_only_has_asks_whether_a_fact_is_there(folder: Folder) -> None:
    folder.change("messages.yaml", "customer.recency <= 12", "customer.zip_code.startsWith('U')")
    assert "messages.yaml: customer.zi" in notes(folder, "may_be_missing")


def test_what_the_caller_sends_is_no_fact_that_may_be_missing(folder: Folder) -> None:
    folder.add("context.yaml", "  history: {type: float}\n")
    folder.change("messages.yaml", "customer.recency <= 12", "context.history > 1.0")
    assert notes(folder, "may_be_missing") == ["glossary.yaml: customer.re"]


@pytest.mark.parametrize(("row", "why"), [("{store: drop}", "is dropped"), ("{transform: hash}", "is kept as a hash")])
def test_a_rule_that_never_sees_a_value_is_told_why(folder: Folder, row: str, why: str) -> None:
    folder.change("messages.yaml", "customer.recency <= 12", "customer.mens == 1 && customer.condition == 'x'")
    folder.add("data.yaml", f"  condition: {row}\n")
    assert notes(folder, "never_seen") == ["messages.yaml: customer.co"]
    assert why in words(folder, "never_seen")[0]


def test_a_fact_outside_its_purposes_is_shown_where_the_rule_reads_it(folder: Folder) -> None:
    folder.change("messages.yaml", "customer.recency <= 12", "customer.mens == 1 && customer.condition == 'x'")
    (mistake,) = [each for each in folder.mistakes() if each.code == "outside_purposes"]
    line = (folder.path / "messages.yaml").read_text().splitlines()[mistake.line - 1]
    assert line[mistake.column - 1 :].startswith("customer.condition")


def test_a_value_that_the_context_never_has_is_a_mistake(folder: Folder) -> None:
    folder.change("messages.yaml", "context.trigger == 'browse'", "context.trigger == 'brose'")
    assert codes(folder) == ["unknown_value"]


def test_a_mistake_in_a_rule_of_several_lines_is_shown_on_its_own_line(folder: Folder) -> None:
    folder.change(
        "messages.yaml", '"customer.recency <= 12"', "|-\n      customer.mens == 1\n      && customer.womans == 1"
    )
    (mistake,) = folder.mistakes()
    text = (folder.path / "messages.yaml").read_text().splitlines()[mistake.line - 1]
    assert text[mistake.column - 1 :].startswith("customer.womans")


# What limits bind


@pytest.mark.parametrize(("kind", "name"), [("message", "men_email"), ("placement", "weekly_ofer")])
def test_a_limit_of_something_unknown_is_a_mistake_where_it_is_named(folder: Folder, kind: str, name: str) -> None:
    folder.change("limits.yaml", "match: {}, at_most", f"match: {{{kind}: {name}}}, at_most")
    (mistake,) = folder.mistakes()
    line = (folder.path / mistake.file).read_text().splitlines()[mistake.line - 1]
    assert (mistake.file, mistake.code) == ("limits.yaml", f"unknown_{kind}")
    assert line[mistake.column - 1 :].startswith(name)


def test_a_limit_of_a_category_that_nothing_has_is_noted(folder: Folder) -> None:
    folder.change("limits.yaml", "match: {category: mens}, at_most", "match: {category: men}, at_most")
    assert notes(folder, "binds_nothing") == ["limits.yaml: men}, at_mo"]
    assert words(folder, "binds_nothing") == ["nothing has the category `men`: did you mean `mens`?"]


@pytest.mark.parametrize(
    ("file", "old", "new", "match"),
    [
        ("messages.yaml", "risk: low ", "risk: lwo ", "{message: mens_email}"),
        ("placements.yaml", "budget_ms: 40", "budget_ms: 1", "{placement: weekly_offer}"),
    ],
)
def test_a_limit_of_what_could_not_be_read_is_not_called_wrong(
    folder: Folder, file: str, old: str, new: str, match: str
) -> None:
    """Nor is anything said of the channels and categories of what could not be read."""
    folder.change(file, old, new)
    folder.change("limits.yaml", "match: {}, at_most", f"match: {match}, at_most")
    assert not [each for each in folder.mistakes() if each.file == "limits.yaml"]
    assert notes(folder, "binds_nothing") == []


def test_how_much_is_forgotten_early_is_said(folder: Folder) -> None:
    """Contacts are kept for 90 days: eight half-lives of 270 hours, to the hour."""
    folder.change("limits.yaml", "fatigue: {half_life: 7d", "fatigue: {half_life: 270h")
    assert words(folder, "forgotten_early") == []
    folder.change("limits.yaml", "fatigue: {half_life: 270h", "fatigue: {half_life: 30d")
    assert words(folder, "forgotten_early") == [
        "contacts are forgotten after 90d (`retention.ledger`), while they still count 12.5%"
    ]
    assert notes(folder, "forgotten_early") == ["limits.yaml: 30d, contac"]


# What features are folded from


def test_an_event_that_is_not_declared_is_noted_where_a_feature_names_it(folder: Folder) -> None:
    last = "  cart_abandoned:"
    folder.change(
        "features.yaml",
        last,
        f"  it: {{rate: {{of: order_complete, per: product_seen}}, window: 30d}}\n"
        f"  its: {{funnel: {{after: cart_seen, without: bought_it, minutes: 30}}}}\n{last}",
    )
    assert {"order_compl", "product_see", "cart_seen, ", "bought_it, "} <= {
        each.removeprefix("features.yaml: ") for each in notes(folder, "unknown_event")
    }


@pytest.mark.parametrize(("old", "new"), [("events:", "events: ["), ("once_per: order_id", "once_per: [order_id]")])
def test_an_event_that_could_not_be_read_is_not_called_unknown_by_features(folder: Folder, old: str, new: str) -> None:
    before = notes(folder, "unknown_event")
    folder.change("events.yaml", old, new)
    assert set(notes(folder, "unknown_event")) <= set(before)
    assert not [each for each in folder.mistakes() if each.file == "features.yaml"]


def test_a_number_that_is_kept_as_a_hash_is_no_number(folder: Folder) -> None:
    folder.add("data.yaml", "  revenue: {store: hash}\n")
    assert ("features.yaml", "wrong_type") in {(each.file, each.code) for each in folder.mistakes()}


# Files


def test_files_of_a_strange_name_are_shown_at_their_beginning(folder: Folder) -> None:
    (folder.path / "limits.yml").write_text("limits: []\n")
    (folder.path / "zzz.yaml").write_text("")
    strange = [each for each in folder.mistakes() if each.code == "unknown_file"]
    assert [(each.file, each.line) for each in strange] == [("limits.yml", 1), ("zzz.yaml", 1)]
    assert strange[0].remedy == "did you mean `limits.yaml`?"
    assert strange[1].remedy.startswith("one of bundle.yaml, ")


def test_a_file_that_is_no_text_is_a_mistake(folder: Folder) -> None:
    (folder.path / "limits.yaml").write_bytes(b"\xff\xfe\x00")
    (mistake,) = folder.mistakes()
    assert mistake == Mistake(
        "limits.yaml", 1, "yaml_syntax", "not YAML: unreadable characters", "save the file as UTF-8 text"
    )


def test_a_collection_with_nothing_in_it_is_an_empty_one(folder: Folder) -> None:
    (folder.path / "limits.yaml").write_text("limits:\ncooldowns:\n")
    assert folder.mistakes() == ()


def test_nothing_is_given_out_of_a_bundle_with_a_mistake(folder: Folder) -> None:
    assert examine(folder.path)[1] is not None
    folder.change("messages.yaml", "customer.recency <= 12", "customer.recencey <= 12")
    assert examine(folder.path)[1] is None


@pytest.mark.parametrize("number", [11, 14])
def test_the_tenth_item_is_set_aside_after_the_second_and_nothing_else(folder: Folder, number: int) -> None:
    """It once ended lint itself, or took a neighbour of the tenth."""
    broken = (2, 10)
    lines = [
        f"  - {{id: m{each}, placements: [weekly_offer], value: {'x' if each in broken else 1}, features: {{}}}}\n"
        for each in range(number)
    ]
    lines[1] = lines[1].replace("features: {}", "features: {}, eligible: customer.nobody")
    (folder.path / "messages.yaml").write_text("messages:\n" + "".join(lines))
    found = [(each.line, each.code) for each in folder.mistakes() if each.file == "messages.yaml"]
    assert [each for each in found if each[1] != "missing_feature"] == [
        (3, "unknown_fact"),
        (4, "wrong_type"),
        (12, "wrong_type"),
    ]


# Names of every kind


@pytest.mark.parametrize(
    ("file", "old", "new", "code", "at"),
    [
        ("models.yaml", "purposes: [personalisation]", "purposes: [personalisation, x]", "unknown_purpose", "x]"),
        ("features.yaml", "purposes: [personalisation]", "purposes: [personalisation, x]", "unknown_purpose", "x]"),
        ("messages.yaml", "    category: womens\n", "    category: womens\n    purpose: x\n", "unknown_purpose", "x"),
        ("consent.yaml", "gpc_denies: [personalisation]", "gpc_denies: [x]", "unknown_purpose", "x]"),
        ("experiments.yaml", 'placements: ["*"]', "placements: [x]", "unknown_placement", "x]"),
        ("experiments.yaml", "placement: weekly_offer", "placement: x", "unknown_placement", "x,"),
        ("experiments.yaml", "b: {variant: urgent}", "x: {variant: urgent}", "unknown_arm", "x: {variant"),
        ("models.yaml", "customer.mens,", "customer.history,", "duplicate_input", "customer.history, customer.w"),
        ("messages.yaml", "{id: urgent,", "{id: plain, ", "duplicate_id", "plain,  subject: \"Last"),
    ],
)  # fmt: skip
def test_a_name_is_looked_up_where_it_stands(folder: Folder, file: str, old: str, new: str, code: str, at: str) -> None:
    folder.change(file, old, new)
    (mistake,) = [each for each in folder.mistakes() if each.code == code]
    line = (folder.path / file).read_text().splitlines()[mistake.line - 1]
    assert mistake.file == file
    assert line[mistake.column - 1 :].startswith(at)


def test_an_experiment_may_set_the_variant_of_a_message_that_has_no_others(folder: Folder) -> None:
    folder.change("experiments.yaml", "b: {variant: urgent}", "b: {variant: default}")
    assert folder.mistakes() == ()


def test_the_other_experiments_are_looked_at_after_one_whose_messages_could_not_be_read(folder: Folder) -> None:
    folder.add("experiments.yaml", "  - {id: other, placement: x, salt: e8, arms: {a: 0.5, b: 0.5}}\n")
    folder.change("messages.yaml", "risk: low ", "risk: lwo ")
    assert sorted(codes(folder)) == ["not_a_choice", "unknown_placement"]


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("attributes.yaml", "attributes:\n", "attributes: [\n"),
        ("features.yaml", "features:\n", "features: [\n"),
        ("attributes.yaml", "newbie:   {type: int, ", "newbie:   {type: it, "),
        (
            "features.yaml",
            "product_views_7d: {owner: growth, version: 1",
            "product_views_7d: {owner: growth, version: x",
        ),
    ],
)
def test_a_model_may_read_a_fact_that_could_not_be_read_by_lint(folder: Folder, file: str, old: str, new: str) -> None:
    folder.change("models.yaml", "customer.newbie,", "customer.newbie, customer.product_views_7d,")
    assert folder.mistakes() == ()
    folder.change(file, old, new)
    assert "models.yaml" not in {each.file for each in folder.mistakes()}


def test_a_feature_may_not_be_called_like_an_attribute_that_could_not_be_read(folder: Folder) -> None:
    folder.change("features.yaml", "spend_90d:  ", "history:")
    folder.change("attributes.yaml", "history:  {type: float,", "history:  {type: flot,")
    assert sorted(codes(folder)) == ["duplicate_id", "not_a_choice"]


def test_a_feature_that_a_message_may_have_once_it_can_be_read_is_not_called_unknown(folder: Folder) -> None:
    folder.change("messages.yaml", "{is_mens: 1, is_womens: 0} ", "{is_mens: 1, is_womens: 0, size: 2} ")
    folder.change("messages.yaml", "{is_mens: 0, is_womens: 1}", "{is_mens: 0, is_womens: 1, size: 1}")
    folder.change("models.yaml", "message.is_womens]", "message.is_womens, message.size]")
    assert folder.mistakes() == ()
    folder.change("messages.yaml", "risk: low ", "risk: lwo ")
    folder.change("messages.yaml", "is_womens: 1, size: 1}", "is_womens: 1}")
    assert "unknown_input" not in codes(folder)


def test_a_message_without_any_features_is_shown_itself_where_a_model_needs_one(folder: Folder) -> None:
    folder.change("messages.yaml", "    features: {is_mens: 0, is_womens: 1}\n", "")
    missing = [each for each in folder.mistakes() if each.code == "missing_feature"]
    assert {each.line for each in missing} == {folder.line("messages.yaml", "id: womens_email")}


@pytest.mark.parametrize(
    ("old", "new"), [("messages:\n", "messages:\n  - x\n"), ("      - {id: urgent", "      - x\n      - {id: urgent")]
)
def test_an_item_that_is_no_mapping_is_a_mistake_like_any_other(folder: Folder, old: str, new: str) -> None:
    folder.change("messages.yaml", old, new)
    assert "messages.yaml" in {each.file for each in folder.mistakes()}
