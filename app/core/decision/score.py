"""Step `score`: what a model said of the candidates, or why none did. Fails open: without scores, rules rank.

Running the model is the shell's business; this file says what shall be run and reads what came back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from app.core.decision.eligible import Pool
from app.core.decision.gate import Gate
from policy.bundle import ModelRef, Placement
from policy.codes import Degraded


class Scoring(NamedTuple):
    """Predicted probability of a response for each position of the pool, in its order; empty: not scored."""

    responses: Sequence[float] = ()
    degraded: Degraded | None = None  # why a model that was wanted did not answer


NOT_SCORED = Scoring()


def model_to_run(placement: Placement, pool: Pool, gate: Gate) -> ModelRef | None:
    """The model to score the pool with; None where the gate or a freshness contract forbids it, or nobody is left."""
    if gate.stop is not None or not gate.personal or pool.ranked_by_rules or not pool.positions:
        return None
    return placement.model
