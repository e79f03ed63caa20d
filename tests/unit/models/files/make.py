"""Writes the small ONNX files beside it, each good or bad in one way. Needs the package `onnx`; the tests do not.

    python tests/unit/models/files/make.py

All take `x` float32 [rows, any width] and give `probabilities` float32 [rows, 2], unless named otherwise. With x0 the
first column (a gap counts as 0) the propensity is sqrt(0.5 - x0): a probability up to 0.5, and NaN above it, which no
probe with small values finds out.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

HERE = Path(__file__).parent


def constant(name: str, value: object, dtype: type) -> onnx.TensorProto:
    return numpy_helper.from_array(np.array(value, dtype), name)


def propensity_nodes(scale: float) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    nodes = [
        helper.make_node("Gather", ["x", "first"], ["raw"], axis=1),
        helper.make_node("IsNaN", ["raw"], ["gap"]),
        helper.make_node("Where", ["gap", "zero", "raw"], ["x0"]),
        helper.make_node("Sub", ["half", "x0"], ["rest"]),
        helper.make_node("Sqrt", ["rest"], ["root"]),
        helper.make_node("Mul", ["root", "scale"], ["p"]),
        helper.make_node("Sub", ["one", "p"], ["q"]),
        helper.make_node("Concat", ["q", "p"], ["probabilities"], axis=1),
    ]
    constants = [
        constant("first", [0], np.int64),
        constant("zero", 0, np.float32),
        constant("half", 0.5, np.float32),
        constant("scale", scale, np.float32),
        constant("one", 1, np.float32),
    ]
    return nodes, constants


def write(name: str, scale: float = 1.0, rows: int | str = "rows", output: str = "probabilities") -> None:
    nodes, constants = propensity_nodes(scale)
    nodes[-1].output[0] = output
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [rows, "width"])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, [rows, 2])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)
    onnx.checker.check_model(model)
    (HERE / f"{name}.onnx").write_bytes(model.SerializeToString(deterministic=True))


if __name__ == "__main__":
    write("nan_above_half")
    write("beyond_one", scale=3.0)
    write("two_rows_only", rows=2)
    write("other_output", output="scores")
