"""What the response model is worth, measured on customers it was not trained on.

    python -m models.evaluate --data DIR

Five folds: each fold's customers are scored by a model that saw only the others. Two questions are asked of those
scores. *Is it right?* AUC, log-loss and calibration on the e-mailed customers, with bootstrap intervals. *Is it
useful?* The value of letting it choose the e-mail, beside the best single e-mail, the other one, the e-mail that
matches what the customer buys, a coin toss between the two, and sending nothing (`models.offpolicy`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models import response
from models.hillstrom import MENS, NONE, PROPENSITY, WOMENS, Experiment, data_folder, read
from models.offpolicy import Estimate, Floats, ips, snips, snips_difference, weights

FOLDS = 5
SEED = 20080320
RESAMPLES = 500
REWARDS = ("visit", "conversion", "spend")
BASELINE = "always_mens"
Tick = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Measure:
    """A quality of the scores with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class CalibrationBin:
    """A tenth of the e-mailed customers, by predicted probability."""

    customers: int
    predicted: float
    visited: Estimate


@dataclass(frozen=True, slots=True)
class PolicyReport:
    """What a policy earns a customer, by reward, and how that compares with the best single e-mail (None: it is it)."""

    values: Mapping[str, Estimate]
    ips: Mapping[str, Estimate]
    against_best: Mapping[str, Estimate] | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    customers: int
    emailed: int
    measures: Mapping[str, Measure]
    calibration: tuple[CalibrationBin, ...]
    policies: Mapping[str, PolicyReport]
    womens_share: float  # of customers for whom the model prefers the women's e-mail


def evaluate(experiment: Experiment, tick: Tick = lambda: None) -> Evaluation:
    """`tick` is called after each of `FOLDS` fits."""
    both = response.pairs(experiment)
    scores = cross_fitted(experiment, both, tick)
    emailed = response.emailed(experiment)
    predicted = scores[np.arange(len(scores)), (experiment.arm == WOMENS).astype(int)][emailed]
    visited = experiment.visit[emailed]
    return Evaluation(
        customers=len(experiment),
        emailed=int(emailed.sum()),
        measures=measures(predicted, visited),
        calibration=calibration(predicted, visited),
        policies=policies(experiment, scores),
        womens_share=float((scores[:, 1] > scores[:, 0]).mean()),
    )


def cross_fitted(experiment: Experiment, both: NDArray[np.float32], tick: Tick) -> Floats:
    """p(visit) of every customer under either e-mail [customers, 2], by a model that never saw that customer."""
    folds = np.random.default_rng(SEED).integers(0, FOLDS, len(experiment))
    emailed, rows = response.emailed(experiment), response.received(experiment, both)
    scores = np.empty((len(experiment), 2))
    for fold in range(FOLDS):
        seen, held_out = emailed & (folds != fold), folds == fold
        booster = response.fit(rows[seen], experiment.visit[seen])
        scores[held_out] = response.score_pairs(booster, both[held_out])
        tick()
    return scores


def policies(experiment: Experiment, scores: Floats) -> dict[str, PolicyReport]:
    """Every policy as the probability with which it takes the logged arm."""
    taken = {name: _taken(experiment.arm, arm) for name, arm in fixed_policies(experiment).items()}
    taken["model"] = _taken(experiment.arm, np.where(scores[:, 1] > scores[:, 0], WOMENS, MENS))
    taken["uniform_emails"] = np.where(experiment.arm == NONE, 0.0, 0.5)
    baseline = weights(taken[BASELINE], PROPENSITY)
    return {name: _report(experiment, weights(taken[name], PROPENSITY), baseline, name) for name in sorted(taken)}


def fixed_policies(experiment: Experiment) -> dict[str, NDArray[np.int64] | int]:
    """Policies that need no model, by the arm they give each customer."""
    bought = [(bool(customer["mens"]), bool(customer["womens"])) for customer in experiment.customers]
    matched = np.array([WOMENS if womens and not mens else MENS for mens, womens in bought])
    return {"always_mens": MENS, "always_womens": WOMENS, "send_nothing": NONE, "match_goods": matched}


def _taken(logged: NDArray[np.int64], arm: NDArray[np.int64] | int) -> Floats:
    return np.equal(logged, arm).astype(float)


def _report(experiment: Experiment, weight: Floats, baseline: Floats, name: str) -> PolicyReport:
    rewards: dict[str, Floats] = {reward: getattr(experiment, reward) for reward in REWARDS}
    against = {key: snips_difference(weight, baseline, reward) for key, reward in rewards.items()}
    return PolicyReport(
        values={key: snips(weight, reward) for key, reward in rewards.items()},
        ips={key: ips(weight, reward) for key, reward in rewards.items()},
        against_best=None if name == BASELINE else against,
    )


def measures(predicted: Floats, visited: Floats) -> dict[str, Measure]:
    """Each with its bootstrap interval: the same resamples of customers for all."""
    chance = np.random.default_rng(SEED)
    samples = [chance.integers(0, len(visited), len(visited)) for _ in range(RESAMPLES)]
    found = {}
    for name, measure in (("auc", auc), ("log_loss", log_loss), ("log_loss_of_the_mean", _log_loss_of_the_mean)):
        draws = [measure(predicted[sample], visited[sample]) for sample in samples]
        low, high = np.quantile(draws, [0.025, 0.975])
        found[name] = Measure(measure(predicted, visited), float(low), float(high))
    return found


def auc(predicted: Floats, visited: Floats) -> float:
    """The chance that a visitor was scored above a non-visitor, ties counting half (Mann and Whitney 1947)."""
    _, places, counts = np.unique(predicted, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2
    positives = visited.sum()
    negatives = len(visited) - positives
    above = ranks[places][visited == 1].sum() - positives * (positives + 1) / 2
    return float(above / (positives * negatives))


def log_loss(predicted: Floats, visited: Floats) -> float:
    """In nats a customer."""
    return float(-(visited * np.log(predicted) + (1 - visited) * np.log1p(-predicted)).mean())


def _log_loss_of_the_mean(_predicted: Floats, visited: Floats) -> float:
    """What knowing only the overall rate would cost."""
    return log_loss(np.full(len(visited), visited.mean()), visited)


def calibration(predicted: Floats, visited: Floats, bins: int = 10) -> tuple[CalibrationBin, ...]:
    found = []
    for members in np.array_split(np.argsort(predicted, kind="stable"), bins):
        rate = float(visited[members].mean())
        error = float(np.sqrt(rate * (1 - rate) / len(members)))
        found.append(CalibrationBin(len(members), float(predicted[members].mean()), Estimate(rate, error)))
    return tuple(found)


def main() -> None:
    import argparse

    from rich.console import Console
    from rich.markdown import Markdown

    from models.card import results

    parser = argparse.ArgumentParser(description="Evaluate the response model by cross-fitting.")
    parser.add_argument("--data", type=Path, default=data_folder(), help="folder with hillstrom_train.csv.gz")
    console = Console()
    with console.status("five fits and 500 resamples"):
        found = evaluate(read(parser.parse_args().data))
    console.print(Markdown(results(found)))


def as_json(found: Evaluation) -> dict[str, Any]:
    """For the manifest: figures rounded to what they can bear."""
    return {
        "cross_fitted_folds": FOLDS,
        "customers": found.customers,
        "emailed": found.emailed,
        "quality": {
            name: {"value": round(m.value, 5), "interval_95": [round(m.low, 5), round(m.high, 5)]}
            for name, m in found.measures.items()
        },
        "calibration": [
            {"customers": b.customers, "predicted": round(b.predicted, 4), "visited": round(b.visited.value, 4)}
            for b in found.calibration
        ],
        "policy_values_snips": {
            name: {reward: _estimate(value) for reward, value in report.values.items()}
            for name, report in found.policies.items()
        },
        "differences_from_always_mens": {
            name: {reward: _estimate(value) for reward, value in report.against_best.items()}
            for name, report in found.policies.items()
            if report.against_best
        },
    }


def _estimate(estimate: Estimate) -> dict[str, Any]:
    return {
        "value": round(estimate.value, 6),
        "interval_95": [round(bound, 6) for bound in estimate.interval],
    }


if __name__ == "__main__":
    main()
