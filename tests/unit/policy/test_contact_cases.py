"""The tables of what earlier contacts and outcomes forbid: pauses, exclusions, fatigue, unconfirmed reservations."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from policy.bundle import Bundle, Candidate, Cooldown, Fatigue, MutualExclusion, Placement
from policy.confirmation import counting
from policy.cooldowns import pauses
from policy.durations import seconds
from policy.exclusions import contacts_near, excluding
from policy.facts import Contact, PastOutcome
from policy.fatigue import fatigue_factors, fatigue_score
from policy.limits import fits
from tests.support.cases import KINDS, between_ms, contact_of, instant_ms, table
from tests.support.contract import contract_bundle

YES_OR_NO = {"yes": True, "no": False}


def bundle_with(placement: Mapping[str, Any], **rules: Any) -> tuple[Bundle, Placement]:
    """A bundle with these rules, and a placement that they bind."""
    once = replace(contract_bundle().placements["once"], **placement)
    bundle = replace(contract_bundle(), placements={once.id: once}, **rules)
    return bundle, once


def cooldown_of(text: str) -> Cooldown:
    found = re.fullmatch(r"(\w+) after (?:(\d+) )?(\w+)(?: of (\w+))?", text)
    assert found is not None, text
    length, times, after, only = found.groups()
    match = {} if only is None else {"channel" if only in ("email", "sms") else "category": only}
    return Cooldown(0, "pause", after, int(times or 1), frozenset({"marketing"}), match, seconds(length), text)


def outcome_of(text: str) -> PastOutcome:
    found = re.fullmatch(r"(\w+) (\S+ \S+) after (\w+)", text)
    assert found is not None, text
    what, at, message = found.groups()
    return PastOutcome(what, None if message == "nothing" else KINDS[message], instant_ms(at))


@table("cooldowns")
def test_cooldowns(case: dict[str, Any]) -> None:
    cooldown = cooldown_of(case["pause"])
    bundle, placement = bundle_with({"cooldowns": (0,)}, cooldowns=(cooldown,))
    message, _, at = case["new"].partition(" ")
    begun = pauses(
        bundle,
        placement,
        [outcome_of(each) for each in case.get("happened", ())],
        [contact_of(each) for each in case.get("sent", ())],
        instant_ms(at),
    )
    bound = fits(cooldown.classes, cooldown.match, KINDS[message])
    expected = None if case["paused"] == "no" else instant_ms(case["paused"])
    assert (begun.get(0) if bound else None) == expected


def test_pauses_of_other_placements_are_not_looked_at() -> None:
    """So that nothing needs a closer look where nothing can be paused."""
    bundle, placement = bundle_with({"cooldowns": ()}, cooldowns=(cooldown_of("3d after converted"),))
    bought = outcome_of("converted 2026-11-23 10:00 after nothing")
    assert pauses(bundle, placement, [bought], (), bought.at_ms) == {}


@table("exclusions")
def test_exclusions(case: dict[str, Any]) -> None:
    names, _, within = case["exclusion"].partition(" within ")
    exclusion = MutualExclusion(0, "never_both", frozenset(names.split(", ")), seconds(within), within)
    bundle, placement = bundle_with({"exclusions": (0,)}, exclusions=(exclusion,))
    message, _, window = case["new"].partition(" ")
    near = contacts_near(bundle, placement, [contact_of(each) for each in case["sent"]], *between_ms(window))
    other = excluding(near.get(0, ()), message)
    assert ("no" if other is None else f"by {other.kind.message}") == case["kept back"]


def fatigue_of(text: str) -> Fatigue:
    half_life, contact, engagement, limit = (part.split(" ")[1] for part in text.split(", "))
    return Fatigue(seconds(half_life), float(contact), float(engagement), float(limit))


@table("fatigue")
def test_fatigue(case: dict[str, Any]) -> None:
    fatigue, now_ms = fatigue_of(case["fatigue"]), instant_ms(case["now"])
    contacts = [contact_of(each) for each in case["sent"]]
    score = fatigue_score(fatigue, contacts, now_ms)
    assert score == pytest.approx(float(case["score"]), abs=5e-4)
    assert (score >= fatigue.limit) is YES_OR_NO[case["stops"]]
    weights = case.get("weights", {})
    found = fatigue_factors(fatigue, contacts, now_ms, [candidate(name) for name in weights])
    assert found == [pytest.approx(float(weight), abs=5e-4) for weight in weights.values()]


def candidate(name: str) -> Candidate:
    message = contract_bundle().messages[0]
    return Candidate(replace(message, id=name, category=KINDS[name].category or None), ())


@table("confirmation")
def test_confirmation(case: dict[str, Any]) -> None:
    kind, known = KINDS["mens_email"], case["known"]
    assert known in ("nothing", "sent", "opened")
    confirm, _, ttl = case["confirm"].partition(" within ")
    where = "elsewhere" if confirm == "gone" else kind.placement
    asks = {"id": where, "confirm": "required" if ttl else "optional", "reserve_ttl_s": seconds(ttl) if ttl else None}
    if confirm == "gone":
        asks |= {"confirm": "required", "reserve_ttl_s": 60}
    bundle, _ = bundle_with(asks)
    contact = Contact(b"", kind, *between_ms(case["window"]), known == "sent", known == "opened")
    reserved_at_ms = instant_ms(case["reserved"])
    counts = counting(bundle, [contact], instant_ms(case["now"]), lambda _: reserved_at_ms)
    assert bool(counts) is YES_OR_NO[case["counts"]]
