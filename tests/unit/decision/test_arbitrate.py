"""From the admissible set to one message: thresholds, ties, wordings, and what is said when nothing is left."""

from __future__ import annotations

import dataclasses
from collections import Counter

import pytest

from policy.bundle import Bundle
from policy.codes import Degraded, SuppressionReason
from policy.facts import Suppression
from tests.support.contract import contract_bundle
from tests.support.deciding import HOUR_MS, NOW_MS, contact, decide, facts_of, float32, granted, kind

WHOLE = {"recency": 3, "zip_code": "Urban"}


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return contract_bundle()


def with_threshold(bundle: Bundle, threshold: float) -> Bundle:
    weekly = dataclasses.replace(bundle.placements["weekly"], min_confidence=threshold)
    return dataclasses.replace(bundle, placements={**bundle.placements, "weekly": weekly})


@pytest.mark.parametrize(("threshold", "rung"), [(0.0, "model"), (0.5, "model"), (0.5000001, "category")])
def test_a_probability_at_the_threshold_is_confident_enough(bundle: Bundle, threshold: float, rung: str) -> None:
    model = {"alpha": 0.25, "beta": 0.5, "gamma": 0.125}
    assert decide(with_threshold(bundle, threshold), facts_of(WHOLE), ["weekly"], model=model).first.rung == rung


def test_confidence_is_that_of_the_most_probable_admissible_message_not_of_the_most_valuable(bundle: Bundle) -> None:
    model = {"alpha": 0.3, "beta": 0.25, "gamma": 0.59}  # gamma is worth half: alpha wins with 0.3
    decision = decide(with_threshold(bundle, 0.5), facts_of(WHOLE), ["weekly"], model=model).first
    assert (decision.message.id, decision.rung) == ("alpha", "model")


def test_the_confidence_of_an_excluded_message_does_not_count(bundle: Bundle) -> None:
    model = {"alpha": 0.3, "beta": 0.25, "gamma": 0.9}
    rural = facts_of({"recency": 3, "zip_code": "Rural"})
    decision = decide(with_threshold(bundle, 0.5), rural, ["weekly"], model=model).first
    assert decision.degraded == (Degraded.LOW_CONFIDENCE,)
    assert (decision.message.id, decision.rung) == ("alpha", "generic"), "gamma is red's message, and not admissible"


def test_the_score_is_the_expected_value_of_what_the_model_said(bundle: Bundle) -> None:
    decision = decide(bundle, facts_of(WHOLE), ["weekly"], model={"alpha": 0.1, "beta": 0.1, "gamma": 0.9}).first
    assert decision.message.id == "gamma"
    assert decision.score == float32(0.9) * 0.5


def test_a_tie_goes_to_the_message_authored_first(bundle: Bundle) -> None:
    model = {"alpha": 0.25, "beta": 0.25, "gamma": 0.5}  # worth the same
    assert decide(bundle, facts_of(WHOLE), ["weekly"], model=model).first.message.id == "alpha"
    assert decide(bundle, facts_of(WHOLE), ["weekly", "second"], model=model).decisions[1].decision.message.id == "beta"


def test_wordings_go_out_by_weight_and_by_seed_alone(bundle: Bundle) -> None:
    facts = facts_of()
    drawn = [decide(bundle, facts, ["wordings"], seed=seed).first.chosen_variant.id for seed in range(1000)]
    counts = Counter(drawn)
    expected = {"one": 100, "two": 200, "seven": 700}
    assert sum((counts[each] - due) ** 2 / due for each, due in expected.items()) < 13.82  # p = 0.001
    assert drawn == [decide(bundle, facts, ["wordings"], seed=seed).first.chosen_variant.id for seed in range(1000)]


@pytest.mark.parametrize("degraded", [Degraded.MODEL_MISSING, Degraded.MODEL_FAILED, Degraded.MODEL_TIMEOUT])
def test_a_model_that_does_not_answer_is_said_and_the_rules_rank(bundle: Bundle, degraded: Degraded) -> None:
    decision = decide(bundle, facts_of(WHOLE), ["weekly"], model=degraded).first
    assert (decision.message.id, decision.rung, decision.degraded) == ("beta", "rules", (degraded,))
    assert (decision.score, decision.propensity) == (None, 1.0)


def test_without_an_authored_order_rules_rank_as_the_bundle_stands(bundle: Bundle) -> None:
    assert decide(bundle, facts_of(WHOLE), ["second"]).first.message.id == "alpha"


@pytest.mark.parametrize("placement", ["weekly", "wordings"])
def test_nothing_admissible_is_no_rung_of_failure(bundle: Bundle, placement: str) -> None:
    """`suppress` is the rung of gate and failures only."""
    full = tuple(
        contact(kind(bundle.placements["push"], "alpha"), NOW_MS - HOUR_MS - n, number=n) for n in range(3, 0, -1)
    )
    decided = decide(bundle, facts_of(WHOLE, contacts=full), ["wordings"])
    assert (decided.first.action, decided.first.reason) == ("suppress", "no_admissible_message")
    assert decided.first.rung != "suppress"
    assert (decided.first.propensity, decided.first.window, decided.first.retryable) == (None, None, False)


def test_the_gates_reason_wins_over_all_that_was_not_looked_at(bundle: Bundle) -> None:
    facts = facts_of(WHOLE, suppressions=(Suppression("*", SuppressionReason.ERASED, 0),), consent=())
    decision = decide(bundle, facts, ["weekly"]).first
    assert (decision.rung, decision.reason, decision.detail) == ("suppress", "suppressed", "erased")
    assert decision.funnel == (3, 0, 0, 0)


def test_generic_answers_obey_limits_like_any_other(bundle: Bundle) -> None:
    full = (contact(kind(bundle.placements["once"], "alpha"), NOW_MS - HOUR_MS),)
    facts = facts_of(WHOLE, contacts=full, consent=(granted("marketing"),))
    decision = decide(bundle, facts, ["once"]).first
    assert (decision.action, decision.rung, decision.reason) == ("suppress", "generic", "no_admissible_message")
