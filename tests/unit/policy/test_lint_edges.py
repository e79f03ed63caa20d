"""Where lint shows a mistake, to the very column, and what it calls it; found by small mistakes on purpose
(`make mutate`). An editor jumps there: one line off and the author looks at another rule.

`bundles/places.yaml` holds the places. `python -m tests.unit.policy.test_lint_edges` writes it again, when one of the
two tables has a new mistake: read the difference before you keep it.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml

from policy.lint import lint
from policy.reports import BundleError, Mistake
from policy.schema import json_schemas
from tests.support.privacy import BUNDLE as EXAMPLE
from tests.unit.policy import test_lint, test_lint_privacy
from tests.unit.policy.conftest import COMPLETE as COMPLETE_BUNDLE
from tests.unit.policy.conftest import Folder

PLACES = yaml.load((Path(__file__).parent / "bundles" / "places.yaml").read_text(), yaml.BaseLoader)
COMPLETE: dict[str, Any] = dict(test_lint.SPOILT)
PRIVACY: dict[str, Any] = dict(test_lint_privacy.SPOILT)


def shown(mistakes: tuple[Mistake, ...]) -> list[str]:
    return [f"{each.file}:{each.line}:{each.column} {each.code}" for each in mistakes]


def with_more_facts(folder: Folder, name: str) -> None:
    """As `test_lint_privacy.py` has them before it makes its mistakes."""
    folder.add(
        "attributes.yaml",
        '  faith: {type: bool, sensitivity: "sensitive:faith", approval: PR-15}\n'
        '  income: {type: float, sensitivity: "sensitive:finance", purposes: [finance], approval: PR-15}\n',
    )
    folder.change("consent.yaml", "personalisation, care]", "personalisation, care, finance]")
    if "a model names a purpose of its own" in name:
        folder.change("models.yaml", "customer.app_share\n", "customer.app_share\n      - customer.income\n")
        folder.change("models.yaml", "    on_missing: nan\n", "    on_missing: nan\n    approval: PR-15\n")


def shown_in_complete(folder: Folder, name: str) -> list[str]:
    folder.change(*COMPLETE[name][:3])
    return shown(folder.mistakes())


def shown_in_privacy(path: Path, name: str) -> list[str]:
    folder = Folder(Path(shutil.copytree(EXAMPLE, path, ignore=shutil.ignore_patterns("registry"))))
    with_more_facts(folder, name)
    folder.change(*PRIVACY[name][:3])
    return shown(lint(folder.path, test_lint_privacy.NOW_MS).mistakes)


@pytest.mark.parametrize("name", COMPLETE)
def test_a_mistake_in_the_complete_bundle_is_shown_where_it_stands(folder: Folder, name: str) -> None:
    assert shown_in_complete(folder, name) == PLACES["complete"][name]


@pytest.mark.parametrize("name", PRIVACY)
def test_a_mistake_in_the_privacy_example_is_shown_where_it_stands(tmp_path: Path, name: str) -> None:
    assert shown_in_privacy(tmp_path / "bundle", name) == PLACES["privacy"][name]


def test_every_place_is_one_of_a_mistake_that_is_made() -> None:
    assert (PLACES["complete"].keys(), PLACES["privacy"].keys()) == (COMPLETE.keys(), PRIVACY.keys())


def test_a_feature_that_cannot_be_read_is_not_called_unknown_where_it_is_used(folder: Folder) -> None:
    folder.change("features.yaml", "count: {}, window: 7d", "count: {}, window: 7 days")
    folder.change("messages.yaml", "customer.recency <= 12", "customer.product_views_7d <= 12")
    assert {each.split()[1] for each in shown(folder.mistakes())} == {"bad_window"}


WORDED = [
    # file, old, new; where and what, in which words, and what to write instead
    ("placements.yaml", "budget_ms: 40", "budget_ms: 1",
     "7:16 out_of_range", "`budget_ms`: input should be greater than or equal to 5", "correct the value"),
    ("data.yaml", "ledger: 90d", "ledger: 90d, x: 1d",
     "2:57 unknown_field", "unknown field `x`", "use profile, features, ledger, decisions, events"),
    ("consent.yaml", "regions:", "zones:",
     "3:1 unknown_field", "unknown field `zones`", "use purposes, unknown, regions, page"),
    ("attributes.yaml", "{type: int,   range: [0, 120],", "{range: [0, 120],",
     "3:3 missing_field", "`type` is missing", "add `type:`"),
    ("placements.yaml", "class: marketing", "class: zzz",
     "5:12 not_a_choice", "`zzz` is no class", "write 'marketing' or 'transactional'"),
    ("placements.yaml", "class: marketing", "class: transactionl",
     "5:12 not_a_choice", "`transactionl` is no class", "did you mean `transactional`?"),
    ("limits.yaml", "window: {rolling: 7d}", "window: 7",
     "3:91 bad_window", "`window` must be a mapping", "write `name: value` lines"),
    ("limits.yaml", "fatigue: {half_life: 7d", "fatigue: {half_life: seven",
     "11:22 bad_duration", "`seven` is not a duration",
     "write a whole number and a unit, such as `15m`, `24h` or `7d`"),
    ("limits.yaml", "contact: 1.0, engagement", "contact: -1.0, engagement",
     "11:35 out_of_range", "`contact`: input should be greater than or equal to 0", "correct the value"),
    ("placements.yaml", "max_wait: 24h", "max_wait: 8d",
     "15:59 out_of_range", "`8d` is longer than seven days", "write at most `7d`"),
    ("placements.yaml", "max_wait: 24h", "max_wait: soon",
     "15:59 bad_duration", "`soon` is not a duration",
     "write a whole number and a unit, such as `15m`, `24h` or `7d`"),
    ("bundle.yaml", "currency: USD", "currency: dollars",
     "4:11 bad_currency", "`dollars` is not a currency", "write its ISO 4217 code, such as `EUR`"),
    ("bundle.yaml", "owner: growth", "owner: 7",
     "3:8 wrong_type", "`owner` must be text", "put it in quotes"),
    ("consent.yaml", "  DE:", "  Germany:",
     "6:3 bad_region", "`Germany` is not a region", "write `default`, `DE` or `US-CA`"),
    ("glossary.yaml", "recent_buyer:", "Recent:",
     "3:3 bad_id", "`Recent` is not a name", "use up to 48 lower-case letters, digits and `_`"),
    ("messages.yaml", "{is_mens: 1, is_womens: 0}", "{Is: 1, is_mens: 1, is_womens: 0}",
     "13:16 bad_id", "`Is` is not a name", "use up to 48 lower-case letters, digits and `_`"),
    ("messages.yaml", "features: {is_mens: 1, is_womens: 0}", "features: {is_mens: one, is_womens: 0}",
     "13:25 wrong_type", "`is_mens` must be a number", "write it without quotes"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("file", "old", "new", "at", "message", "remedy"), WORDED, ids=[f"{each[0]} {each[2]}" for each in WORDED]
)
def test_what_cannot_be_read_is_said_in_the_authors_words(
    folder: Folder, file: str, old: str, new: str, at: str, message: str, remedy: str
) -> None:
    folder.change(file, old, new)
    (mistake,) = folder.mistakes()
    found = f"{mistake.line}:{mistake.column} {mistake.code}", mistake.message, mistake.remedy
    assert found == (at, message, remedy)


@pytest.mark.parametrize(
    ("text", "at", "remedy"),
    [
        ("- x\n", "1:1 wrong_type", "write `name: value` lines"),
        ("models:\n\t- id: x\n", "2:1 yaml_syntax", "indent with spaces, not with tabs"),
        ("\tmodels: []", "1:1 yaml_syntax", "indent with spaces, not with tabs"),
        ("models:\n\n  - id: 'a\tb'\n  [\n", "5:1 yaml_syntax", "check indentation, brackets and quotes here"),
        ("models:\n  - &a {id: x, inputs: *a}\n", "2:5 yaml_syntax", "write it out"),
        ("models: []\x00", "1:1 yaml_syntax", "save the file as UTF-8 text"),
    ],
)
def test_a_file_that_cannot_be_read_says_where_and_why(folder: Folder, text: str, at: str, remedy: str) -> None:
    (folder.path / "models.yaml").write_text(text)
    found = [each for each in folder.mistakes() if each.file == "models.yaml"]
    assert [f"{each.line}:{each.column} {each.code}" for each in found] == [at]
    assert found[0].remedy.startswith(remedy)


def test_all_mistakes_of_a_file_keep_their_places_when_items_are_set_aside(folder: Folder) -> None:
    """What cannot be read is taken out, and the rest read again: nothing moves, nothing is said twice."""
    folder.change(
        "limits.yaml", "at_most: 3, window: {rolling: 7d}", "at_most: 3.5, window: {rolling: 7d}, colour: red"
    )
    folder.change("limits.yaml", "at_most: 4,", "at_most: [4],")
    folder.change("limits.yaml", "fatigue: {half_life: 7d", "fatigue: {halflife: 7d")
    folder.change("attributes.yaml", "mens:     {type: int,", "mens:     {typ: int,")
    folder.change("attributes.yaml", "newbie:   {type: int,", "newbie:   {tpe: int, type: it,")
    folder.change("data.yaml", "ledger: 90d", "ledger: 90")
    assert sorted(shown(folder.mistakes())) == [
        "attributes.yaml:5:14 unknown_field",
        "attributes.yaml:5:3 missing_field",
        "attributes.yaml:8:14 unknown_field",
        "attributes.yaml:8:30 not_a_choice",
        "data.yaml:2:52 wrong_type",
        "limits.yaml:11:1 missing_field",
        "limits.yaml:11:11 unknown_field",
        "limits.yaml:3:108 unknown_field",
        "limits.yaml:3:80 wrong_type",
        "limits.yaml:5:71 wrong_type",
    ]


@pytest.mark.parametrize(("number", "says"), [(1, "has 1 mistake\n"), (2, "has 2 mistakes\n")])
def test_the_error_counts_its_mistakes(number: int, says: str) -> None:
    assert says in str(BundleError((Mistake("a.yaml", 1, "bad_id", "a", "b"),) * number))


def test_a_published_schema_knows_both_spellings_of_a_collection() -> None:
    schema = json_schemas()["attributes.yaml"]
    by_name, listed = schema["properties"]["attributes"]["anyOf"]
    assert (by_name["type"], listed["type"]) == ("object", "array")
    assert by_name["propertyNames"]["pattern"] == "^[a-z0-9_]{1,48}$"
    one = by_name["additionalProperties"]
    assert "type" in one["properties"]
    assert "id" not in one["properties"]
    assert one["required"] == ["type"]


def write() -> None:
    lines = [
        "# Where lint shows the mistakes that test_lint.py (`complete`) and test_lint_privacy.py (`privacy`) make, one",
        "# at a time: `file:line:column code`. Some make others wrong as well.",
    ]
    with TemporaryDirectory() as scratch:
        for title, names in (("complete", COMPLETE), ("privacy", PRIVACY)):
            lines.append(f"{title}:")
            for number, name in enumerate(names):
                path = Path(scratch) / f"{title}_{number}"
                if title == "complete":
                    found = shown_in_complete(Folder(Path(shutil.copytree(COMPLETE_BUNDLE, path))), name)
                else:
                    found = shown_in_privacy(path, name)
                lines += [f"  {name}:", *(f"    - {each}" for each in found)]
    (Path(__file__).parent / "bundles" / "places.yaml").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    write()


def test_an_unknown_field_of_quiet_hours_that_stand_alone_is_a_mistake_like_any_other(tmp_path: Path) -> None:
    """It once ended lint itself: quiet hours may be one mapping or a list of them."""
    folder = Path(shutil.copytree(COMPLETE_BUNDLE, tmp_path / "bundle"))
    consent = folder / "consent.yaml"
    consent.write_text(consent.read_text("utf-8").replace('quiet: {from: "21:00"', 'quiet: {fron: "21:00"', 1), "utf-8")
    codes = [mistake.code for mistake in lint(folder).mistakes]
    assert "unknown_field" in codes
