"""The demo's customers look like the data, show every kind of answer, and are nobody."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from app.demo import demo_customers
from models.hillstrom import Experiment


@pytest.fixture(scope="module")
def customers() -> list[dict[str, Any]]:
    return list(demo_customers(4_000, seed=7))


def state(customer: dict[str, Any], purpose: str) -> str:
    return next((entry["state"] for entry in customer["consent"] if entry["purpose"] == purpose), "unknown")


def test_the_same_seed_gives_the_same_customers_and_a_larger_count_only_adds() -> None:
    few, more = list(demo_customers(20, seed=7)), list(demo_customers(40, seed=7))
    assert more[:20] == few
    assert more != list(demo_customers(40, seed=8))


def test_keys_count_from_one(customers: list[dict[str, Any]]) -> None:
    assert [customers[i]["customer"] for i in (0, 1, -1)] == ["cus_000001", "cus_000002", "cus_004000"]


@pytest.mark.parametrize("seed", range(20))
def test_the_first_customer_is_known_in_full_and_has_every_consent(seed: int) -> None:
    (first,) = demo_customers(1, seed)
    assert len(first["attributes"]) == 7
    assert (state(first, "marketing"), state(first, "personalisation")) == ("granted", "granted")


def test_a_short_look_meets_every_state_of_both_consents(customers: list[dict[str, Any]]) -> None:
    for purpose in ("marketing", "personalisation"):
        seen = Counter(state(customer, purpose) for customer in customers[:200])
        assert set(seen) == {"granted", "unknown", "denied"}
        assert seen["granted"] > 120


def test_places_are_consistent_and_zones_exist(customers: list[dict[str, Any]]) -> None:
    places = Counter((customer["region"], customer["language"]) for customer in customers)
    assert set(places) == {("US", "en"), ("DE", "de")}
    assert places["US", "en"] > places["DE", "de"] > 0
    for zone in {customer["timezone"] for customer in customers}:
        assert ZoneInfo(zone)


def test_some_customers_have_a_gap(customers: list[dict[str, Any]]) -> None:
    gaps = Counter(7 - len(customer["attributes"]) for customer in customers)
    assert set(gaps) == {0, 1}
    assert 100 < gaps[1] < 400


def test_marginals_are_those_of_the_data(customers: list[dict[str, Any]], experiment: Experiment) -> None:
    """Each share within 3 points, each decile of spending within a tenth."""
    drawn, real = [customer["attributes"] for customer in customers], experiment.customers
    for name in ("recency", "zip_code", "newbie", "channel", "mens", "womens"):
        ours = Counter(attributes[name] for attributes in drawn if name in attributes)
        theirs = Counter(attributes[name] for attributes in real)
        assert set(ours) == set(theirs)
        for value, count in theirs.items():
            assert ours[value] / ours.total() == pytest.approx(count / theirs.total(), abs=0.03)
    deciles = np.arange(0.1, 0.95, 0.1)
    ours_usd = np.quantile([attributes["history"] for attributes in drawn if "history" in attributes], deciles)
    theirs_usd = np.quantile([attributes["history"] for attributes in real], deciles)
    assert ours_usd == pytest.approx(theirs_usd, rel=0.1)


def test_everyone_bought_something(customers: list[dict[str, Any]]) -> None:
    whole = [customer["attributes"] for customer in customers if {"mens", "womens"} <= set(customer["attributes"])]
    assert all(attributes["mens"] or attributes["womens"] for attributes in whole)


def test_no_customer_carries_anything_like_an_identifier(customers: list[dict[str, Any]]) -> None:
    for customer in customers:
        assert set(customer) == {"customer", "attributes", "region", "timezone", "language", "consent"}
        assert not re.search(r"@|\+\d|\d{3}-\d{3}", str({**customer, "consent": []}))
