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
from policy.reports import Mistake
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
    assert {each.split()[1] for each in shown(folder.mistakes())} == {"bad_duration"}


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
