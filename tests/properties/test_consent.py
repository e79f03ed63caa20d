"""Consent as properties: nothing opens what a refusal closed, and who may not be known is not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from app.core.decision.gate import gate
from app.core.decision.record import decode
from app.core.decision.replay import replay
from app.core.decision.situation import Situation, situation
from policy.bundle import Bundle, Region
from policy.codes import Action, Reason, SuppressionReason, SwitchKind
from policy.consent import (
    contact_permission,
    merged,
    merged_suppressions,
    personalisation_permission,
    unknown_region,
)
from policy.control import Control, Switch
from policy.facts import ConsentEntry, Facts, Suppression
from tests.support.contract import contract_bundle
from tests.support.deciding import NOW_MS, Decided, decide
from tests.support.pharmacy import off, pharmacy
from tests.support.strategies import customers, requests

FEW = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
MANY = settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))

CHANNELS = ["email", "web", "sms", "*"]
PURPOSES = ["marketing", "personalisation", "care", "transactional"]
BASES = ["consent", "double_opt_in", "existing_customer", "legitimate_interest"]
REGIONS = ["DE", "US", "US-CA", "US-CO", "FR", "IT", "PL", None]
#: Few instants, so that they meet: before, at and after now, and never.
TIMES = [NOW_MS - 2, NOW_MS - 1, NOW_MS, NOW_MS + 1, NOW_MS + 2]


def entries(purposes: list[str] = PURPOSES) -> st.SearchStrategy[tuple[ConsentEntry, ...]]:
    one = st.builds(
        ConsentEntry,
        st.sampled_from(purposes),
        st.sampled_from(CHANNELS),
        st.sampled_from(["granted", "granted", "denied"]),
        st.sampled_from(BASES),
        st.sampled_from(["form", "import"]),
        st.sampled_from(TIMES),
        st.sampled_from([None, None, *TIMES]),
    )
    return st.lists(one, max_size=6, unique_by=lambda each: each[:2]).map(tuple)


def stops() -> st.SearchStrategy[tuple[Suppression, ...]]:
    one = st.builds(Suppression, st.sampled_from(CHANNELS), st.sampled_from(SuppressionReason), st.sampled_from(TIMES))
    return st.lists(one, max_size=3, unique_by=lambda each: each[:2]).map(tuple)


MODES = st.sampled_from(["opt_in", "soft_opt_in", "opt_out"])
PURPOSE_SETS = st.frozensets(st.sampled_from(PURPOSES))
ROWS = st.builds(
    Region,
    id=st.just("XX"),
    contact=MODES,
    personalisation=MODES,
    restricted=st.frozensets(st.sampled_from(["sensitive:health", "sensitive:family"])),
    gpc_denies=PURPOSE_SETS,
    bases=st.one_of(st.none(), st.frozensets(st.sampled_from(BASES), min_size=1)),
    timezones=st.just(()),
    quiet=st.just(()),
)


def switches() -> st.SearchStrategy[tuple[Switch, ...]]:
    names = {
        SwitchKind.PLACEMENT: ["weekly_offer", "banner", "forecast", "order_receipt"],
        SwitchKind.MESSAGE: ["welcome", "tips", "refill", "baby_box", "receipt"],
        SwitchKind.MODEL: ["needs"],
        SwitchKind.FEATURE: ["recency", "visits", "chronic", "newbie"],
        SwitchKind.PURPOSE: PURPOSES,
        SwitchKind.REGION: ["DE", "US", "US-CA", "FR", "default"],
        SwitchKind.ALL: ["*"],
    }
    pairs = [(kind, name) for kind, of_kind in names.items() for name in of_kind]
    until = st.sampled_from([None, None, NOW_MS, NOW_MS + 1])
    one = st.builds(lambda pair, until_ms: off(*pair, until_ms=until_ms), st.sampled_from(pairs), until)
    return st.lists(one, max_size=3).map(tuple)


@st.composite
def asked(draw: st.DrawFn) -> tuple[Facts, dict[str, Any]]:
    """A customer of the pharmacy, and what `decide` takes beside bundle and facts."""
    values: dict[str, Any] = {
        "recency": st.integers(0, 24), "visits": st.integers(0, 10),
        "chronic": st.booleans(), "newbie": st.booleans(),
    }  # fmt: skip
    facts = Facts(
        now_ms=NOW_MS,
        exists=True,
        region=draw(st.sampled_from(REGIONS)),
        timezone=None,
        language=None,
        consent=draw(entries()),
        suppressions=draw(st.one_of(st.just(()), st.just(()), stops())),
        values=draw(st.fixed_dictionaries({}, optional=values)),
        as_of_ms={"crm": NOW_MS, "care": NOW_MS},
        merge_pending=draw(st.sampled_from([False, False, True])),
    )
    names = st.sampled_from(sorted(pharmacy().placements))
    wanted: dict[str, Any] = {
        "placements": draw(st.lists(names, min_size=1, max_size=3, unique=True)),
        "gpc": draw(st.booleans()),
        "control": Control(draw(switches()), stale=draw(st.sampled_from([False, False, False, True]))),
        "model": lambda message: len(message) / 32,
    }
    return facts, wanted


def made(bundle: Bundle, facts: Facts, wanted: dict[str, Any]) -> tuple[Situation, Decided]:
    seen = situation(bundle, facts, {}, 0, gpc=wanted["gpc"], control=wanted["control"])
    return seen, decide(bundle, facts, **wanted)


# The law


@MANY
@given(entries(["marketing"]), ROWS, st.booleans(), st.sampled_from(["email", "sms"]))
def test_contact_is_permitted_only_on_a_grant_that_suffices_or_on_silence_where_it_does(
    said: tuple[ConsentEntry, ...], law: Region, gpc: bool, channel: str
) -> None:
    found = contact_permission(said, "marketing", channel, law, NOW_MS, gpc)
    of_channel = [each for each in said if each.channel in (channel, "*")]
    alive = [each for each in of_channel if each.expires_ms is None or each.expires_ms > NOW_MS]
    on_silence = found.state == "unknown" and found.basis == "opt_out in XX"
    assert found.permitted == (found.state == "granted" or on_silence)
    if found.state == "granted":
        assert any(each.state == "granted" and each.basis == found.basis for each in alive)
    elif found.permitted:
        assert (alive, law.contact) == ([], "opt_out")
    if gpc and "marketing" in law.gpc_denies:
        assert (found.permitted, found.state) == (False, "denied")


@MANY
@given(entries(["marketing"]), ROWS, st.booleans(), st.sampled_from(["email", "sms", "*"]), st.sampled_from(TIMES))
def test_a_refusal_more_never_permits_more(
    said: tuple[ConsentEntry, ...], law: Region, gpc: bool, channel: str, at_ms: int
) -> None:
    assume(not any(each.channel == channel and each.state == "denied" for each in said))
    refusal = ConsentEntry("marketing", channel, "denied", "consent", "form", at_ms)
    others = tuple(each for each in said if each.channel != channel)
    for asked_of in ("email", "sms", "web"):
        before = contact_permission(said, "marketing", asked_of, law, NOW_MS, gpc)
        after = contact_permission((*others, refusal), "marketing", asked_of, law, NOW_MS, gpc)
        assert before.permitted or not after.permitted


@MANY
@given(entries(), ROWS, st.sampled_from(PURPOSES), st.sampled_from(["email", "web"]))
def test_a_signal_of_the_browser_never_permits_more(
    said: tuple[ConsentEntry, ...], law: Region, purpose: str, channel: str
) -> None:
    without, signalled = [contact_permission(said, purpose, channel, law, NOW_MS, gpc) for gpc in (False, True)]
    assert without.permitted or not signalled.permitted
    without, signalled = [personalisation_permission(said, channel, law, NOW_MS, gpc) for gpc in (False, True)]
    assert without.permitted or not signalled.permitted


@MANY
@given(entries(), ROWS, st.booleans(), st.sampled_from(PURPOSES), st.sampled_from(["email", "web"]))
def test_an_unknown_region_permits_nothing_that_the_row_of_everywhere_else_does_not(
    said: tuple[ConsentEntry, ...], default: Region, gpc: bool, purpose: str, channel: str
) -> None:
    nowhere = unknown_region({"default": default})
    known = contact_permission(said, purpose, channel, default, NOW_MS, gpc)
    assert known.permitted or not contact_permission(said, purpose, channel, nowhere, NOW_MS, gpc).permitted


# Two profiles become one

PROFILES = entries(["marketing", "care"])


@MANY
@given(PROFILES, PROFILES)
def test_it_does_not_matter_which_profile_takes_in_the_other(
    mine: tuple[ConsentEntry, ...], theirs: tuple[ConsentEntry, ...]
) -> None:
    assert merged(mine, theirs) == merged(theirs, mine)


@MANY
@given(PROFILES, PROFILES, PROFILES)
def test_it_does_not_matter_in_which_order_three_profiles_become_one(
    one: tuple[ConsentEntry, ...], two: tuple[ConsentEntry, ...], three: tuple[ConsentEntry, ...]
) -> None:
    assert merged(merged(one, two), three) == merged(one, merged(two, three))


@MANY
@given(PROFILES, PROFILES)
def test_a_merge_that_is_done_again_changes_nothing(
    mine: tuple[ConsentEntry, ...], theirs: tuple[ConsentEntry, ...]
) -> None:
    once = merged(mine, theirs)
    assert merged(once, once) == merged(once, theirs) == merged(mine, once) == once


@MANY
@given(PROFILES, PROFILES, st.sampled_from(CHANNELS), st.sampled_from(["marketing", "care"]), st.sampled_from(TIMES))
def test_a_merged_profile_refuses_what_either_refused_and_permits_nothing_that_neither_did(
    mine: tuple[ConsentEntry, ...], theirs: tuple[ConsentEntry, ...], channel: str, purpose: str, now_ms: int
) -> None:
    law = Region("XX", "opt_in", "opt_in", bases=frozenset(BASES))
    one, other, both = [
        contact_permission(said, purpose, channel, law, now_ms) for said in (mine, theirs, merged(mine, theirs))
    ]
    if "denied" in (one.state, other.state):
        assert both.state == "denied"
    assert not both.permitted or one.permitted or other.permitted


@MANY
@given(stops(), stops(), stops())
def test_merged_stops_are_all_stops(
    one: tuple[Suppression, ...], two: tuple[Suppression, ...], three: tuple[Suppression, ...]
) -> None:
    both = merged_suppressions(one, two)
    assert both == merged_suppressions(two, one) == merged_suppressions(both, two)
    assert merged_suppressions(both, three) == merged_suppressions(one, merged_suppressions(two, three))
    assert {each[:2] for each in both} == {each[:2] for each in (*one, *two)}


# Deciding


@FEW
@given(asked())
def test_nothing_opens_marketing_that_a_refusal_a_stop_a_merge_or_a_switch_closed(
    case: tuple[Facts, dict[str, Any]],
) -> None:
    bundle, (facts, wanted) = pharmacy(), case
    seen, decided = made(bundle, facts, wanted)
    control = wanted["control"]
    for each in decided.decisions:
        placement, sent = each.decision.placement, each.decision.action is Action.SEND
        off_here = any(
            control.off(kind, name, NOW_MS)
            for kind, name in (("all", "*"), ("placement", placement.id), ("purpose", placement.purpose))
        )
        assert not (sent and off_here)
        if placement.marketing:
            stopped = any(stop.scope in ("*", placement.channel) for stop in facts.suppressions)
            law = seen.region or unknown_region(bundle.regions)
            contact = contact_permission(
                facts.consent, placement.purpose, placement.channel, law, NOW_MS, wanted["gpc"]
            )
            closed = stopped or control.stale or facts.merge_pending or not contact.permitted
            assert not (sent and closed)
        message = each.decision.message
        if sent and message is not None:
            assert control.off(SwitchKind.MESSAGE, message.id, NOW_MS) is None


@FEW
@given(asked())
def test_what_is_sensitive_goes_only_to_who_granted_it_and_nowhere_that_restricts_it(
    case: tuple[Facts, dict[str, Any]],
) -> None:
    bundle, (facts, wanted) = pharmacy(), case
    seen, decided = made(bundle, facts, wanted)
    law = seen.region or unknown_region(bundle.regions)
    for each in decided.decisions:
        decision = each.decision
        if decision.position is None or decision.action is not Action.SEND:
            continue
        sensitive = decision.placement.candidates[decision.position].sensitive
        if sensitive:
            found = gate(decision.placement, seen)
            assert found.contact is not None
            assert found.personalisation is not None
            assert (found.contact.state, found.personalisation.state) == ("granted", "granted")
            assert not sensitive & law.restricted


@FEW
@given(asked())
def test_the_record_holds_only_what_may_have_been_read_and_decides_again(case: tuple[Facts, dict[str, Any]]) -> None:
    bundle, (facts, wanted) = pharmacy(), case
    seen, decided = made(bundle, facts, wanted)
    gates = [gate(each.decision.placement, seen) for each in decided.decisions]
    record = decode(decided.record, bundle)
    read = set(record.facts.values)
    if not any(each.personal for each in gates):
        assert read <= {"newbie"}
    if not any(each.sensitive for each in gates):
        assert "chronic" not in read
    assert not any(wanted["control"].off(SwitchKind.FEATURE, name, NOW_MS) for name in read)
    assert [each.same for each in replay(record)] == [True] * len(gates)


@FEW
@given(data=st.data())
def test_a_switch_of_something_else_changes_no_answer(data: st.DataObject) -> None:
    """The quick way, which is taken without any switch, and the long one agree."""
    bundle = contract_bundle()
    facts, wanted = data.draw(customers(bundle)), data.draw(requests(bundle))
    thrown = Control((off("message", "nobodys"), off("feature", "nobodys"), off("model", "nobodys")))
    usual, switched = decide(bundle, facts, **wanted), decide(bundle, facts, **wanted, control=thrown)
    assert [each.answer for each in usual.decisions] == [each.answer for each in switched.decisions]
    assert [each.decision.excluded for each in usual.decisions] == [
        each.decision.excluded for each in switched.decisions
    ]


def blind_to(name: str, facts: Facts, wanted: dict[str, Any]) -> None:
    """The answer and the record are the same whatever the fact is."""
    unlike: dict[str, list[Any]] = {"recency": [0, 20], "visits": [0, 9], "chronic": [True, False]}
    without = {key: value for key, value in facts.values.items() if key != name}
    told = [made(pharmacy(), facts._replace(values={**without, name: value}), wanted)[1] for value in unlike[name]]
    told.append(made(pharmacy(), facts._replace(values=without), wanted)[1])
    assert len({tuple(each.answer for each in decided.decisions) for decided in told}) == 1
    assert len({decided.record for decided in told}) == 1


@FEW
@given(asked())
def test_what_may_not_be_read_makes_no_difference(case: tuple[Facts, dict[str, Any]]) -> None:
    facts, wanted = case
    seen = situation(pharmacy(), facts, {}, 0, gpc=wanted["gpc"], control=wanted["control"])
    gates = [gate(pharmacy().placements[name], seen) for name in wanted["placements"]]
    if not any(each.personal for each in gates):
        blind_to("recency", facts, wanted)
        blind_to("visits", facts, wanted)
    if not any(each.sensitive for each in gates):
        blind_to("chronic", facts, wanted)
    for name in ("recency", "visits", "chronic"):
        if wanted["control"].off(SwitchKind.FEATURE, name, NOW_MS):
            blind_to(name, facts, wanted)


@pytest.mark.parametrize("name", ["weekly_offer", "order_receipt"])
@FEW
@given(case=asked())
def test_the_gate_says_first_what_comes_first(name: str, case: tuple[Facts, dict[str, Any]]) -> None:
    facts, wanted = case
    placement, control = pharmacy().placements[name], wanted["control"]
    seen = situation(pharmacy(), facts, {}, 0, gpc=wanted["gpc"], control=control)
    found = gate(placement, seen)
    if placement.marketing and control.stale:
        assert found.stop is Reason.FACTS_UNAVAILABLE
    elif control.off(SwitchKind.ALL, "*", NOW_MS):
        assert (found.stop, found.stop_detail) == (Reason.SWITCHED_OFF, "all *")
    elif placement.marketing and facts.merge_pending:
        assert found.stop in (Reason.MERGE_PENDING, Reason.SWITCHED_OFF)
    if found.stop is not None:
        assert (found.personal, found.sensitive) == (False, False)
