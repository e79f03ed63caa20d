"""Models to test with: the two that ship, and small ONNX files that are bad in one way each."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from models import hillstrom
from models.load import SHIPPED
from policy.bundle import ModelRef

FILES = Path(__file__).parent / "files"
STANDARD = Path(__file__).parents[3] / "loadtests" / "standard" / "bundle" / "registry"
RESPONSE_INPUTS = (
    "customer.recency",
    "customer.history",
    "customer.mens",
    "customer.womens",
    "customer.zip_code",
    "customer.newbie",
    "customer.channel",
    "message.is_mens",
    "message.is_womens",
)
STANDARD_INPUTS = (*(f"customer.f{i}" for i in range(20)), *(f"message.m{i}" for i in range(4)))


def ref(inputs: tuple[str, ...], name: str = "response", **other: Any) -> ModelRef:
    fields = {"index": 0, "version": 1, "predicts": "response", "purposes": frozenset({"personalisation"})}
    return ModelRef(id=name, inputs=inputs, **{**fields, "on_missing": "nan", **other})


@pytest.fixture
def response_ref() -> Callable[..., ModelRef]:
    """The demo bundle's reference to its model, with changes."""
    return lambda **changes: ref(changes.pop("inputs", RESPONSE_INPUTS), **changes)


@pytest.fixture
def standard_ref() -> ModelRef:
    return ref(STANDARD_INPUTS, "standard")


@pytest.fixture
def standard_registry() -> Path:
    return STANDARD


@pytest.fixture
def copied(tmp_path: Path) -> Callable[..., Path]:
    """A registry that holds the demo's model, its manifest changed by the given function."""

    def copy(change: Callable[[dict[str, Any]], None] = lambda _: None) -> Path:
        source, target = SHIPPED / "response" / "1", tmp_path / "response" / "1"
        target.mkdir(parents=True)
        manifest = json.loads((source / "manifest.json").read_bytes())
        change(manifest)
        (target / "manifest.json").write_text(json.dumps(manifest))
        (target / "model.onnx").write_bytes((source / "model.onnx").read_bytes())
        return tmp_path

    return copy


@pytest.fixture
def small(tmp_path: Path) -> Callable[[str], tuple[ModelRef, Path]]:
    """One of the small files, registered as a model `small` of two customer facts and one message feature."""

    def register(file_name: str) -> tuple[ModelRef, Path]:
        file = (FILES / f"{file_name}.onnx").read_bytes()
        inputs = ("customer.a", "customer.b", "message.m")
        folder = tmp_path / "small" / "1"
        folder.mkdir(parents=True)
        manifest = {
            "name": "small",
            "version": 1,
            "predicts": "response",
            "file": {"name": "model.onnx", "sha256": hashlib.sha256(file).hexdigest()},
            "input": {"name": "x", "dtype": "float32"},
            "inputs": [{"name": name, "default": 0.0} for name in inputs],
            "output": {"name": "probabilities", "dtype": "float32", "columns": 2, "positive_column": 1},
        }
        (folder / "manifest.json").write_text(json.dumps(manifest))
        (folder / "model.onnx").write_bytes(file)
        return ref(inputs, "small"), tmp_path

    return register


@pytest.fixture(scope="session")
def experiment() -> hillstrom.Experiment:
    """The training data, where it is."""
    try:
        return hillstrom.read(hillstrom.data_folder())
    except FileNotFoundError:
        pytest.skip("the Hillstrom data is not here; set NEXTBEST_DATA to its folder")
