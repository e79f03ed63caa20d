"""A decision request after its checks: every name resolved against the bundle, every bound known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from app.core.decision.commit import Idempotency
from app.core.identity import Alias
from policy.bundle import Placement

BUDGET_MS_MIN = 5
BUDGET_MS_MAX = 2000
PLACEMENTS_MAX = 8


class DecideRequest(NamedTuple):
    """What the caller asked, once it is known to be sound."""

    request_id: str
    customer: str | Alias
    placements: tuple[Placement, ...]  # in order of importance, none twice
    context: Mapping[str, Any]
    budget_ms: int
    explain: bool
    dry_run: bool
    idempotency: Idempotency | None
    trace_id: bytes | None  # of the caller's `traceparent`
    gpc: bool = False  # `Sec-GPC: 1`: a browser's Global Privacy Control, passed on
    unsubscribe: bool | None = None  # whether the answer carries unsubscribe links; None: as the placements say
