"""The tables of `policy/cases`, which anybody can read and extend: every case is a test, named by its sentence."""

from __future__ import annotations

import re
from typing import Any

import pytest

from app.settings import DEMO_BUNDLE
from policy.bundle import Bundle, Region, Window
from policy.codes import Degraded
from policy.compile import load
from policy.consent import contact_permission, personalisation_permission, unknown_region
from policy.durations import seconds
from policy.facts import ContactKind
from policy.limits import customer_zones, fullest_window
from tests.support.cases import between_ms, instant_ms, page, table
from tests.support.deciding import DAY_MS, NOW_MS, contact, decide, facts_of, kind
from tests.support.said import consent_of, suppression_of


def none_or(text: str | None) -> str | None:
    return None if text in (None, "none") else text


def country(name: str, law: str) -> Region:
    found = re.fullmatch(r"[^(]*\((\w+)\)(?:, only as ([^;]+))?(?:; GPC denies (.+))?", law)
    assert found is not None, law
    mode, bases, denies = found.groups()
    return Region(
        "default" if name == "everywhere else" else name,
        mode,  # type: ignore[arg-type]  # a mode, as its text
        mode,  # type: ignore[arg-type]  # a mode, as its text
        gpc_denies=frozenset(denies.split(" and ") if denies else ()),
        bases=frozenset(bases.split(" or ")) if bases else None,
    )


@table("consent")
def test_consent(case: dict[str, Any]) -> None:
    rows = {name: country(name, law) for name, law in page("consent")["countries"].items()}
    rows["default"] = rows.pop("everywhere else")
    code = none_or(case["region"])
    region = unknown_region(rows) if code is None else rows.get(code) or rows.get(code[:2]) or rows["default"]
    purpose, _, channel = case["may we"].partition(" by ")
    said, now_ms = [consent_of(each) for each in case["said"]], instant_ms(page("consent")["today"])
    gpc = "browser" in case
    if purpose == "personalisation":
        found = personalisation_permission(said, channel, region, now_ms, gpc)
    else:
        found = contact_permission(said, purpose, channel, region, now_ms, gpc)
    permitted, state, *ground = case["answer"].split(", ")
    assert (found.permitted, found.state) == (permitted == "yes", state)
    if ground:
        assert found.basis == ground[0]


@table("limits")
def test_limits(case: dict[str, Any]) -> None:
    at_most, window = limit_of(case["limit"])
    kind_of = ContactKind("weekly", "email", "marketing", "offer", "", "")
    ledger = [contact(kind_of, *between_ms(each)) for each in case["contacts"]]
    code = none_or(case.get("country"))
    zones = customer_zones(none_or(case["zone"]), code, None if code is None else Region(code, "opt_in", "opt_in"))
    inside = fullest_window(window, ledger, *between_ms(case["new"]), zones)
    assert (len(inside) < at_most) == {"yes": True, "no": False}[case["room"]], [each.not_before_ms for each in inside]


def limit_of(text: str) -> tuple[int, Window]:
    found = re.fullmatch(r"(\d+) in (?:rolling (\w+)|calendar (day|week|month)(?: in (\S+))?)", text)
    assert found is not None, text
    at_most, length, unit, zone = found.groups()
    if length:
        return int(at_most), Window("rolling", seconds=seconds(length))
    return int(at_most), Window("calendar", unit=unit, zone=zone or "customer")


@pytest.fixture(scope="module")
def demo() -> Bundle:
    return load(DEMO_BUNDLE)


@table("ladder")
def test_ladder(case: dict[str, Any], demo: Bundle) -> None:
    facts = facts_of(
        {name: int(value) for name, value in case["known"].items()},
        region=none_or(case["region"]),
        consent=tuple(consent_of(each) for each in case["said"]),
        suppressions=tuple(suppression_of(each) for each in case.get("suppressed", ())),
        contacts=tuple(sorted((sent_of(each, demo) for each in case.get("sent", ())), key=lambda c: c.not_before_ms)),
    )
    model = case["model"]
    says = Degraded(f"model_{model}") if isinstance(model, str) else {name: float(p) for name, p in model.items()}
    decision = decide(demo, facts, [case["placement"]], model=says).first
    message = decision.message.id if decision.message else "nothing"
    assert f"{message} ({decision.rung.value}, {decision.reason.value})" == case["answer"]
    assert decision.degraded == tuple(case.get("degraded", ()))


def sent_of(text: str, bundle: Bundle) -> Any:
    placement, message, days, *_ = text.split()
    return contact(kind(bundle.placements[placement], message), NOW_MS - int(days) * DAY_MS)
