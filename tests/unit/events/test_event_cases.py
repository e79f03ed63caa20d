"""`policy/cases/events.yaml`: what becomes of an event. Every case is a test, named by its sentence."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.core.events.event import Collected, Letter
from tests.support.event_bundle import NOW_MS, judged, told

TABLE = yaml.safe_load((Path(__file__).parents[3] / "policy" / "cases" / "events.yaml").read_text())["cases"]
UNITS_S = {"minutes": 60, "hours": 3600, "days": 86_400}


@pytest.mark.parametrize("case", TABLE, ids=[each["case"] for each in TABLE])
def test_what_becomes_of_an_event(case: dict[str, Any]) -> None:
    result = judged(told(case["event"], case["told"], at=_time(case.get("happened", "now")))).result
    if isinstance(result, Collected):
        assert case["becomes"] == "collected", result
        assert result.properties == case["kept"]
        assert {type(each) for each in result.properties.values()} == {type(each) for each in case["kept"].values()}
    elif isinstance(result, Letter):
        assert result.misfit.code == case["becomes"], result
    else:
        assert case["becomes"] == "passed over", result


def _time(words: str) -> str | None:
    if words == "now":
        return None
    found = re.fullmatch(r"(in )?(\d+) (\w+)( ago)?", words)
    assert found is not None, words
    shift_s = int(found[2]) * UNITS_S[found[3]] * (1 if found[1] else -1)
    return datetime.fromtimestamp(NOW_MS / 1000 + shift_s, UTC).isoformat()
