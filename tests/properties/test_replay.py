"""G8 as a property: whatever is known and whatever is asked, the record decides again to the same bytes."""

from __future__ import annotations

import dataclasses
import json
from array import array
from functools import cache
from pathlib import Path
from typing import Any

import orjson
import ormsgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.core.decision.record import decode
from app.core.decision.replay import replay
from app.core.decision.view import view
from app.settings import DEMO_BUNDLE
from policy.bundle import Bundle
from policy.codes import Action, Rung, SuppressionReason
from policy.compile import from_canonical, load
from policy.facts import Facts, Suppression
from tests.support.contract import FOLDER
from tests.support.deciding import NOW_MS, Decided, decide, facts_of, granted
from tests.support.strategies import customers, requests

ROOT = Path(__file__).parents[2]
BUNDLES = {
    "contract": FOLDER,
    "standard": ROOT / "loadtests" / "standard" / "bundle",
    "demo": DEMO_BUNDLE,
    "complete": ROOT / "tests" / "unit" / "policy" / "bundles" / "complete",
}
FEW = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@cache
def bundle_named(name: str) -> Bundle:
    return load(BUNDLES[name])


@st.composite
def decided(draw: st.DrawFn, bundle: Bundle) -> tuple[Facts, dict[str, Any], Decided]:
    facts, request = draw(customers(bundle)), draw(requests(bundle))
    return facts, request, decide(bundle, facts, **request)


@pytest.mark.parametrize("name", BUNDLES)
@FEW
@given(data=st.data())
def test_a_record_decides_again_to_the_same_bytes(name: str, data: st.DataObject) -> None:
    bundle = bundle_named(name)
    _, _, first = data.draw(decided(bundle))
    again = replay(decode(first.record, from_canonical(bundle.canonical)))
    assert [each.answer for each in again] == [each.answer for each in first.decisions]
    assert all(each.same for each in again)


@pytest.mark.parametrize("name", BUNDLES)
@FEW
@given(data=st.data())
def test_a_record_read_back_says_what_was_decided_and_can_be_shown(name: str, data: st.DataObject) -> None:
    bundle = bundle_named(name)
    facts, _, first = data.draw(decided(bundle))
    record = decode(first.record, bundle)
    for place, (recorded, made) in enumerate(zip(record.decisions, first.decisions, strict=True)):
        original = made.decision
        assert recorded._replace(excluded={}, scored=(), responses=(), scores=(), admissible=()) == original._replace(
            excluded={}, scored=(), responses=(), scores=(), admissible=()
        )
        for member in ("scored", "responses", "scores", "admissible"):
            assert list(getattr(recorded, member)) == list(getattr(original, member))
        assert {at: why.code for at, why in (recorded.excluded or {}).items()} == {
            at: why.code for at, why in (original.excluded or {}).items()
        }
        shown = json.loads(orjson.dumps(view(record, place, aborted=False)))
        assert shown["placement"] == original.placement.id
    for name_of_fact, value in record.facts.values.items():
        assert facts.values[name_of_fact] == value
    assert record.facts.consent == facts.consent
    assert record.facts.suppressions == facts.suppressions


@pytest.mark.parametrize("name", ["contract", "standard"])
@FEW
@given(data=st.data())
def test_what_every_decision_promises_holds_for_all_of_them(name: str, data: st.DataObject) -> None:
    """A send has an admissible message, a window and a propensity; every candidate has one reason or is the chosen."""
    bundle = bundle_named(name)
    _, _, first = data.draw(decided(bundle))
    sent = []
    for place in range(len(first.decisions)):
        shown = view(decode(first.record, bundle), place, aborted=False)
        decision = first.decisions[place].decision
        funnel = shown["funnel"]
        assert funnel["candidates"] >= funnel["eligible"] >= funnel["admissible"] >= 0
        assert funnel["scored"] in (0, funnel["eligible"])
        if decision.action is Action.SEND:
            assert decision.position in decision.admissible
            assert shown["send_window"] is not None
            assert shown["propensity"] == 1.0
            sent.append(shown["message"]["id"])
        else:
            assert (shown["message"], shown["send_window"], shown["propensity"]) == (None, None, None)
        if decision.rung is not Rung.SUPPRESS:
            told = [line["message"] for line in shown["excluded"]]
            chosen = [shown["message"]["id"]] if shown["message"] else []
            everybody = [candidate.message.id for candidate in decision.placement.candidates]
            assert sorted(told + chosen) == sorted(everybody)
    assert len(sent) == len(set(sent)), "a message was given twice"


@pytest.mark.parametrize("name", ["contract", "standard", "demo"])
@FEW
@given(data=st.data())
def test_a_record_made_without_leave_to_personalise_holds_no_personal_value(name: str, data: st.DataObject) -> None:
    bundle = bundle_named(name)
    facts, request = data.draw(customers(bundle)), data.draw(requests(bundle))
    silent = tuple(entry for entry in facts.consent if entry.purpose != "personalisation")
    facts = facts._replace(consent=silent, region="DE")
    record = decode(decide(bundle, facts, **request).record, bundle)
    personal = {fact.name for fact in bundle.facts if fact.sensitivity != "none"}
    assert not personal & set(record.facts.values)


@FEW
@given(data=st.data())
def test_personal_facts_make_no_difference_without_leave_to_read_them(data: st.DataObject) -> None:
    bundle = bundle_named("contract")
    facts, request = data.draw(customers(bundle)), data.draw(requests(bundle))
    silent = tuple(entry for entry in facts.consent if entry.purpose != "personalisation")
    facts = facts._replace(consent=silent, region="DE")
    impersonal = {name: value for name, value in facts.values.items() if name in ("newbie", "channel")}
    with_all = decide(bundle, facts, **request)
    without = decide(bundle, facts._replace(values=impersonal), **request)
    assert [each.answer for each in with_all.decisions] == [each.answer for each in without.decisions]
    assert with_all.record == without.record


KNOWN = {"recency": 3, "zip_code": "Rural"}


@pytest.mark.parametrize(
    "altered",
    [
        {"values": KNOWN | {"recency": 40}},
        {"values": KNOWN | {"zip_code": "Urban"}},
        {"values": {"zip_code": "Rural"}},
        {"consent": (granted("personalisation"),)},
        {"consent": (granted("marketing"),)},
        {"suppressions": (Suppression("*", SuppressionReason.COMPLAINT, 0),)},
        {"timezone": "Asia/Tokyo"},
        {"now_ms": NOW_MS + 1000},
    ],
    ids=str,
)
def test_an_altered_fact_does_not_replay(altered: dict[str, Any]) -> None:
    bundle = bundle_named("contract")
    first = decide(bundle, facts_of(KNOWN), ["weekly"], model={"alpha": 0.1, "beta": 0.2, "gamma": 0.3})
    record = decode(first.record, bundle)
    assert [each.same for each in replay(record)] == [True]
    facts = record.facts._replace(**altered)
    assert [each.same for each in replay(dataclasses.replace(record, facts=facts))] == [False]


@pytest.mark.parametrize("score", [0.4375, 0.75])
def test_an_altered_score_is_seen(score: float) -> None:
    bundle = bundle_named("contract")
    first = decide(bundle, facts_of(KNOWN), ["weekly"], model={"alpha": 0.5, "beta": 0.25})
    raw = ormsgpack.unpackb(first.record)
    raw[8][0][13] = array("f", [score, 0.25]).tobytes()
    assert [each.same for each in replay(decode(ormsgpack.packb(raw), bundle))] == [False]


def test_another_bundle_under_the_same_record_is_seen() -> None:
    bundle = bundle_named("contract")
    first = decide(bundle, facts_of(KNOWN), ["weekly"], model={"alpha": 0.5, "beta": 0.25})
    reworded = from_canonical(bundle.canonical.replace(b"in red", b"in RED").replace(b"of red", b"of RED"))
    seeds = [decode(first.record, each) for each in (bundle, reworded)]
    assert [[each.same for each in replay(record)] for record in seeds] == [[True], [False]]
