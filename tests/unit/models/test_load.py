"""A model is served only when its file, its manifest and the bundle agree."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from models.load import SHIPPED, ModelRefused, load_model
from policy.bundle import Fact, ModelRef

Ref = Callable[..., ModelRef]
Copied = Callable[..., Path]
Change = Callable[[dict[str, Any]], None]


def refusal(ref: ModelRef, *registries: Path, facts: dict[str, Fact] | None = None) -> list[str]:
    with pytest.raises(ModelRefused) as refused:
        load_model(ref, registries, facts)
    return refused.value.differences


def fact(name: str, kind: Any) -> Fact:
    return Fact(0, name, kind, "attribute", "crm", 1, "none", frozenset({"personalisation"}))


def setting(*path: str | int, to: Any) -> Change:
    def change(manifest: dict[str, Any]) -> None:
        place: Any = manifest
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = to

    return change


def test_the_demos_model_is_served(response_ref: Ref) -> None:
    model = load_model(response_ref(), [SHIPPED])
    assert model.name == "response/1"
    assert 0 < model.cost.seconds(2) < 0.01


def test_the_standard_jobs_model_is_served(standard_ref: ModelRef, standard_registry: Path) -> None:
    assert load_model(standard_ref, [standard_registry]).name == "standard/1"


def test_a_bundles_own_registry_is_searched_first(response_ref: Ref, copied: Copied) -> None:
    own = copied(setting("inputs", 0, "default", to=11.0))
    assert load_model(response_ref(), [own, SHIPPED]).manifest.inputs[0].default == 11.0
    assert load_model(response_ref(), [own / "elsewhere", SHIPPED]).manifest.inputs[0].default == 5.0


def test_a_model_in_no_registry_is_refused_with_the_places_searched(response_ref: Ref, tmp_path: Path) -> None:
    (difference,) = refusal(response_ref(version=9), tmp_path)
    assert "no `manifest.json`" in difference
    assert "response/9" in difference


def test_a_file_that_was_changed_is_refused(response_ref: Ref, copied: Copied) -> None:
    registry = copied()
    file = registry / "response" / "1" / "model.onnx"
    file.write_bytes(file.read_bytes()[:-1] + b"\0")
    (difference,) = refusal(response_ref(), registry)
    assert difference.startswith("`model.onnx` has the SHA-256 ")


def test_a_missing_file_is_refused(response_ref: Ref, copied: Copied) -> None:
    registry = copied()
    (registry / "response" / "1" / "model.onnx").unlink()
    assert refusal(response_ref(), registry) == ["`model.onnx` cannot be read: No such file or directory"]


def test_inputs_in_another_order_are_named(response_ref: Ref) -> None:
    names = list(response_ref().inputs)
    names[2], names[3] = names[3], names[2]
    assert refusal(response_ref(inputs=tuple(names)), SHIPPED) == [
        "input 2 is `customer.womens` in the bundle and `customer.mens` in the manifest",
        "input 3 is `customer.mens` in the bundle and `customer.womens` in the manifest",
    ]


def test_too_few_inputs_are_named(response_ref: Ref) -> None:
    assert refusal(response_ref(inputs=response_ref().inputs[:-1]), SHIPPED) == [
        "the bundle has 8 inputs and the manifest 9"
    ]


def test_another_prediction_is_named(response_ref: Ref) -> None:
    assert refusal(response_ref(predicts="churn"), SHIPPED) == [
        "the prediction is `churn` in the bundle and `response` in the manifest"
    ]


def test_all_differences_are_said_at_once(response_ref: Ref, copied: Copied) -> None:
    registry = copied(setting("file", "sha256", to="0" * 64))
    assert len(refusal(response_ref(predicts="churn", inputs=("customer.recency",)), registry)) == 3


def test_defaults_must_be_there_when_the_bundle_asks_for_them(response_ref: Ref, copied: Copied) -> None:
    registry = copied(setting("inputs", 1, "default", to=None))
    assert refusal(response_ref(on_missing="default"), registry) == [
        "input 1 `customer.history` has no default in the manifest, which `on_missing: default` needs"
    ]
    assert load_model(response_ref(), [registry])


def test_a_word_where_the_model_wants_a_number_is_refused(response_ref: Ref) -> None:
    facts = {"recency": fact("recency", "enum"), "channel": fact("channel", "float"), "mens": fact("mens", "int")}
    assert refusal(response_ref(), SHIPPED, facts=facts) == [
        "input 0 `customer.recency` is of type enum in the bundle and a number in the manifest",
        "input 6 `customer.channel` is of type float in the bundle and an enum in the manifest",
    ]


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        (setting("input", "name", to="features"), "the file takes `x` and the manifest says `features`"),
        (setting("output", "name", to="scores"), "the file gives `probabilities` and the manifest says `scores`"),
        (
            setting("output", "columns", to=3),
            "the output `probabilities` is [any, 2] in the file and [any, 3] in the manifest",
        ),
        (setting("output", "positive_column", to=2), "column 2 is not among the 2 of the output"),
    ],
    ids=["input name", "output name", "output width", "column"],
)
def test_a_manifest_that_does_not_fit_the_file_is_refused(
    response_ref: Ref, copied: Copied, change: Change, difference: str
) -> None:
    assert refusal(response_ref(), copied(change)) == [difference]


def test_a_file_of_another_width_is_refused(response_ref: Ref, copied: Copied) -> None:
    """Bundle and manifest agree on one input too many; only the file knows better."""
    extra = {"name": "customer.extra", "type": "number", "default": 0.0}
    registry = copied(lambda manifest: manifest["inputs"].append(extra))
    assert refusal(response_ref(inputs=(*response_ref().inputs, "customer.extra")), registry) == [
        "the input `x` is [any, 9] in the file and [any, 10] in the manifest"
    ]


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (setting("input", "dtype", to="float64"), "`input.dtype`"),
        (setting("file", "name", to="../model.onnx"), "`file.name`"),
        (setting("version", to="one"), "`version`"),
        (setting("inputs", 4, "default", to="Moon"), "the manifest cannot be used: 'Moon'"),
    ],
    ids=["dtype", "path", "version", "default outside the codes"],
)
def test_a_manifest_that_makes_no_sense_is_refused_by_place(
    response_ref: Ref, copied: Copied, change: Change, place: str
) -> None:
    (difference,) = refusal(response_ref(), copied(change))
    assert place in difference


def test_a_manifest_that_is_no_json_is_refused(response_ref: Ref, copied: Copied) -> None:
    registry = copied()
    (registry / "response" / "1" / "manifest.json").write_text("{")
    (difference,) = refusal(response_ref(), registry)
    assert difference.startswith("the manifest cannot be used")


def test_a_file_that_is_no_model_is_refused(small: Callable[[str], tuple[ModelRef, Path]]) -> None:
    ref, registry = small("nan_above_half")
    folder = registry / "small" / "1"
    manifest = json.loads((folder / "manifest.json").read_bytes())
    (folder / "model.onnx").write_bytes(b"no model")
    manifest["file"]["sha256"] = hashlib.sha256(b"no model").hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (difference,) = refusal(ref, registry)
    assert "no model that the runtime can open" in difference


@pytest.mark.parametrize(
    ("file", "difference"),
    [
        ("beyond_one", "a probe run returned a value outside 0 to 1"),
        ("two_rows_only", "the input `x` is made for 2 rows only"),
        ("other_output", "the file gives `scores` and the manifest says `probabilities`"),
    ],
)
def test_a_file_that_cannot_answer_is_refused(
    small: Callable[[str], tuple[ModelRef, Path]], file: str, difference: str
) -> None:
    assert difference in refusal(*small(file))
