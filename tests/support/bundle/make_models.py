"""Writes the models of this bundle: `moody`, `touchy` and `bursty`, which do what the customer's `mood` says.

    python tests/support/bundle/make_models.py

Needs the package `onnx`; the tests do not. All take `x` float32 [rows, 2] (mood, pull; a gap is 0) and give
`probabilities` float32 [rows, 2]; the propensity is 0.1 + 0.2 pull.

| mood | what happens |
|---|---|
| 0 | all well |
| 1 | NaN |
| 2 | a row is missing from the answer |
| 3 | the run fails |
| 4 | it takes about 0.3 s |
| 5 | it takes several seconds, which to a decision is for ever |

`moody` always costs more than the event loop may be held, so that it runs in a scoring thread. `touchy` is quick and
has no loop inside: it runs inline. `bursty` is quick until a mood makes it slow, which no probe could tell.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

REGISTRY = Path(__file__).parent / "registry"
LOOPS_ALWAYS = {"moody": 1_000, "bursty": 0}
LOOPS_SLOW, LOOPS_ENDLESS = 150_000, 1_500_000
SIZE = 64

node, info = helper.make_node, helper.make_tensor_value_info


def constant(name: str, value: object, dtype: type) -> onnx.TensorProto:
    return numpy_helper.from_array(np.array(value, dtype), name)


def inputs() -> list[onnx.NodeProto]:
    """`mood`, with gaps filled, and `pull`."""
    return [
        node("IsNaN", ["x"], ["gap"]),
        node("Where", ["gap", "zero", "x"], ["filled"]),
        node("Split", ["filled", "one_each"], ["mood", "pull"], axis=1),
    ]


def answers() -> list[onnx.NodeProto]:
    """`probabilities`, where NaN, a missing row and a failure are chosen by `mood`. Adds `spent`, always 0."""
    return [
        node("Mul", ["pull", "fifth"], ["worth"]),
        node("Add", ["worth", "tenth"], ["plain"]),
        node("Equal", ["mood", "mood_nan"], ["is_nan"]),
        node("Where", ["is_nan", "nan", "plain"], ["honest"]),
        node("Equal", ["mood", "mood_failing"], ["is_failing"]),
        node("Where", ["is_failing", "far_away", "nearby"], ["places"]),
        node("Gather", ["nothings", "places"], ["nothing"]),
        node("Add", ["honest", "nothing"], ["p0"]),
        node("Add", ["p0", "spent"], ["p"]),
        node("Sub", ["one", "p"], ["q"]),
        node("Concat", ["q", "p"], ["all_rows"], axis=1),
        node("Equal", ["mood", "mood_shape"], ["is_short"]),
        node("Not", ["is_short"], ["stays"]),
        node("Reshape", ["stays", "flat"], ["kept"]),
        node("Compress", ["all_rows", "kept"], ["probabilities"], axis=0),
    ]


def effort() -> list[onnx.NodeProto]:
    """`spent`: zero, after as many rounds of a loop as the mood asks for."""
    body = helper.make_graph(
        [node("Identity", ["go"], ["on"]), node("MatMul", ["v", "turn"], ["v_next"])],
        "round",
        [info("i", TensorProto.INT64, []), info("go", TensorProto.BOOL, []), info("v", TensorProto.FLOAT, [1, SIZE])],
        [info("on", TensorProto.BOOL, []), info("v_next", TensorProto.FLOAT, [1, SIZE])],
    )
    return [
        node("ReduceMax", ["mood"], ["worst"], keepdims=0),
        node("GreaterOrEqual", ["worst", "mood_slow"], ["is_slow"]),
        node("GreaterOrEqual", ["worst", "mood_endless"], ["is_endless"]),
        node("Where", ["is_slow", "loops_slow", "loops_always"], ["at_least"]),
        node("Where", ["is_endless", "loops_endless", "at_least"], ["rounds"]),
        node("Loop", ["rounds", "yes", "start"], ["end"], body=body),
        node("ReduceSum", ["end", "all_axes"], ["sum"], keepdims=0),
        node("Mul", ["sum", "zero"], ["spent"]),
    ]


def constants(always: int) -> list[onnx.TensorProto]:
    floats = {"zero": 0, "one": 1, "fifth": 0.2, "tenth": 0.1, "nan": np.nan, "nothings": [0]}
    moods = {"mood_nan": 1, "mood_shape": 2, "mood_failing": 3, "mood_slow": 4, "mood_endless": 5}
    whole = {"one_each": [1, 1], "flat": [-1], "nearby": 0, "far_away": 1000, "all_axes": [0, 1]}
    rounds = {"loops_always": always, "loops_slow": LOOPS_SLOW, "loops_endless": LOOPS_ENDLESS}
    return [
        *(constant(name, value, np.float32) for name, value in (floats | moods).items()),
        *(constant(name, value, np.int64) for name, value in (whole | rounds).items()),
        constant("yes", True, np.bool_),
        constant("start", np.zeros((1, SIZE)), np.float32),
        constant("turn", np.eye(SIZE), np.float32),
    ]


def write(name: str, nodes: list[onnx.NodeProto], always: int) -> None:
    used = {word for each in nodes for word in each.input} | {"turn"}
    graph = helper.make_graph(
        nodes,
        name,
        [info("x", TensorProto.FLOAT, ["rows", 2])],
        [info("probabilities", TensorProto.FLOAT, ["kept", 2])],
        [each for each in constants(always) if each.name in used],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)
    onnx.checker.check_model(model)
    file = model.SerializeToString(deterministic=True)
    folder = REGISTRY / name / "1"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(file)
    manifest = {
        "name": name,
        "version": 1,
        "predicts": "response",
        "file": {"name": "model.onnx", "sha256": hashlib.sha256(file).hexdigest()},
        "input": {"name": "x", "dtype": "float32"},
        "inputs": [{"name": "customer.mood"}, {"name": "message.pull"}],
        "output": {"name": "probabilities", "dtype": "float32", "columns": 2, "positive_column": 1},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")


if __name__ == "__main__":
    for looping, rounds_always in LOOPS_ALWAYS.items():
        write(looping, inputs() + effort() + answers(), rounds_always)
    write("touchy", [*inputs(), node("Identity", ["zero"], ["spent"]), *answers()], 0)
