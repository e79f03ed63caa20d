"""What the doctor says of what customers hold."""

from __future__ import annotations

import dataclasses
from typing import Any

from app.doctor.customers import Survey
from app.doctor.finding import Finding, Severity
from app.store.described import Profile
from policy.bundle import Fact
from policy.facts import ConsentEntry
from tests.support.customers import BUNDLE

NOW_MS = 1_800_000_000_000
HOUR_MS = 3_600_000


def profile(**known: Any) -> Profile:
    nothing: dict[str, Any] = {
        "region": "DE", "timezone": "Europe/Berlin", "language": None, "attributes": {}, "as_of_ms": {},
        "set_at_ms": {}, "consent": (), "suppressions": (), "preferences": {}, "outcomes": (), "exposures": {},
        "merge_pending": False, "updated_ms": NOW_MS, "general_version": 1, "ledger_version": 0,
    }  # fmt: skip
    return Profile(**(nothing | known))


def found(*profiles: Profile | None, sampled: bool = False, **changed: Any) -> dict[str, list[Finding]]:
    facts = tuple(dataclasses.replace(fact, **changed.get(fact.name, {})) for fact in BUNDLE.facts)
    survey = Survey(dataclasses.replace(BUNDLE, facts=facts), NOW_MS)
    for each in profiles:
        survey.add(each)
    findings: dict[str, list[Finding]] = {}
    for finding in survey.findings(sampled=sampled):
        findings.setdefault(finding.code, []).append(finding)
    return findings


def test_attributes_past_their_age_are_counted_among_those_who_have_them() -> None:
    fresh = profile(attributes={"recency": 1}, as_of_ms={"crm": NOW_MS - HOUR_MS})
    old = profile(attributes={"recency": 1}, as_of_ms={"crm": NOW_MS - HOUR_MS - 1})
    (stale,) = found(fresh, fresh, fresh, old, profile(), recency={"max_age_s": 3600})["stale"]
    assert (stale.count, stale.of, stale.severity) == (1, 4, Severity.WARNING)


def test_without_a_time_an_attribute_is_stale_and_its_owner_is_named() -> None:
    undated = found(profile(attributes={"recency": 1}), recency={"max_age_s": 3600})
    assert (undated["missing_time"][0].count, undated["missing_time"][0].severity) == (1, Severity.SEVERE)
    assert "`crm`" in undated["missing_time"][0].what
    assert undated["stale"][0].count == 1


def test_attributes_that_nobody_has_and_that_nobody_declares() -> None:
    findings = found(profile(attributes={"recency": 1, "once": 2}, as_of_ms={"crm": NOW_MS}))
    assert "`history`" in findings["never_set"][0].what
    assert ["`once`" in each.what for each in findings["undeclared"]] == [True]


def test_spellings_are_counted_and_those_that_say_something_of_a_person_are_not_shown() -> None:
    known = [profile(attributes={"nickname": each}, as_of_ms={"crm": NOW_MS}) for each in ("Jo", "jo ", "Jo", "Ann")]
    (spelt,) = found(*known)["spelt_differently"]
    assert (spelt.count, spelt.of) == (1, 4)
    assert "Jo" not in spelt.what
    (shown,) = found(*known, nickname={"sensitivity": "none"})["spelt_differently"]
    assert "`Jo` / `jo `" in shown.what


def test_a_consent_for_every_channel_covers_each() -> None:
    def entry(purpose: str, channel: str) -> ConsentEntry:
        return ConsentEntry(purpose, channel, "granted", "consent", "form", 1, None)

    silent = found(
        profile(consent=(entry("marketing", "*"),)), profile(consent=(entry("marketing", "email"),)), profile()
    )["consent_unknown"]
    assert {each.what.split("`")[1]: each.count for each in silent} == {"marketing": 1, "personalisation": 3}


def test_a_sample_gives_an_interval_and_a_whole_gives_none() -> None:
    unknown = [profile(region=None), *[profile()] * 9]
    (whole,) = found(*unknown)["region_unknown"]
    (part,) = found(*unknown, sampled=True)["region_unknown"]
    assert (whole.share, whole.interval) == (0.1, None)
    assert part.interval is not None
    low, high = part.interval
    assert 0 < low < 0.1 < high < 0.5


def test_profiles_that_cannot_be_read_are_severe() -> None:
    assert found(None, profile())["unreadable"][0].severity is Severity.SEVERE


def test_an_empty_store_is_told_what_to_do() -> None:
    assert list(found()) == ["no_customers"]


def test_a_fact_with_a_healthy_customer_has_nothing_to_say() -> None:
    assert isinstance(BUNDLE.facts[0], Fact)
    values = {"recency": 1, "history": 2.0, "member": True, "zip_code": "Urban", "nickname": "x", "newbie": 0}
    consents = tuple(ConsentEntry(p, "*", "granted", "consent", "form", 1, None) for p in BUNDLE.purposes)
    assert found(profile(attributes=values, as_of_ms={"crm": NOW_MS}, consent=consents)) == {}
