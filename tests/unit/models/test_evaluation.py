"""The evaluation reproduces what is known of the data, and the card says no more than the figures do."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from models import hillstrom
from models.evaluate import auc, calibration, fixed_policies, log_loss, measures
from models.hillstrom import ARMS, MENS, PROPENSITY, WOMENS, Experiment
from models.load import SHIPPED
from models.offpolicy import Estimate, ips, ips_difference, snips, snips_difference, weights

CARD = SHIPPED / "response" / "1" / "MODEL_CARD.md"
MANIFEST = SHIPPED / "response" / "1" / "manifest.json"

#: Published with the data: policy → visit IPS, visit SNIPS ± SE, conversion SNIPS ± SE, spend IPS, spend SNIPS ± SE.
PUBLISHED = {
    "always_mens": (0.185089, 0.184267, 0.003180, 0.012133, 0.000898, 1.483170, 1.476578, 0.153411),
    "always_womens": (0.154286, 0.154052, 0.002956, 0.009026, 0.000775, 1.110011, 1.108328, 0.127092),
    "send_nothing": (0.105201, 0.105834, 0.002510, 0.005794, 0.000619, 0.620063, 0.623795, 0.088678),
    "uniform": (0.148192, 0.148192, 0.001679, 0.008996, 0.000446, 1.071081, 1.071081, 0.072706),
    "match_goods": (0.185893, 0.185450, 0.003184, 0.012158, 0.000898, 1.503603, 1.500020, 0.149908),
}


def taken(experiment: Experiment, policy: str) -> np.ndarray:
    if policy == "uniform":  # over all three arms
        return np.full(len(experiment), 1 / 3)
    return np.equal(experiment.arm, fixed_policies(experiment)[policy]).astype(float)


@pytest.mark.parametrize("policy", PUBLISHED)
def test_published_policy_values_are_reproduced_to_every_digit(experiment: Experiment, policy: str) -> None:
    weight = weights(taken(experiment, policy), PROPENSITY)
    visit, conversion, spend = (
        snips(weight, reward) for reward in (experiment.visit, experiment.conversion, experiment.spend)
    )
    found = (
        ips(weight, experiment.visit).value,
        *(visit.value, visit.standard_error),
        *(conversion.value, conversion.standard_error),
        ips(weight, experiment.spend).value,
        *(spend.value, spend.standard_error),
    )
    assert tuple(round(figure, 6) for figure in found) == PUBLISHED[policy]


def test_the_published_comparison_of_matching_with_always_mens_is_reproduced(experiment: Experiment) -> None:
    matched, mens = (weights(taken(experiment, name), PROPENSITY) for name in ("match_goods", "always_mens"))
    found = ips_difference(matched, mens, experiment.visit)
    assert (round(found.value, 4), round(found.standard_error, 4)) == (0.0008, 0.0032)
    assert not found.significant


def test_the_arms_of_the_file_are_as_published(experiment: Experiment) -> None:
    assert len(experiment) == 44_800
    assert [int((experiment.arm == arm).sum()) for arm in range(3)] == [14_844, 15_000, 14_956]
    assert ARMS[MENS] == "Mens E-Mail"
    assert [int(experiment.visit[experiment.arm == arm].sum()) for arm in (MENS, WOMENS)] == [2_764, 2_304]


def test_the_shipped_model_was_trained_on_this_file(experiment: Experiment) -> None:
    assert json.loads(MANIFEST.read_bytes())["training"]["sha256"] == experiment.sha256


def test_outcomes_and_bands_are_no_inputs() -> None:
    names = {column["name"] for column in json.loads(MANIFEST.read_bytes())["inputs"]}
    assert not names & {f"customer.{name}" for name in ("history_segment", "visit", "conversion", "spend", "segment")}
    assert len(names) == 9


def test_a_policy_against_itself_differs_by_nothing() -> None:
    chance = np.random.default_rng(1)
    weight, reward = 3.0 * (chance.random(500) < 1 / 3), chance.random(500)
    assert snips_difference(weight, weight, reward) == Estimate(0.0, 0.0)


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    """200 experiments whose truth is known: 95 % intervals miss it in 2 to 22 of them (all but 1 in 10,000 times)."""
    chance = np.random.default_rng(2)
    missed = 0
    for _ in range(200):
        logged = chance.integers(0, 3, 1_000)
        reward = (chance.random(1_000) < np.array([0.1, 0.2, 0.3])[logged]).astype(float)
        low, high = snips(weights(np.equal(logged, 1).astype(float), PROPENSITY), reward).interval
        missed += not low <= 0.2 <= high
    assert 2 <= missed <= 22


def test_auc_counts_ties_as_half() -> None:
    predicted, visited = np.array([0.1, 0.4, 0.4, 0.8]), np.array([0.0, 0.0, 1.0, 1.0])
    pairs = [(p, n) for p in predicted[visited == 1] for n in predicted[visited == 0]]
    expected = sum(1.0 if p > n else 0.5 if p == n else 0.0 for p, n in pairs) / len(pairs)
    assert auc(predicted, visited) == pytest.approx(expected)


def test_log_loss_of_a_coin_is_ln_2() -> None:
    assert log_loss(np.full(4, 0.5), np.array([0.0, 1.0, 1.0, 0.0])) == pytest.approx(math.log(2))


def test_calibration_finds_scores_that_promise_too_much() -> None:
    chance = np.random.default_rng(3)
    truth = chance.uniform(0.05, 0.4, 5_000)
    visited = (chance.random(5_000) < truth).astype(float)
    honest, boastful = calibration(truth, visited), calibration(2 * truth, visited)
    assert sum(_within(tenth.predicted, tenth.visited) for tenth in honest) >= 7
    assert not any(_within(tenth.predicted, tenth.visited) for tenth in boastful)


def _within(value: float, estimate: Estimate) -> bool:
    low, high = estimate.interval
    return low <= value <= high


def test_bootstrap_intervals_hold_their_own_measure() -> None:
    chance = np.random.default_rng(4)
    predicted = chance.uniform(0.05, 0.4, 400)
    for measure in measures(predicted, (chance.random(400) < predicted).astype(float)).values():
        assert measure.low < measure.value < measure.high


def test_the_card_claims_no_win_over_the_best_single_email_that_the_figures_do_not_show() -> None:
    against = json.loads(MANIFEST.read_bytes())["metrics"]["differences_from_always_mens"]["model"]
    shown = [reward for reward, found in against.items() if found["interval_95"][0] > 0 or found["interval_95"][1] < 0]
    assert ("no significant difference**" in CARD.read_text(encoding="utf-8")) == (not shown)


def test_data_may_lie_anywhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NEXTBEST_DATA", str(tmp_path))
    assert hillstrom.data_folder() == tmp_path
