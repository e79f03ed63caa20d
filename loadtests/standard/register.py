"""Registers the standard job's model in the registry of its bundle.

    python loadtests/standard/register.py path/to/standard.onnx

Copies the file unchanged and writes the manifest beside it: 20 numbers of the customer, 4 of the message.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

FOLDER = Path(__file__).parent / "bundle" / "registry" / "standard" / "1"


def manifest(file: bytes) -> dict[str, object]:
    names = [f"customer.f{i}" for i in range(20)] + [f"message.m{i}" for i in range(4)]
    return {
        "name": "standard",
        "version": 1,
        "predicts": "response",
        "file": {"name": "model.onnx", "sha256": hashlib.sha256(file).hexdigest()},
        "input": {"name": "x", "dtype": "float32"},
        "inputs": [{"name": name, "type": "number", "default": 0.5} for name in names],
        "output": {"name": "probabilities", "dtype": "float32", "columns": 2, "positive_column": 1},
        "about": "LightGBM, 100 trees of 31 leaves, for measuring speed; its scores mean nothing",
    }


def register(source: Path, folder: Path = FOLDER) -> None:
    file = source.read_bytes()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(file)
    (folder / "manifest.json").write_text(json.dumps(manifest(file), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: register.py path/to/standard.onnx")
    register(Path(sys.argv[1]))
    print(f"registered in {FOLDER}")
