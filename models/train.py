"""Trains the demo's response model and registers it.

    python -m models.train --data DIR [--out DIR] [--created YYYY-MM-DD]

Writes `model.onnx`, `trees.json`, `manifest.json` and `MODEL_CARD.md` to `models/registry/response/1`. The same data,
library versions and date give the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from models import response
from models.card import card
from models.contract import Input
from models.evaluate import FOLDS, Evaluation, as_json, evaluate
from models.hillstrom import Experiment, data_folder, read
from models.load import SHIPPED
from models.plain import from_dump

FOLDER = SHIPPED / response.NAME / str(response.VERSION)
LIBRARIES = ("lightgbm", "onnxmltools", "onnx", "onnxruntime", "numpy")
#: Old enough for every runtime in use; the trees themselves live in the domain `ai.onnx.ml`.
OPSET = 15


def train(experiment: Experiment, progress: Progress) -> Any:
    """The booster that is shipped: trained on every e-mailed customer."""
    emailed = response.emailed(experiment)
    rows = response.received(experiment, response.pairs(experiment))
    task = progress.add_task("training on all", total=response.TREES)
    return response.fit(rows[emailed], experiment.visit[emailed], [lambda _: progress.advance(task)])


def to_onnx(booster: Any) -> bytes:
    """Input `x` float32 [rows, inputs], output `probabilities` float32 [rows, 2].

    The converter's second output, the more likely class, is dropped: nothing asks for it, and every run would compute
    it.
    """
    from onnxmltools import convert_lightgbm
    from onnxmltools.convert.common.data_types import FloatTensorType

    shape = FloatTensorType([None, len(response.INPUTS)])
    model = convert_lightgbm(booster, initial_types=[("x", shape)], zipmap=False, target_opset=OPSET)
    kept = [output for output in model.graph.output if output.name == "probabilities"]
    del model.graph.output[:]
    model.graph.output.extend(kept)
    model.graph.name = response.NAME
    opsets = sorted(model.opset_import, key=lambda opset: opset.domain)  # the converter keeps them in a set
    del model.opset_import[:]
    model.opset_import.extend(opsets)
    file: bytes = model.SerializeToString(deterministic=True)
    return file


def manifest(file: bytes, experiment: Experiment, found: Evaluation, created: str | None) -> dict[str, Any]:
    return {
        "name": response.NAME,
        "version": response.VERSION,
        "predicts": response.PREDICTS,
        **({"created": created} if created else {}),
        "file": {"name": "model.onnx", "sha256": hashlib.sha256(file).hexdigest()},
        "input": {"name": "x", "dtype": "float32"},
        "inputs": [_input(column) for column in response.INPUTS],
        "output": {"name": "probabilities", "dtype": "float32", "columns": 2, "positive_column": 1},
        "training": {
            "data": "Hillstrom e-mail test, 70 % of the customers",
            "sha256": experiment.sha256,
            "rows": found.emailed,
            "target": "visit",
            "algorithm": "LightGBM",
            "parameters": {**response.PARAMETERS, "num_iterations": response.TREES},
            "libraries": {name: version(name) for name in LIBRARIES},
        },
        "metrics": as_json(found),
    }


def _input(column: Input) -> dict[str, Any]:
    if column.codes is None:
        return {"name": column.name, "type": "number", "default": column.default}
    word = next(word for word, code in column.codes.items() if code == column.default)
    return {"name": column.name, "type": "enum", "codes": dict(column.codes), "default": word}


def write(folder: Path, booster: Any, experiment: Experiment, found: Evaluation, created: str | None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    file = to_onnx(booster)
    (folder / "model.onnx").write_bytes(file)
    _write_json(folder / "manifest.json", manifest(file, experiment, found, created), indent=1)
    _write_json(folder / "trees.json", {"trees": from_dump(booster.dump_model())}, indent=None)
    (folder / "MODEL_CARD.md").write_text(card(found, experiment), encoding="utf-8")


def _write_json(path: Path, value: Any, indent: int | None) -> None:
    path.write_text(json.dumps(value, indent=indent, ensure_ascii=False) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description="Train and register the demo's response model.")
    parser.add_argument("--data", type=Path, default=data_folder(), help="folder with hillstrom_train.csv.gz")
    parser.add_argument("--out", type=Path, default=FOLDER, help="where the model is registered")
    parser.add_argument("--created", help="date for the manifest; left out, so that runs compare equal, when not given")
    asked = parser.parse_args()
    console = Console()
    columns = (TextColumn("{task.description:<24}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        experiment = read(asked.data)
        booster = train(experiment, progress)
        folds = progress.add_task("evaluating, by folds", total=FOLDS)
        found = evaluate(experiment, lambda: progress.advance(folds))
        write(asked.out, booster, experiment, found, asked.created)
    console.print(f"registered in {asked.out}; read {asked.out / 'MODEL_CARD.md'} before you believe it")


if __name__ == "__main__":
    main()
