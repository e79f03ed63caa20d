"""Scores of the exported trees in plain Python, to check every other way of scoring against.

`trees.json` is written from the trainer's own dump, not from the ONNX file, so that the two can disagree. A node is
`[input, threshold, missing_left, left, right]` and a leaf is its value. A row goes left where its value is missing and
`missing_left`, or where value ≤ threshold. The score is sigmoid(sum of leaves).
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

Node: TypeAlias = "float | list[Any]"


def read_trees(path: Path) -> list[Node]:
    trees: list[Node] = json.loads(path.read_bytes())["trees"]
    return trees


def score(trees: Sequence[Node], row: Sequence[float]) -> float:
    """The probability for one row of inputs; NaN is missing."""
    total = math.fsum(_leaf(tree, row) for tree in trees)
    return 1.0 / (1.0 + math.exp(-total))


def _leaf(node: Node, row: Sequence[float]) -> float:
    while isinstance(node, list):
        column, threshold, missing_left, left, right = node
        value = row[column]
        goes_left = missing_left if math.isnan(value) else value <= threshold
        node = left if goes_left else right
    return float(node)


def from_dump(dump: dict[str, Any]) -> list[Node]:
    """The trees of a LightGBM `dump_model()`. Raises `ValueError` on what the training here never makes."""
    return [_from_dump(tree["tree_structure"]) for tree in dump["tree_info"]]


def _from_dump(node: dict[str, Any]) -> Node:
    if "leaf_value" in node:
        return float(node["leaf_value"])
    if node["decision_type"] != "<=" or node["missing_type"] != "NaN":
        raise ValueError(f"a split `{node['decision_type']}` with missing type `{node['missing_type']}`")
    return [
        node["split_feature"],
        node["threshold"],
        node["default_left"],
        _from_dump(node["left_child"]),
        _from_dump(node["right_child"]),
    ]
