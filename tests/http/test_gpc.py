"""Global Privacy Control: what a browser says, a caller passes on, and the region's row makes of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.contract import Caller, problem

SIGNAL = {"Sec-GPC": "1"}
HEEDED = ["no_personalisation"]


def degraded(caller: Caller, region: str = "US-CO", headers: dict[str, str] | None = None, **more: Any) -> list[str]:
    """What the answer for somebody who allowed everything lacks."""
    answer = caller.ask(caller.customer(region=region, timezone=None), headers=headers, **more)
    assert answer.status_code == 200, answer.text
    decision = answer.json()["decisions"][0]
    assert (decision["rung"] == "generic") == (decision["degraded"] == HEEDED)
    found: list[str] = decision["degraded"]
    return found


def test_the_header_denies_what_the_regions_row_lists(caller: Caller) -> None:
    assert degraded(caller, headers=SIGNAL) == HEEDED


def test_so_does_the_member_of_the_body(caller: Caller) -> None:
    assert degraded(caller, gpc=True) == HEEDED


def test_who_sends_neither_is_decided_for_as_ever(caller: Caller) -> None:
    assert degraded(caller) == []


def test_where_the_regions_row_lists_nothing_the_signal_changes_nothing(caller: Caller) -> None:
    assert degraded(caller, region="US", headers=SIGNAL) == []


@pytest.mark.parametrize("value", ["0", "", "true", "1, 1"])
def test_only_1_is_the_signal(caller: Caller, value: str) -> None:
    assert degraded(caller, headers={"Sec-GPC": value}) == []


def test_a_member_that_says_no_does_not_take_back_the_header(caller: Caller) -> None:
    assert degraded(caller, headers=SIGNAL, gpc=False) == HEEDED


def test_a_member_that_is_no_truth_value_is_refused(caller: Caller) -> None:
    problem(caller.ask(caller.customer(), gpc="1"), 422, "invalid_request")


def test_the_record_names_the_signal_as_the_ground(caller: Caller) -> None:
    answer = caller.ask(caller.customer(region="US-CO", timezone=None), headers=SIGNAL).json()
    record = caller.record(answer["decisions"][0]["decision_id"])
    assert record["gate"]["personalisation"] == {"permitted": False, "state": "denied", "basis": "gpc"}
    assert record["gate"]["personal_facts_read"] is False


def batch(caller: Caller, headers: dict[str, str], *lines: dict[str, Any]) -> list[list[str]]:
    body = b"\n".join(json.dumps(line | {"placements": ["weekly"], "budget_ms": 2000}).encode() for line in lines)
    answer = caller.http.post("/v1/decide/batch", content=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return [json.loads(line)["decisions"][0]["degraded"] for line in answer.text.splitlines()]


def test_the_header_of_a_batch_holds_for_every_line(caller: Caller) -> None:
    customers = [caller.customer(region="US-CO", timezone=None) for _ in range(2)]
    assert batch(caller, SIGNAL, *({"customer": customer} for customer in customers)) == [HEEDED, HEEDED]


def test_a_line_of_a_batch_may_carry_it_alone(caller: Caller) -> None:
    customers = [caller.customer(region="US-CO", timezone=None) for _ in range(2)]
    assert batch(caller, {}, {"customer": customers[0], "gpc": True}, {"customer": customers[1]}) == [HEEDED, []]


@pytest.mark.parametrize("path", ["/v1/decide", "/v1/decide/batch"])
def test_the_description_of_the_api_names_the_header(caller: Caller, path: str) -> None:
    operation = caller.http.get("/openapi.json").json()["paths"][path]["post"]
    assert "Sec-GPC" in [parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "header"]
