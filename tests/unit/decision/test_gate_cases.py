"""`policy/cases/gate.yaml`: every case is a test, named by its sentence."""

from __future__ import annotations

from typing import Any

from app.core.decision.arbitrate import Decision
from app.core.decision.failed import unknown_situation, without_facts
from app.core.decision.record import decode
from app.core.decision.replay import replay
from policy.codes import Degraded
from policy.control import Control, Switch
from policy.facts import Facts
from tests.support.cases import instant_ms, table
from tests.support.deciding import NOW_MS, Decided, decide, facts_of, granted
from tests.support.pharmacy import off, pharmacy
from tests.support.said import consent_of, suppression_of

EVERYTHING = (granted("marketing"), granted("personalisation"))
KNOWN = {"recency": 3, "visits": 9, "chronic": True, "newbie": False}


@table("gate")
def test_gate(case: dict[str, Any]) -> None:
    decision, decided = decided_in(case)
    message = decision.message.id if decision.message else "nothing"
    assert f"{message} ({decision.rung.value}, {decision.reason.value})" == case["answer"]
    assert decision.detail == case.get("detail", "")
    assert decision.degraded == tuple(case.get("degraded", ()))
    excluded = {decision.placement.candidates[at].message.id: why.code for at, why in (decision.excluded or {}).items()}
    for name, code in case.get("left out", {}).items():
        assert excluded[name] == code
    if decided is not None:
        record = decode(decided.record, pharmacy(case.get("silence", "generic")))
        if "read" in case:
            assert sorted(record.facts.values) == case["read"]
        assert [each.same for each in replay(record)] == [True]


def decided_in(case: dict[str, Any]) -> tuple[Decision, Decided | None]:
    """The decision; and all that came of it, where there are facts to record."""
    bundle, control = pharmacy(case.get("silence", "generic")), control_of(case)
    gpc = "browser" in case
    if case.get("trouble") == "facts unreadable":
        unknown = unknown_situation(bundle, {"region": case["region"]}, NOW_MS, 0, gpc=gpc, control=control)
        return without_facts(bundle.placements[case["placement"]], unknown, {}), None
    model = {name: float(says) for name, says in case["model"].items()} if "model" in case else Degraded.MODEL_MISSING
    decided = decide(bundle, facts(case), [case["placement"]], model=model, gpc=gpc, control=control)
    return decided.first, decided


def facts(case: dict[str, Any]) -> Facts:
    said = [entry for each in case["said"] for entry in (EVERYTHING if each == "everything" else (consent_of(each),))]
    return facts_of(
        KNOWN,
        region=None if case["region"] == "none" else case["region"],
        consent=tuple(said),
        suppressions=tuple(suppression_of(each) for each in case.get("suppressed", ())),
        merge_pending=case.get("trouble") == "merging",
    )


def control_of(case: dict[str, Any]) -> Control:
    thrown = tuple(switch_of(each) for each in case.get("switched off", ()))
    return Control(thrown, stale=case.get("trouble") == "nobody knows what is switched off")


def switch_of(text: str) -> Switch:
    what, _, until = text.partition(" until ")
    kind, _, name = what.partition(" ")
    until_ms = instant_ms(until) if until else None
    return off("all", until_ms=until_ms) if what == "everything" else off(kind, name, until_ms)
