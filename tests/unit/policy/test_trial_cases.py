"""The tables of what is measured and how: `arms.yaml` and `arbitration.yaml`."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from app.core.decision.arbitrate import Decision
from policy.arbitration import Terms, in_force, powered, worths
from policy.bundle import TermRules
from policy.codes import Action
from policy.exploration import epsilon_greedy, softmax
from tests.support.cases import CASES, instant_ms, table
from tests.support.deciding import DAY_MS, NOW_MS, contact, decide, facts_of, kind
from tests.support.trials import trials_bundle
from tests.unit.policy.test_cases import consent_of, none_or

ARBITRATION = yaml.load((CASES / "arbitration.yaml").read_text(), yaml.BaseLoader)


def rows(name: str) -> Any:
    return pytest.mark.parametrize("case", ARBITRATION[name], ids=[each["case"] for each in ARBITRATION[name]])


@table("arms")
def test_arms(case: dict[str, Any]) -> None:
    bundle = trials_bundle()
    texts = int(case.get("texts", 0))
    sms = kind(bundle.placements["held_texts"], "red")
    more = {
        "now_ms": instant_ms(case["at"]) if "at" in case else NOW_MS,
        "region": none_or(case.get("region", "DE")),
        "contacts": tuple(contact(sms, NOW_MS - DAY_MS + number, number=number) for number in range(texts)),
    }
    if "said" in case:
        more["consent"] = tuple(consent_of(each) for each in case["said"])
    known = {name: yaml.safe_load(value) for name, value in case.get("known", {}).items()}
    context = {"trigger": "browse"} if case.get("browsing") == "yes" else {}
    model = {name: float(says) for name, says in case.get("model", {}).items()}
    decision = decide(bundle, facts_of(known, **more), [case["placement"]], context, model=model).first
    assert f"{answer_of(decision)} ({decision.rung.value}, {decision.reason.value})" == case["answer"]
    assert decision.arm == case["arm"]
    held_out = decision.message if decision.action is Action.SUPPRESS else None
    assert (held_out.id if held_out else None) == case.get("would have been")
    met = [f"{each.trial.partition('/')[0]} {each.arm}" for each in decision.exposures]
    assert met == case["met"]


def answer_of(decision: Decision) -> str:
    if decision.action is Action.DEFER:
        assert decision.window is not None
        return "later"
    return decision.message.id if decision.action is Action.SEND and decision.message else "nothing"


@rows("scores")
def test_scores(case: dict[str, Any]) -> None:
    rules = terms_from(case["counts"])
    response, value, lever, weight, fatigue = (float(each) for each in case["message"].split(" × "))
    terms = [in_force(Terms(value, lever, weight), rules)]
    assert worths(powered([response], rules.propensity), terms, [fatigue]) == [float(case["score"])]


def terms_from(words: list[str]) -> TermRules:
    said: dict[str, Any] = {}
    for each in words:
        if each.startswith("no "):
            said[each[3:].replace(" ", "_")] = False
        else:
            name, exponent = each.split()
            said[name] = float(exponent)
    return TermRules(**said)


@rows("explorations")
def test_explorations(case: dict[str, Any]) -> None:
    found = re.fullmatch(r"(epsilon|softmax) (\S+)", case["way"])
    assert found is not None
    way, amount = found[1], float(found[2])
    if way == "epsilon":
        number = int(case["of"].split()[0])
        units = [(place + 0.5) * amount / number for place in range(number)] if amount else []
        chances = dict(epsilon_greedy(number, 0, amount, unit) for unit in (*units, 1 - 2**-53))
        assert [chances.get(place, 0.0) for place in range(number)] == pytest.approx(expected(case), abs=1e-12)
    else:
        assert softmax([float(score) for score in case["of"]], amount) == pytest.approx(expected(case), abs=1e-6)


def expected(case: dict[str, Any]) -> list[float]:
    return [float(chance) for chance in case["chances"]]
