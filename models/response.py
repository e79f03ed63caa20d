"""The demo's response model: p(visit within two weeks | customer, message), defined once for training and evaluation.

Columns, codes and defaults stand here and go into the manifest, so that serving encodes as training did. The codes have
an order where the words have one (from country to city; by how many ways a customer buys), because trees split on
thresholds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.contract import Input, InputPlan, Matrix
from models.hillstrom import MENS, WOMENS, Experiment

NAME = "response"
VERSION = 1
PREDICTS = "response"

#: Defaults are the median or the most frequent value of the training data.
INPUTS = (
    Input("customer.recency", None, 5.0),
    Input("customer.history", None, 157.95),
    Input("customer.mens", None, 1.0),
    Input("customer.womens", None, 1.0),
    Input("customer.zip_code", {"Rural": 0.0, "Surburban": 1.0, "Urban": 2.0}, 1.0),
    Input("customer.newbie", None, 1.0),
    Input("customer.channel", {"Phone": 0.0, "Web": 1.0, "Multichannel": 2.0}, 0.0),
    Input("message.is_mens", None, 0.0),
    Input("message.is_womens", None, 0.0),
)
CUSTOMER_INPUTS = 7
#: The two e-mails, in the order of the rows of `score_pairs`.
MESSAGES = ({"is_mens": 1.0, "is_womens": 0.0}, {"is_mens": 0.0, "is_womens": 1.0})

#: Small on purpose: the data holds little more than a few main effects, and a decision pays for every tree. Chosen by
#: cross-fitted log-loss among 4 to 15 leaves and 60 to 100 trees (0.4407 to 0.4427), never by the policy's value.
PARAMETERS: dict[str, Any] = {
    "objective": "binary",
    "learning_rate": 0.05,
    "num_leaves": 7,
    "min_data_in_leaf": 200,
    "lambda_l2": 10.0,
    "feature_fraction": 0.8,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "seed": 20080320,
    "deterministic": True,
    "force_row_wise": True,
    "num_threads": 1,
    "verbosity": -1,
}
TREES = 100
#: Each training row is seen once whole and once with gaps, so that a gap has a meaning.
MASK_SHARE = 0.3  # of the cells of a row with gaps
ALL_MASKED_SHARE = 0.1  # of those rows, in which every customer fact is missing


def pairs(experiment: Experiment) -> Matrix:
    """Every customer with either e-mail, float32 [customers, 2, inputs], encoded as serving does."""
    plan = InputPlan(INPUTS, MESSAGES)
    rows: list[Matrix] = []
    for customer in experiment.customers:
        matrix = plan.matrix(customer, (0, 1))
        assert matrix is not None  # noqa: S101  (`on_missing` is `nan`, which never refuses)
        rows.append(matrix)
    return np.stack(rows)


def emailed(experiment: Experiment) -> NDArray[np.bool_]:
    """Who got an e-mail: the model learns from these."""
    return np.isin(experiment.arm, (MENS, WOMENS))


def received(experiment: Experiment, both: Matrix) -> Matrix:
    """Of each customer's two rows the one of the e-mail received; [customers, inputs]. For e-mailed customers."""
    rows: Matrix = both[np.arange(len(both)), (experiment.arm == WOMENS).astype(int)]
    return rows


def with_gaps(rows: Matrix, seed: int) -> Matrix:
    """A copy in which cells are missing at random: facts of the customer often, features of the message rarely."""
    chance = np.random.default_rng(seed)
    gaps = chance.random(rows.shape) < MASK_SHARE
    gaps[:, CUSTOMER_INPUTS:] &= chance.random((len(rows), 1)) < 0.1
    gaps[chance.random(len(rows)) < ALL_MASKED_SHARE, :CUSTOMER_INPUTS] = True
    masked = rows.copy()
    masked[gaps] = np.nan
    return masked


def fit(rows: Matrix, visits: NDArray[np.float64], callbacks: Sequence[Any] = ()) -> Any:
    """A LightGBM booster; the same rows give the same bytes."""
    import lightgbm

    both = np.concatenate([rows, with_gaps(rows, PARAMETERS["seed"])])
    names = [column.name.replace(".", "_") for column in INPUTS]
    data = lightgbm.Dataset(both, np.concatenate([visits, visits]), feature_name=names)
    return lightgbm.train(PARAMETERS, data, num_boost_round=TREES, callbacks=list(callbacks))


def score_pairs(booster: Any, both: Matrix) -> NDArray[np.float64]:
    """p(visit) of each customer under either e-mail, [customers, 2]."""
    flat = both.reshape(-1, both.shape[2])
    scores: NDArray[np.float64] = booster.predict(flat, num_threads=1).reshape(-1, 2)
    return scores
