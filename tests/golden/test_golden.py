"""Whole answers, kept as files: facts and a request in, the answer out, with every member. One test reads them all.

A new file needs `case`, `bundle`, `facts`, `request`, `model` and `answer`; a member of `facts` that is not written is
that of a customer in Berlin who allowed everything.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from app.core.decision.answer import render
from app.core.decision.ids import id_at
from app.settings import DEMO_BUNDLE
from policy.bundle import Bundle
from policy.codes import Degraded, SuppressionReason
from policy.compile import load
from policy.facts import ConsentEntry, Facts, Suppression
from tests.support.contract import FOLDER
from tests.support.deciding import NOW_MS, contact, decide, facts_of, kind

FILES = sorted((Path(__file__).parent / "decisions").glob("*.yaml"))
GOLDEN = {path.stem: yaml.safe_load(path.read_text()) for path in FILES}


@pytest.fixture(scope="module")
def bundles() -> dict[str, Bundle]:
    return {"contract": load(FOLDER), "demo": load(DEMO_BUNDLE)}


@pytest.mark.parametrize("name", GOLDEN, ids=[each["case"] for each in GOLDEN.values()])
def test_golden(name: str, bundles: dict[str, Bundle]) -> None:
    golden = GOLDEN[name]
    assert answer_to(golden, bundles[golden["bundle"]]) == golden["answer"]


def test_there_are_golden_decisions() -> None:
    assert len(GOLDEN) >= 10
    assert len({each["case"] for each in GOLDEN.values()}) == len(GOLDEN)


def answer_to(golden: dict[str, Any], bundle: Bundle) -> list[dict[str, Any]]:
    """The `decisions` of an answer, explained, as a caller would parse them."""
    facts, request = facts_from(golden["facts"], bundle), golden["request"]
    model = golden["model"] if isinstance(golden["model"], dict) else Degraded(golden["model"])
    decided = decide(bundle, facts, request["placements"], request.get("context"), request["seed"], model)
    timezone = facts.timezone or request.get("context", {}).get("timezone")
    return [
        orjson.loads(render(each.decision, id_at("0" * 26, place), timezone, bundle, explain=True))
        for place, each in enumerate(decided.decisions)
    ]


def facts_from(written: dict[str, Any], bundle: Bundle) -> Facts:
    more = dict(written)
    if "consent" in more:
        more["consent"] = tuple(
            ConsentEntry(purpose, channel, state, "consent", "form", at_ms)
            for purpose, channel, state, at_ms in more["consent"]
        )
    if "suppressions" in more:
        more["suppressions"] = tuple(
            Suppression(scope, SuppressionReason(why), 0) for scope, why in more["suppressions"]
        )
    if "contacts" in more:  # [placement, message, ms from now]
        more["contacts"] = tuple(
            contact(kind(bundle.placements[where], what), NOW_MS + ms, number=number)
            for number, (where, what, ms) in enumerate(more["contacts"])
        )
    if "ages_ms" in more:
        more["as_of_ms"] = {source: NOW_MS - age_ms for source, age_ms in more.pop("ages_ms").items()}
    return facts_of(**more)
