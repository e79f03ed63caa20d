"""What rounds beside a load came to, kept as raw figures."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from typing import Any

import pytest

from loadtests import beside
from loadtests.driver import Tally, Target


def test_decisions_that_failed_are_kept_by_how(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that met one failure ended in a traceback, its last hour of figures unwritten."""

    def failing(_: Any) -> Tally:
        if hasattr(_, "close"):
            _.close()  # what would have been awaited
        return Tally(latencies_ns=[1_000_000], late_ns=[1_000], failures=Counter({"503": 2}))

    monkeypatch.setattr(beside, "run", failing)
    load = beside.Load(lambda count: [b""] * count, 1.0)
    found = beside.compare(lambda: Target("127.0.0.1", 1, iter(())), 1.0, load, 0.01, 1)
    assert json.loads(json.dumps(asdict(found)))["decisions_failed"] == {"503": 4}
