"""A loaded model: its ONNX session, its known cost, its circuit, and the check that its answers are probabilities."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np

from models.breaker import Breaker
from models.contract import Manifest, Matrix

#: How far rounding may carry a float32 probability outside [0, 1].
TOLERANCE = 1e-6
#: Operators that repeat what they hold as often as some value says, as a model file spells them (`op_type`, field 4 of
#: NodeProto: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto). No probe can tell what such a model will cost.
LOOPS = (b"\x22\x04Loop", b"\x22\x04Scan")
#: So it is taken for dearer than what may hold an event loop, and runs in a thread, where a deadline can leave it.
LOOPING_S_LEAST = 1e-3


class ModelFailed(Exception):
    """A model gave no usable answer. The text says how, and holds no value of any customer."""


class Session:
    """An ONNX session that is cheap to run for the few rows of one decision, and gives the same bits every time.

    One thread (with two, the bits differ by batch size), no spinning (it would take the event loop's core), all nodes
    in order.
    """

    __slots__ = ("_feed", "_onnx", "_outputs", "loops", "manifest")

    def __init__(self, file: bytes, manifest: Manifest) -> None:
        self.manifest = manifest
        self.loops = any(word in file for word in LOOPS)
        self._onnx = _open(file)
        self._feed = manifest.input_name
        self._outputs = [manifest.output_name]

    @property
    def onnx(self) -> Any:
        """The runtime's own session, for checks at load."""
        return self._onnx

    def run(self, matrix: Matrix) -> Any:
        """All output columns, [rows, columns]. May run in any number of threads at once."""
        return self._onnx.run(self._outputs, {self._feed: matrix})[0]


def _open(file: bytes) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    # Fatal only. What it says of a failed run goes to stderr past every log setting and may quote the value of a fact;
    # the failure itself is raised.
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])


class Cost:
    """What a run costs, known before it starts: a line through two probes, corrected by what runs really took.

    Whatever disturbs a run makes it slower (on a busy machine a hundred times, every few seconds), so only the best of
    every three runs counts; the correction goes half the way up to it, and all the way down, since a quick run proves
    what is possible. A pause of the machine changes nothing, a model that has become slow leaves the event loop after
    at most five slow runs, and one that is quick again comes back after at most five quick ones.
    """

    __slots__ = ("_base_s", "_best", "_correction", "_least_s", "_row_s", "_seen")

    def __init__(self, base_s: float, row_s: float, least_s: float = 0.0) -> None:
        """`least_s`: whatever was measured, it is not to be taken for quicker."""
        self._least_s = least_s
        self._base_s = base_s
        self._row_s = row_s
        self._correction = 1.0
        self._best = math.inf  # of the runs seen since the last correction, as a multiple of what the line says
        self._seen = 0

    def seconds(self, rows: int) -> float:
        return max(self._least_s, (self._base_s + self._row_s * rows) * self._correction)

    def observe(self, rows: int, seconds: float) -> None:
        self._best = min(self._best, seconds / (self._base_s + self._row_s * rows))
        self._seen += 1
        if self._seen == 3:
            self._correction = min(self._best, (self._correction + self._best) / 2)
            self._best, self._seen = math.inf, 0


def measure_cost(session: Session, rows_max: int = 200) -> Cost:
    """Probe one row and `rows_max` rows, best of a few, since whatever disturbs a probe makes it slower."""
    least_s = LOOPING_S_LEAST if session.loops else 0.0
    one_s = _best_s(session, 1)
    if one_s > 0.02:  # so slow that nothing more needs to be known: it will never run inline
        return Cost(one_s, one_s, least_s)
    many_s = max(_best_s(session, rows_max), one_s)
    row_s = (many_s - one_s) / (rows_max - 1)
    return Cost(max(one_s - row_s, 1e-6), row_s, least_s)


def _best_s(session: Session, rows: int) -> float:
    matrix = np.zeros((rows, len(session.manifest.inputs)), np.float32)
    best_s = math.inf
    for _ in range(7):
        start_s = time.perf_counter()
        session.run(matrix)
        best_s = min(best_s, time.perf_counter() - start_s)
        if best_s > 0.02:
            break
    return best_s


class Model:
    """A model in use by this process. Compared by identity: two bundles may name the same file and fail apart."""

    __slots__ = ("breaker", "cost", "manifest", "session")

    def __init__(self, manifest: Manifest, session: Session, cost: Cost, breaker: Breaker | None = None) -> None:
        self.manifest = manifest
        self.session = session
        self.cost = cost
        self.breaker = breaker or Breaker()

    @property
    def name(self) -> str:
        """`<id>/<version>`, for records and metrics."""
        return f"{self.manifest.name}/{self.manifest.version}"

    def propensities(self, answers: Any, rows: int) -> list[float]:
        """The probability of a response for each row, from what the session returned.

        Raises `ModelFailed` unless all answers are finite probabilities in the promised shape: a wrong number here
        would rank messages by nonsense, and the `rules` rung is better than that.
        """
        shape = getattr(answers, "shape", None)
        if shape != (rows, self.manifest.output_columns):
            raise ModelFailed(f"returned the shape {shape}, not {(rows, self.manifest.output_columns)}")
        # Plain lists: for the few rows of a decision they are twice as fast as two numpy reductions.
        scores: list[float] = answers[:, self.manifest.positive_column].tolist()
        if not math.isfinite(sum(scores)):  # NaN and infinity survive a sum; `min` and `max` may step over a NaN
            raise ModelFailed("returned NaN or infinity")
        if scores and not (min(scores) >= 0.0 and max(scores) <= 1.0):
            if not (min(scores) >= -TOLERANCE and max(scores) <= 1.0 + TOLERANCE):
                raise ModelFailed("returned a value outside 0 to 1")
            scores = [min(max(score, 0.0), 1.0) for score in scores]
        return scores
