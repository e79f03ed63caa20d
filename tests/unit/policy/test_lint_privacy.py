"""What a privacy reviewer relies on lint for: purposes, approvals, what a message gives away, the PII matrix, and that
whatever is counted is kept for as long as it counts."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pytest

from policy.compile import load
from policy.lint import lint
from policy.time_checks import zones_in
from tests.support.privacy import BUNDLE as EXAMPLE
from tests.support.privacy import NAMES, customers
from tests.unit.policy.conftest import Folder

NOW_MS = 1_795_000_000_000  # 2026-11-18


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """The privacy example, free to be spoilt."""
    return Folder(Path(shutil.copytree(EXAMPLE, tmp_path / "bundle", ignore=shutil.ignore_patterns("registry"))))


class Spoilt(NamedTuple):
    """One change to the example, and the one mistake that it makes: on the line that holds `at`."""

    file: str
    old: str
    new: str
    code: str
    at: str
    remedy: str
    where: str = ""  # the file of the mistake, where it is another


CARE = """'has(customer.care_plan) && customer.care_plan != "none"'
    sensitivity: "sensitive:health"
    reveals: ["sensitive:health"]
    approval: PR-12"""
PLAIN = """'has(customer.care_plan) && customer.care_plan != "none"'"""

SPOILT = {
    "a rule reads what serves neither personalisation nor the message's purpose": Spoilt(
        "messages.yaml", "    purpose: care                   # needs", "    # needs", "outside_purposes",
        "segment.in_care", "add the purpose to the fact"),
    "a message is chosen by a sensitive fact and does not say so": Spoilt(
        "messages.yaml", CARE, PLAIN, "reveals_sensitive", "customer.care_plan", 'add `reveals: ["sensitive:health"]`'),
    "a message is chosen by a segment that reads a sensitive fact and does not say so": Spoilt(
        "messages.yaml", '    reveals: ["sensitive:health"]   # who', "    # who", "reveals_sensitive",
        "segment.in_care", "leave the fact out"),
    "a message reveals another class than the one that chooses it": Spoilt(
        "messages.yaml", 'reveals: ["sensitive:family"]', 'reveals: ["sensitive:faith"]', "reveals_sensitive",
        "family_orders_90d", "sensitive:family"),
    "a message reveals something sensitive and nobody allowed it": Spoilt(
        "messages.yaml", 'reveals: ["sensitive:family"]\n    approval: PR-15', 'reveals: ["sensitive:family"]',
        "missing_approval", "sensitive:family", "who allowed it"),
    "a message is sensitive by its content and nobody allowed it": Spoilt(
        "messages.yaml", "  - id: mens_new\n", '  - id: mens_new\n    sensitivity: "sensitive:finance"\n',
        "missing_approval", "sensitive:finance", "who allowed it"),
    "the generic message is sensitive": Spoilt(
        "messages.yaml", "  - id: care_news\n",
        '  - id: care_news\n    reveals: ["sensitive:faith"]\n    approval: PR-15\n', "sensitive_default",
        "default: care_news", "another default", "placements.yaml"),
    "the generic message reads something personal": Spoilt(
        "placements.yaml", "0.05}\n    default: new_in", "0.05}\n    default: womens_new", "personal_default",
        "customer.order_frequency", "another", "messages.yaml"),
    "a model reads a sensitive fact and nobody allowed it": Spoilt(
        "models.yaml", "customer.app_share\n", "customer.app_share\n      - customer.faith\n", "missing_approval",
        "customer.faith", "add `approval:` to the model"),
    "a model names a purpose of its own to read what does not serve its placements": Spoilt(
        "models.yaml", "purposes: [personalisation]", "purposes: [personalisation, finance]", "outside_purposes",
        "customer.income", "remove the input"),
    "an approval is unknown": Spoilt(
        "messages.yaml", "approval: PR-15", "approval: PR-51", "unknown_approval", "PR-51", "did you mean `PR-15`?"),
    "a fact's approval is unknown": Spoilt(
        "attributes.yaml", "approval: PR-12", "approval: PR-2", "unknown_approval", "PR-2", "PR-12"),
    "an approval has ended": Spoilt(
        "data.yaml", "until: 2036-01-01T00:00:00Z", "until: 2026-01-01T00:00:00Z", "ended_approval", "diabetes",
        "renew", "attributes.yaml"),
    "an audience reads an unknown fact": Spoilt(
        "experiments.yaml", "customer.lifecycle ==", "customer.lifecycl ==", "unknown_fact", "lifecycl ==",
        "lifecycle"),
    "an audience gives a number": Spoilt(
        "experiments.yaml", "    by: region\n", "    by: region\n    audience: customer.loyalty + 1.0\n", "cel_type",
        "loyalty", "compare"),
    "an audience reads what serves something else": Spoilt(
        "experiments.yaml", 'customer.lifecycle == "active"', "segment.in_care", "outside_purposes", "segment.in_care",
        "leave it out"),
    "an audience reads a sensitive fact": Spoilt(
        "experiments.yaml", 'customer.lifecycle == "active"', "customer.faith == true", "sensitive_audience", "faith",
        "the rule of the message may"),
    "a holdout fixes the arm of a region that is none": Spoilt(
        "experiments.yaml", "AT: baseline", "Austria: baseline", "bad_region", "Austria", "write `DE`"),
    "an experiment shares id and salt with a holdout": Spoilt(
        "experiments.yaml", "id: subject_line\n    placement: weekly_offer\n    salt: e7",
        "id: geo_baseline\n    placement: weekly_offer\n    salt: g1", "duplicate_id", "salt: g1", "another salt"),
    "the baseline is no candidate": Spoilt(
        "placements.yaml", "baseline: mens_new", "baseline: receipt", "not_a_candidate", "receipt", "name another"),
    "the baseline does not exist": Spoilt(
        "placements.yaml", "baseline: mens_new", "baseline: men_new", "unknown_message", "men_new", "`mens_new`?"),
    "a message excludes itself": Spoilt(
        "limits.yaml", "[mens_sale, womens_sale, home_sale]", "[mens_sale, womens_sale, mens_sale]", "duplicate_id",
        "one_sale", "another message"),
    "an exclusion is longer than contacts are kept": Spoilt(
        "limits.yaml", "within: 24h", "within: 91d", "bad_window", "one_sale", "raise `ledger`"),
    "an ignored series is counted for longer than contacts are kept": Spoilt(
        "limits.yaml", "{category: sport}, for: 14d", "{category: sport}, for: 91d", "bad_window", "after_silence",
        "raise `ledger`"),
    "a pause is longer than profiles are kept": Spoilt(
        "limits.yaml", "for: 30d", "for: 500d", "bad_window", "after_complaint", "raise `profile`"),
    "quiet hours never end": Spoilt(
        "consent.yaml", '{from: "04:55", until: "05:00"}',
        '{from: "08:00", until: "20:00"}, {from: "19:30", until: "08:00"}', "never_permitted", 'quiet: [{from: "08:00"',
        "shorten them"),
    "all days are quiet": Spoilt(
        "consent.yaml", '{from: "04:55", until: "05:00"}', "{days: [mon, tue, wed, thu, fri, sat, sun]}",
        "never_permitted", "days: [mon, tue", "channels"),
    "an event serves an unknown purpose": Spoilt(
        "events.yaml", "purposes: [care, personalisation]", "purposes: [care, personalization]", "unknown_purpose",
        "personalization", "`personalisation`?"),
    "a feature is less sensitive than its event": Spoilt(
        "features.yaml", 'sensitivity: "sensitive:family", purposes: [care], approval: PR-15', "purposes: [care]",
        "less_sensitive", "family_orders_90d", 'sensitivity: "sensitive:family"'),
    "a feature is less sensitive than the property it sums": Spoilt(
        "events.yaml", "items: {type: int, range: [0, 1000]}", 'items: {type: int, sensitivity: "sensitive:health"}',
        "less_sensitive", "family_orders_90d", "sensitive:health", "features.yaml"),
    "a feature serves what its event may not": Spoilt(
        "features.yaml", "purposes: [care], approval", "purposes: [care, marketing], approval", "outside_purposes",
        "family_orders_90d", "add it to the event"),
    "the PII matrix names what nothing is": Spoilt(
        "data.yaml", "  email: ", "  emial: ", "unknown_data", "emial", "did you mean `email`?"),
    "what is dropped is also stored": Spoilt(
        "data.yaml", "ip_address:    {collect: drop}", "ip_address:    {collect: drop, store: hash}", "bad_handling",
        "ip_address", "remove `store`"),
    "what is dropped is also deleted": Spoilt(
        "data.yaml", "phone:         {collect: drop}", "phone:         {collect: drop, delete: 3d}", "bad_handling",
        "phone", "remove `delete`"),
    "an e-mail address is kept in the clear": Spoilt(
        "data.yaml", "{collect: hash, store: hash,", "{collect: hash, store: keep,", "bad_handling", "email:",
        "`store: hash`"),
    "what is not stored is activated": Spoilt(
        "data.yaml", "{collect: hash, store: hash, transform: none, activate: late, delete: 400d}",
        "{store: drop, activate: late}", "bad_handling", "email:", "remove"),
    "a hash is truncated": Spoilt(
        "data.yaml", "{transform: generalise, activate", "{collect: hash, transform: generalise, activate",
        "bad_handling", "delivery_city", "transform: none"),
    "an attribute is generalised": Spoilt(
        "data.yaml", "{collect: keep, store: keep, transform: none,", "{transform: generalise,", "bad_handling",
        "care_plan", "declare the coarser value"),
    "an enum is hashed": Spoilt(
        "data.yaml", "{collect: keep, store: keep,", "{collect: keep, store: hash,", "bad_handling", "care_plan",
        "make it a string"),
    "a datum is deleted after what it lives in": Spoilt(
        "data.yaml", "delete: 365d", "delete: 401d", "bad_retention", "care_plan", "raise `profile`"),
    "a property is deleted after its event": Spoilt(
        "data.yaml", "delete: 90d", "delete: 401d", "bad_retention", "delivery_city", "raise `events`"),
}  # fmt: skip


@pytest.mark.parametrize("name", SPOILT)
def test_a_mistake_is_named_where_it_was_made_and_only_once(folder: Folder, name: str) -> None:
    spoilt = SPOILT[name]
    folder.add(
        "attributes.yaml",
        '  faith: {type: bool, sensitivity: "sensitive:faith", approval: PR-15}\n'
        '  income: {type: float, sensitivity: "sensitive:finance", purposes: [finance], approval: PR-15}\n',
    )
    folder.change("consent.yaml", "personalisation, care]", "personalisation, care, finance]")
    if "a model names a purpose of its own" in name:
        folder.change("models.yaml", "customer.app_share\n", "customer.app_share\n      - customer.income\n")
        folder.change("models.yaml", "    on_missing: nan\n", "    on_missing: nan\n    approval: PR-15\n")
    folder.change(spoilt.file, spoilt.old, spoilt.new)
    file, mistakes = spoilt.where or spoilt.file, lint(folder.path, NOW_MS).mistakes
    found = [mistake for mistake in mistakes if mistake.code == spoilt.code and mistake.file == file]
    assert found, mistakes
    assert spoilt.at in (folder.path / file).read_text().splitlines()[found[0].line - 1], found
    assert spoilt.remedy in found[0].remedy
    assert len(mistakes) == (3 if name == "an approval has ended" else 1), mistakes


def test_the_examples_customers_are_the_standard_jobs_under_its_own_names() -> None:
    bundle = load(EXAMPLE)
    model = bundle.models[0]
    assert model.inputs[:20] == tuple(f"customer.{name}" for name in NAMES)
    lines = list(customers(20))
    assert set(lines[1]["attributes"]) == {*NAMES, "lifecycle"} <= bundle.fact_by_name.keys()
    assert len(bundle.facts) == 24
    assert len(bundle.placements["weekly_offer"].candidates) == 20


def test_the_example_is_clean(folder: Folder) -> None:
    assert lint(folder.path, NOW_MS).mistakes == ()
    assert {note.code for note in folder.report().notes} == {"may_be_missing", "not_in_force"}


def test_an_approval_ends_by_the_clock_that_lint_is_given(folder: Folder) -> None:
    """The same files are served the same way whenever they are read; whoever checks them gives the clock."""
    end_ms = round(datetime(2036, 1, 1, tzinfo=UTC).timestamp() * 1000)
    assert lint(folder.path).mistakes == lint(folder.path, end_ms - 1).mistakes == ()
    ended = lint(folder.path, end_ms).mistakes
    assert {mistake.code for mistake in ended} == {"ended_approval"}
    assert all("by the clock of this check, 2036-01-01 00:00Z" in mistake.message for mistake in ended)


def test_without_a_register_of_approvals_any_reference_is_taken(folder: Folder) -> None:
    text = (folder.path / "data.yaml").read_text()
    (folder.path / "data.yaml").write_text(text[text.index("retention:") :])
    assert lint(folder.path, NOW_MS).mistakes == ()


def test_a_sensitive_content_says_enough_about_what_it_reveals(folder: Folder) -> None:
    folder.change(
        "messages.yaml",
        'sensitivity: "sensitive:health"\n    reveals: ["sensitive:health"]',
        'sensitivity: "sensitive:health"',
    )
    assert folder.mistakes() == ()


def test_an_approved_model_may_read_a_sensitive_fact_and_its_candidates_need_not_say_so(folder: Folder) -> None:
    folder.add("attributes.yaml", '  faith: {type: bool, sensitivity: "sensitive:faith", approval: PR-15}\n')
    folder.change("models.yaml", "customer.app_share\n", "customer.app_share\n      - customer.faith\n")
    folder.change("models.yaml", "    on_missing: nan\n", "    on_missing: nan\n    approval: PR-15\n")
    assert folder.mistakes() == ()


def test_what_an_event_does_not_say_binds_no_feature(folder: Folder) -> None:
    folder.change("events.yaml", "    sensitivity: personal\n", "")
    folder.change(
        "features.yaml", "sensitivity: personal, purposes: [personalisation]", "pii: none, purposes: [marketing]"
    )
    assert folder.mistakes() == ()


def noted(folder: Folder, code: str) -> list[tuple[str, int]]:
    return [(note.file, note.line) for note in folder.report().notes if note.code == code]


def test_thompson_without_a_second_variant_is_noted(folder: Folder) -> None:
    folder.change("placements.yaml", "    default: receipt", "    explore: {method: thompson}\n    default: receipt")
    assert noted(folder, "explores_nothing") == [
        ("placements.yaml", folder.line("placements.yaml", "explore: {method: thompson}"))
    ]


def test_softmax_without_a_model_is_noted(folder: Folder) -> None:
    folder.change("placements.yaml", "budget_ms: 100\n    model: retail", "budget_ms: 100")
    assert noted(folder, "explores_nothing") == [("placements.yaml", folder.line("placements.yaml", "softmax"))]


def test_zones_of_another_country_are_noted(folder: Folder) -> None:
    folder.change("consent.yaml", "timezones: [Europe/Paris]", "timezones: [Europe/Paris, Europe/Rome]")
    assert noted(folder, "foreign_zone") == [("consent.yaml", folder.line("consent.yaml", "Europe/Rome"))]


@pytest.mark.parametrize(
    ("country", "zone"),
    [("NO", "Europe/Oslo"), ("NO", "Europe/Berlin"), ("DE", "Europe/Busingen"), ("US", "America/New_York")],
)
def test_a_country_has_the_zones_that_people_write(country: str, zone: str) -> None:
    assert zone in zones_in(country)


def test_send_hours_that_are_all_quiet_somewhere_are_noted(folder: Folder) -> None:
    folder.change(
        "consent.yaml", '{from: "20:00", until: "08:00", channels: [email, sms]}', '{from: "18:00", until: "17:00"}'
    )
    folder.change("placements.yaml", 'from: "09:00", until: "18:00"', 'from: "09:00", until: "17:00"')
    assert noted(folder, "never_permitted") == [("consent.yaml", folder.line("consent.yaml", '"18:00"'))]
    assert folder.mistakes() == ()


def test_quiet_days_and_dates_leave_the_other_days(folder: Folder) -> None:
    folder.change(
        "consent.yaml",
        '{from: "04:55", until: "05:00"}',
        "{days: [mon, tue, wed, thu, fri, sat]}, {dates: [2026-12-27]}",
    )
    assert folder.mistakes() == ()


def test_quiet_hours_of_another_channel_or_class_leave_all_time(folder: Folder) -> None:
    folder.change(
        "consent.yaml",
        '{from: "04:55", until: "05:00"}',
        '{from: "08:00", until: "07:59", channels: [sms]}, {from: "07:58", until: "08:01", channels: [sms]}',
    )
    assert folder.mistakes() == ()


def test_quiet_hours_of_another_class_leave_all_time(folder: Folder) -> None:
    folder.change("placements.yaml", "    class: transactional\n    default: receipt", "    default: receipt")
    days = "{days: [mon, tue, wed, thu, fri, sat, sun], classes: [transactional]}"
    folder.change("consent.yaml", '{from: "04:55", until: "05:00"}', days)
    assert folder.mistakes() == ()


def test_what_is_kept_exactly_as_long_as_it_counts_is_kept_long_enough(folder: Folder) -> None:
    folder.change("limits.yaml", "rolling: 7d", "rolling: 90d")
    folder.change("limits.yaml", "within: 24h", "within: 90d")
    folder.change("limits.yaml", "for: 30d", "for: 400d")
    assert folder.mistakes() == ()


def test_contacts_that_are_forgotten_before_they_fade_are_noted(folder: Folder) -> None:
    folder.change("limits.yaml", "half_life: 7d", "half_life: 12d")
    assert noted(folder, "forgotten_early") == [("limits.yaml", folder.line("limits.yaml", "fatigue"))]


def test_a_rule_and_a_model_that_read_what_is_dropped_are_noted(folder: Folder) -> None:
    folder.add("data.yaml", "  open_rate: {store: drop}\n")
    assert {file for file, _ in noted(folder, "never_seen")} == {"messages.yaml", "models.yaml"}


# At the very edges: found by small mistakes on purpose (`make mutate`)


def told(folder: Folder) -> list[str]:
    """`code at what stands there`, ten characters of it."""
    found = []
    for each in lint(folder.path, NOW_MS).mistakes:
        line = (folder.path / each.file).read_text().splitlines()[each.line - 1]
        found.append(f"{each.file} {each.code} at {line[each.column - 1 :][:10]}".rstrip())
    return found


@pytest.mark.parametrize(
    ("row", "wrong"),
    [
        ("ip_address: {collect: drop, store: drop, transform: none, activate: never}", []),
        ("ip_address: {collect: drop, transform: truncate}", ["truncate}"]),
        ("ip_address: {collect: drop, activate: late}", ["late}"]),
        ("ip_address: {collect: drop, store: keep}", ["keep}"]),
        ("care_plan: {store: drop, activate: always}", ["drop, acti"]),
        ("care_plan: {store: drop, activate: late}", ["drop, acti"]),
        ("care_plan: {store: drop, activate: never}", []),
        ("phone: {transform: truncate}", ["truncate}"]),
        ("care_plan: {transform: hash}", ["hash}"]),
        ("care_plan: {collect: hash}", ["hash}"]),
    ],
)
def test_a_row_of_the_matrix_is_refused_at_the_word_that_cannot_be_meant(
    folder: Folder, row: str, wrong: list[str]
) -> None:
    name = row.partition(":")[0]
    lines = (folder.path / "data.yaml").read_text().splitlines()
    (folder.path / "data.yaml").write_text(
        "\n".join(f"  {row}" if line.startswith(f"  {name}:") else line for line in lines) + "\n"
    )
    assert told(folder) == [f"data.yaml bad_handling at {each}" for each in wrong]


def test_a_row_that_names_nothing_is_one_mistake_whatever_else_it_says(folder: Folder) -> None:
    folder.change(
        "data.yaml",
        "  delivery_city: {transform: generalise, activate: never, delete: 90d}",
        "  delivery_town: {transform: generalise, activate: never, delete: 900d}",
    )
    assert told(folder) == ["data.yaml unknown_data at delivery_t"]


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("attributes.yaml", "attributes:\n", "attributes: [\n"),
        ("attributes.yaml", "type: enum, values: [none, diabetes, allergy]", "type: enm"),
        ("events.yaml", "events:\n", "events: [\n"),
        ("events.yaml", "once_per: order_id", "once_per: [order_id]"),
    ],
)
def test_a_row_is_not_called_unknown_where_its_datum_could_not_be_read(
    folder: Folder, file: str, old: str, new: str
) -> None:
    folder.change(file, old, new)
    assert not [each for each in told(folder) if "unknown_data" in each]


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("features.yaml", "purposes: [care], approval: PR-15", "purposes: [care], approval: PR-51"),
        ("models.yaml", "    on_missing: nan\n", "    on_missing: nan\n    approval: PR-51\n"),
    ],
)
def test_an_unknown_approval_is_shown_where_it_is_named(folder: Folder, file: str, old: str, new: str) -> None:
    folder.change(file, old, new)
    assert [each[: len(file) + 26] for each in told(folder)] == [f"{file} unknown_approval at PR-51"]


def test_an_approval_that_could_not_be_read_is_not_called_unknown(folder: Folder) -> None:
    folder.change("data.yaml", "why: family boxes after", "wy: family boxes, why: [x], by: after")
    assert not [each for each in told(folder) if "unknown_approval" in each]


@pytest.mark.parametrize(
    ("event", "feature", "wrong"),
    [
        ("none", "none", False),
        ("none", "personal", False),
        ("none", "sensitive:family", False),
        ("personal", "none", True),
        ("personal", "personal", False),
        ("personal", "sensitive:family", False),
        ("sensitive:family", "none", True),
        ("sensitive:family", "personal", True),
        ("sensitive:family", "sensitive:family", False),
        ("sensitive:family", "sensitive:health", True),
    ],
)
def test_a_feature_is_at_least_as_sensitive_as_its_event(folder: Folder, event: str, feature: str, wrong: bool) -> None:
    folder.change("events.yaml", 'sensitivity: "sensitive:family"', f'sensitivity: "{event}"')
    folder.change("features.yaml", 'sensitivity: "sensitive:family"', f'sensitivity: "{feature}"')
    assert any("less_sensitive" in each for each in told(folder)) is wrong


def outside(folder: Folder) -> list[str]:
    return [each.message for each in lint(folder.path, NOW_MS).mistakes if each.code == "outside_purposes"]


def test_a_holdout_of_all_placements_may_read_what_serves_all_of_them(folder: Folder) -> None:
    folder.change("experiments.yaml", "salt: h1,", "salt: h1, audience: 'segment.in_care',")
    assert outside(folder) == ["`customer.care_plan` serves care, not marketing, transactional"]


def test_an_audience_may_read_what_serves_its_own_placement(folder: Folder) -> None:
    folder.add("attributes.yaml", "  in_reach: {type: bool, purposes: [care]}\n")
    folder.change(
        "experiments.yaml",
        "placements: [weekly_offer]\n    salt: g1",
        "placements: [care_reminder]\n    audience: 'customer.in_reach'\n    salt: g1",
    )
    assert outside(folder) == []


def test_a_model_is_told_which_placement_it_may_not_read_for(folder: Folder) -> None:
    folder.add("attributes.yaml", "  income: {type: float, purposes: [finance, care]}\n")
    folder.change("consent.yaml", "personalisation, care]", "personalisation, care, finance]")
    folder.change("models.yaml", "customer.app_share\n", "customer.app_share\n      - customer.income\n")
    folder.change("models.yaml", "purposes: [personalisation]", "purposes: [personalisation, finance]")
    folder.change("placements.yaml", "    purpose: care\n", "    purpose: care\n    model: retail\n")
    assert outside(folder) == [
        "`customer.income` serves care, finance, and model `retail` ranks placement `weekly_offer`, "
        "which is for marketing"
    ]


@pytest.mark.parametrize("rule", ["segment.outer", "segment.outer && segment.active_buyer"])
def test_a_sensitive_fact_behind_two_segments_is_revealed_too(folder: Folder, rule: str) -> None:
    folder.add("glossary.yaml", "  outer: {owner: care, rule: 'segment.in_care'}\n")
    folder.change(
        "messages.yaml",
        "    eligible: 'segment.in_care'\n    reveals: [\"sensitive:health\"]",
        f"    eligible: '{rule}'\n    # reveals:",
    )
    folder.change("messages.yaml", "    approval: PR-12\n    value: 1.35", "    value: 1.35")
    assert "reveals_sensitive" in {each.code for each in lint(folder.path, NOW_MS).mistakes}


@pytest.mark.parametrize(
    "quiet",
    [
        '{from: "00:01", until: "00:00"}',
        '{days: [tue, wed, thu, fri, sat, sun]}, {from: "00:01", until: "00:00", days: [mon]}',
    ],
)
def test_one_minute_of_the_week_is_time_to_send(folder: Folder, quiet: str) -> None:
    folder.change("consent.yaml", '{from: "04:55", until: "05:00"}', quiet)
    assert folder.mistakes() == ()


@pytest.mark.parametrize("region", ["default: {", "US-CA:   {"])
def test_a_state_has_the_zones_of_its_country_and_the_default_row_has_any(folder: Folder, region: str) -> None:
    folder.change("consent.yaml", region, region + "timezones: [America/Los_Angeles], ")
    assert noted(folder, "foreign_zone") == []


def test_a_label_is_of_a_purpose_that_exists(folder: Folder) -> None:
    folder.add("consent.yaml", "page: {brand: Shop, labels: {marketing: {en: Offers}, ofers: {en: Offers}}}\n")
    (mistake,) = lint(folder.path).mistakes
    assert (mistake.file, mistake.code) == ("consent.yaml", "unknown_purpose")
    assert "`ofers`" in mistake.message
