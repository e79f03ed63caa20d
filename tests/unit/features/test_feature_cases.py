"""The table of features in `policy/cases`: what happened → what a feature is. Every case is a test."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from app.core.events.event import Event, Scalar
from app.core.features.history import folded
from app.core.features.plan import FoldPlan
from app.core.features.read import read
from policy import source
from policy.feature_rules import feature_rules
from tests.support.folding import documents_of, event

TABLE = source.read((Path(__file__).parents[3] / "policy" / "cases" / "features.yaml").read_text()).data()["cases"]
TEXTS = {"product", "category"}


def instant_ms(text: str) -> int:
    return int(datetime.strptime(text, "%Y-%m-%d %H:%M").replace(tzinfo=UTC).timestamp() * 1000)


def event_of(line: str) -> Event:
    day, time, kind, *given = line.split()
    pairs = [each.partition("=") for each in given]
    properties: dict[str, Scalar] = {name: text if name in TEXTS else orjson.loads(text) for name, _, text in pairs}
    return event(kind, instant_ms(f"{day} {time}"), **properties)


def plan_of_one(feature: dict[str, Any]) -> FoldPlan:
    return FoldPlan.of_rules(feature_rules(documents_of(orjson.dumps({"it": feature}).decode())))


@pytest.mark.parametrize("case", TABLE, ids=[each["case"] for each in TABLE])
def test_a_feature_is_what_the_table_says(case: dict[str, Any]) -> None:
    plan = plan_of_one(case["feature"])
    events = [event_of(line) for line in case["events"]]
    for order in (events, events[::-1]):
        value = read(plan, folded(plan, order), instant_ms(case["at"])).get("it", "missing")
        assert value == case["is"]
        assert type(value) is type(case["is"])


def test_every_case_has_a_sentence_of_its_own() -> None:
    sentences = [each["case"] for each in TABLE]
    assert len(sentences) == len(set(sentences))
