"""Training is reproducible: the shipped file comes from the data, to the byte. Where the training libraries are."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

from models.hillstrom import Experiment
from models.load import SHIPPED

pytest.importorskip("lightgbm", reason="training libraries are not installed")
pytest.importorskip("onnxmltools", reason="training libraries are not installed")

FOLDER = SHIPPED / "response" / "1"


def same_libraries() -> bool:
    trained_with = json.loads((FOLDER / "manifest.json").read_bytes())["training"]["libraries"]
    return all(version(name) == trained_with[name] for name in ("lightgbm", "onnxmltools", "onnx"))


@pytest.mark.skipif(not same_libraries(), reason="other versions of the training libraries may give other bytes")
def test_the_shipped_model_comes_from_the_data_to_the_byte(experiment: Experiment) -> None:
    from rich.progress import Progress

    from models.train import to_onnx, train

    with Progress(disable=True) as progress:
        assert to_onnx(train(experiment, progress)) == (FOLDER / "model.onnx").read_bytes()


def test_gaps_are_made_of_customers_facts_mostly() -> None:
    from models.response import CUSTOMER_INPUTS, with_gaps

    gaps = np.isnan(with_gaps(np.zeros((4_000, 9), np.float32), seed=1))
    assert gaps[:, :CUSTOMER_INPUTS].mean() == pytest.approx(0.37, abs=0.02)
    assert gaps[:, CUSTOMER_INPUTS:].mean() < 0.05
    assert gaps[:, :CUSTOMER_INPUTS].all(axis=1).mean() == pytest.approx(0.1, abs=0.02)


def test_serving_needs_none_of_the_training_libraries() -> None:
    """Checked in a process of its own, because this one may have loaded them."""
    import subprocess
    import sys

    heavy = {"lightgbm", "pandas", "sklearn", "onnx", "onnxmltools", "scipy", "matplotlib"}
    code = f"import sys, models.load, models.scorer, models.contract; sys.exit(bool({heavy!r} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3], check=False).returncode == 0
