"""What bundles mean once compiled and audited, part by part; found by small mistakes on purpose (`make mutate`).

`bundles/compiled/*.yaml` holds what three authored bundles become, `bundles/audited/*.yaml` what an audit says of two.
Whatever stands there must be so; parts that are not mentioned may be anything, so that a new field breaks nothing here.
`python -m tests.unit.policy.test_compile_edges` writes them again: read the difference before you keep it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from datetime import date
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from policy.audit import audit
from policy.bundle import Candidate, Handling
from policy.compile import load
from policy.expressions import Expression
from policy.lint import examine
from policy.schema.facts import STRING_BYTES_MAX, fits
from tests.support import privacy, trials

if TYPE_CHECKING:
    from tests.unit.policy.conftest import Folder

HERE = Path(__file__).parent / "bundles"
AUTHORED = {"complete": HERE / "complete", "privacy": privacy.BUNDLE, "trials": trials.FOLDER}
#: What is not looked at here: how a bundle is identified, and what of its parts is folded from events.
LEFT_OUT = {"canonical", "digest", "events", "features", "fact_by_name", "not_in_force"}
MAY_2037_MS = 2_125_000_000_000  # when approvals have ended


def plain(value: Any) -> Any:
    """A compiled part as plain values: rules by their text, messages of a placement by their ids, sets sorted."""
    if isinstance(value, Expression):
        return value.source
    if isinstance(value, Candidate):
        return {**fields_of(value), "message": value.message.id}
    if isinstance(value, Enum):
        return value.value
    if dataclasses.is_dataclass(value):
        return fields_of(value)
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: plain(part) for name, part in value._asdict().items()}
    if isinstance(value, Mapping):
        return {key if isinstance(key, str) else plain(key): plain(part) for key, part in value.items()}
    if isinstance(value, set | frozenset):
        return sorted((plain(part) for part in value), key=str)
    if isinstance(value, tuple | list):
        return [plain(part) for part in value]
    return value.isoformat() if isinstance(value, date) else value


def fields_of(value: Any) -> dict[str, Any]:
    return {each.name: plain(getattr(value, each.name)) for each in dataclasses.fields(value)}


def differences(told: Any, found: Any, path: str = "") -> list[str]:
    """Where `found` is not as told; keys that nobody tells of are free."""
    if isinstance(told, dict) and isinstance(found, dict):
        return [line for key, part in told.items() for line in differences(part, found.get(key), f"{path}/{key}")]
    if isinstance(told, list) and isinstance(found, list) and len(told) == len(found):
        both = zip(told, found, strict=True)
        return [line for place, pair in enumerate(both) for line in differences(*pair, f"{path}/{place}")]
    alike = told == found and type(told) is type(found)
    return [] if alike else [f"{path}: {told!r} is {found!r}"]


@pytest.mark.parametrize("name", AUTHORED)
def test_an_authored_bundle_means_what_is_written_down(name: str) -> None:
    told = yaml.safe_load((HERE / "compiled" / f"{name}.yaml").read_text())
    assert differences(told, plain(load(AUTHORED[name]))) == []


def audited(name: str) -> dict[str, Any]:
    """Rows and edges of an audit; of questions what they are about, not their words."""
    _, documents = examine(AUTHORED[name])
    assert documents is not None
    found = audit(documents, MAY_2037_MS)
    return {
        "rows": [plain(row) for row in found.rows],
        "questions": [[each.about, plain(each.names)] for each in found.questions],
        "edges": [f"{before.kind} {before.name} → {after.kind} {after.name}" for before, after in found.graph.edges],
    }


@pytest.mark.parametrize("name", ["complete", "privacy"])
def test_an_audit_says_what_is_written_down(name: str) -> None:
    told = yaml.safe_load((HERE / "audited" / f"{name}.yaml").read_text())
    assert differences(told, audited(name)) == []


@pytest.mark.parametrize(
    ("row", "handling"),
    [
        ("{collect: hash, delete: 30d}", Handling(hash=True, delete_s=30 * 86_400)),
        ("{store: hash, activate: never}", Handling(hash=True, never_shown=True)),
        ("{collect: drop}", Handling(drop=True)),
    ],
)
def test_a_row_of_the_pii_matrix_says_what_is_done(folder: Folder, row: str, handling: Handling) -> None:
    folder.change("data.yaml", "{collect: hash, store: hash, transform: none, activate: late, delete: 30d}", row)
    assert load(folder.path).handling["email"] == handling


@pytest.mark.parametrize(
    ("value", "kind", "bounds", "values", "does"),
    [
        ("Urban", "enum", None, ["Urban", "Rural"], True),
        ("Suburban", "enum", None, ["Urban", "Rural"], False),
        ("any text", "string", None, None, True),
        (1, "string", None, None, False),
        (1, "enum", None, ["1"], False),
        (True, "bool", None, None, True),
        (1, "bool", None, None, False),
        (1, "int", None, None, True),
        (1.5, "int", None, None, False),
        (True, "int", None, None, False),
        ("1", "int", None, None, False),
        (1, "float", None, None, True),
        (1.5, "float", None, None, True),
        (True, "float", None, None, False),
        (0, "int", [0, 120], None, True),
        (120, "int", [0, 120], None, True),
        (-1, "int", [0, 120], None, False),
        (121, "int", [0, 120], None, False),
    ],
)
def test_a_value_fits_its_type_its_range_and_its_list(
    value: object, kind: str, bounds: list[float] | None, values: list[str] | None, does: bool
) -> None:
    assert fits(value, kind, bounds, values) is does


def write(path: Path, title: str, parts: dict[str, Any]) -> None:
    """A line for each part."""
    lines = [f"# {title}, a part a line; tests/unit/policy/test_compile_edges.py compares."]
    for key, value in parts.items():
        if isinstance(value, list) and value:
            lines += [f"{key}:", *(f"  - {text_of(part)}" for part in value)]
        elif isinstance(value, dict) and value:
            lines += [f"{key}:", *(f"  {text_of(name)}: {text_of(part)}" for name, part in value.items())]
        else:
            lines.append(f"{key}: {text_of(value)}")
    path.write_text("\n".join(lines) + "\n")


def text_of(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def test_an_attribute_that_is_not_known_has_the_default_that_was_declared(folder: Folder) -> None:
    folder.change("attributes.yaml", "max_age: 30d, default: null", "max_age: 30d, default: 7")
    assert load(folder.path).fact_by_name["recency"].default == 7


def test_what_callers_may_send_is_held_to_what_was_declared_of_it(folder: Folder) -> None:
    folder.add(
        "context.yaml",
        "  basket: {type: float, range: [1, 500]}\n  code: {type: string, max_length: 8}\n  note: {type: string}\n",
    )
    context = load(folder.path).context
    assert dataclasses.astuple(context["basket"]) == ("basket", "float", (), 1.0, 500.0, None)
    assert dataclasses.astuple(context["code"]) == ("code", "string", (), None, None, 8)
    assert context["note"].max_length == STRING_BYTES_MAX
    assert context["trigger"].values == ("none", "cart_abandoned", "browse")


def test_each_kind_of_data_is_kept_for_as_long_as_was_said_of_it(folder: Folder) -> None:
    folder.change("data.yaml", "features: 400d", "features: 300d")
    folder.change("data.yaml", "events: 400d", "events: 200d")
    bundle = load(folder.path)
    assert (bundle.features_retention_s, bundle.events_retention_s) == (300 * 86_400, 200 * 86_400)


def test_unknown_customers_get_of_receipts_what_was_said_and_the_generic_one_otherwise(folder: Folder) -> None:
    said = load(folder.path).unknown_transactional
    folder.add("consent.yaml", f"unknown: {{transactional: {'suppress' if said == 'generic' else 'generic'}}}\n")
    assert load(folder.path).unknown_transactional != said


def test_parts_that_are_not_in_force_are_told_by_the_bundle(folder: Folder) -> None:
    folder.add("data.yaml", "  price: {transform: truncate}\n")
    assert any("price" in part for part in load(folder.path).not_in_force)


def test_the_law_of_a_state_is_that_of_its_country_where_it_has_none_of_its_own(folder: Folder) -> None:
    bundle = load(folder.path)
    assert bundle.region("US-CA") is bundle.region("US") is bundle.regions["US"]
    assert bundle.region("FR") is bundle.region("FR-75") is bundle.regions["default"]
    assert bundle.region(None) is None


@pytest.mark.parametrize(
    "limits",
    [
        "limits: [{id: a, match: {message: mens_email}, at_most: 1, window: {rolling: 7d}}]",
        "limits: [{id: a, match: {campaign: spring}, at_most: 1, window: {rolling: 7d}}]",
        "cooldowns: [{id: a, after: converted, match: {message: mens_email}, for: 3d}]",
        "exclusions: [{id: a, messages: [mens_email, womens_email], within: 24h}]",
    ],
)
def test_whatever_looks_back_at_contacts_makes_a_placement_count_them(folder: Folder, limits: str) -> None:
    (folder.path / "limits.yaml").write_text(limits + "\n")
    placement = load(folder.path).placements["weekly_offer"]
    first = placement.candidates[0]
    assert placement.counts_contacts
    assert len([*first.limits, *first.cooldowns, *first.exclusions]) == 1


def test_a_fact_that_only_the_model_reads_is_held_to_its_age(folder: Folder) -> None:
    folder.change("messages.yaml", "customer.recency <= 12", "customer.mens == 1")
    assert [fact.name for fact in load(folder.path).placements["weekly_offer"].contracts] == ["recency"]


if __name__ == "__main__":
    for name, authored in AUTHORED.items():
        whole = plain(load(authored))
        kept = {key: part for key, part in whole.items() if key not in LEFT_OUT}
        write(HERE / "compiled" / f"{name}.yaml", f"What the authored bundle `{name}` becomes", kept)
    for name in ("complete", "privacy"):
        write(HERE / "audited" / f"{name}.yaml", f"What an audit says of the bundle `{name}`", audited(name))
