"""`nextbest audit data`: the table, the JSON and the picture."""

from __future__ import annotations

import json
import re
import shutil
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import Result
from typer.testing import CliRunner

from app import cli
from app.audit_picture import picture
from app.settings import DEMO_BUNDLE
from policy.audit import audit
from policy.lint import examine

EXAMPLE = Path(__file__).parents[1] / "support" / "privacy_bundle"
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(autouse=True)
def no_bundle_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NEXTBEST_BUNDLE", raising=False)
    monkeypatch.setenv("COLUMNS", "200")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli.app, ["audit", "data", *arguments])


def drawn(path: Path) -> str:
    _, documents = examine(path)
    assert documents is not None
    return picture(audit(documents))


def test_the_table_shows_every_datum_and_what_a_reviewer_would_ask() -> None:
    shown = run("--bundle", str(EXAMPLE))
    assert shown.exit_code == 0
    words = " ".join(shown.stdout.split())
    for text in (
        "care_plan ← care",
        "sensitive:health",
        "approved by PR-12",
        "identity phone",
        "Unused (2)",
        "Missing an owner (1)",
    ):
        assert text in words, text


def test_without_a_bundle_the_demo_is_audited() -> None:
    assert "Data of the bundle retail_demo" in run().stdout


def test_json_holds_every_list_in_full() -> None:
    document = json.loads(run("--bundle", str(EXAMPLE), "--json").stdout)
    assert document.keys() == {"bundle", "owner", "rows", "questions", "nodes", "edges"}
    crm = next(each for each in document["rows"] if each["kind"] == "source" and each["name"] == "crm")
    assert len(crm["readers"]["message"]) == 19
    nodes = set(document["nodes"])
    assert all(before in nodes and after in nodes for before, after in document["edges"])


def test_a_bundle_with_mistakes_is_not_audited(tmp_path: Path) -> None:
    (tmp_path / "bundle.yaml").write_text("name: shop\nowner: growth\ncurrency: USD\ncolour: red\n")
    refused = run("--bundle", str(tmp_path))
    assert refused.exit_code == 1
    assert "nextbest lint" in refused.stderr


def test_the_picture_is_written_where_it_is_wanted(tmp_path: Path) -> None:
    assert run("--picture", str(tmp_path / "lineage.svg")).exit_code == 0
    ElementTree.parse(tmp_path / "lineage.svg")


@pytest.mark.parametrize("path", [DEMO_BUNDLE, EXAMPLE], ids=lambda path: path.name)
def test_boxes_stand_in_columns_and_do_not_touch_and_lines_run_to_the_right(path: Path) -> None:
    root = ElementTree.fromstring(drawn(path))
    boxes = [box for group in root.iter(f"{SVG}g") for box in group.iter(f"{SVG}rect")]
    columns: dict[float, list[float]] = {}
    for box in boxes:
        columns.setdefault(float(box.get("x", "")), []).append(float(box.get("y", "")))
        assert float(box.get("x", "")) + float(box.get("width", "")) <= float(root.get("width", ""))
        assert float(box.get("y", "")) + 18 <= float(root.get("height", ""))
    assert len(columns) in (5, 6)
    for tops in columns.values():
        tops.sort()
        assert all(lower - upper >= 20 for upper, lower in pairwise(tops))
    for line in root.iter(f"{SVG}path"):
        numbers = [float(each) for each in re.findall(r"[-\d.]+", line.get("d", ""))]
        assert numbers[0] < numbers[-2]


def test_the_picture_colours_by_sensitivity_and_says_of_which_kind() -> None:
    text = drawn(EXAMPLE)
    assert "care_plan · health" in text
    group = next(part for part in text.split("<g>") if "care_plan · health" in part)
    assert "#b3261e" in group


def test_the_picture_is_the_same_for_the_same_bundle_and_holds_no_markup_of_a_rule() -> None:
    assert drawn(EXAMPLE) == drawn(EXAMPLE)
    assert "customer.lifecycle == &quot;active&quot;" in drawn(EXAMPLE)


def test_lint_and_audit_judge_approvals_by_the_clock_of_this_machine(tmp_path: Path) -> None:
    folder = shutil.copytree(EXAMPLE, tmp_path / "bundle", ignore=shutil.ignore_patterns("registry"))
    text = (folder / "data.yaml").read_text()
    (folder / "data.yaml").write_text(text.replace("2036-01-01", "2020-01-01"))
    linted = CliRunner().invoke(cli.app, ["lint", "--json", str(folder)])
    assert linted.exit_code == 1
    assert {each["code"] for each in json.loads(linted.stdout)["mistakes"]} == {"ended_approval"}
    shown = run("--bundle", str(folder))
    assert shown.exit_code == 0
    assert "Approval ended (1): attribute care_plan" in shown.stdout


def test_the_picture_in_the_guide_is_the_demos() -> None:
    """Drawn anew by `nextbest audit data --picture docs/lineage.svg`."""
    assert (Path(__file__).parents[2] / "docs" / "lineage.svg").read_text() == drawn(DEMO_BUNDLE)
