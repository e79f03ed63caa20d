"""Exploration, terms, trials and waiting, as decisions: what is chosen, with which probability, and what is said."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.core.decision.answer import describe
from app.core.decision.arbitrate import Decision, arbitrate
from app.core.decision.eligible import eligible
from app.core.decision.failed import unknown_situation, without_facts
from app.core.decision.gate import gate
from app.core.decision.ledger import new_contact, new_exposures
from app.core.decision.limits import limits
from app.core.decision.record import decode
from app.core.decision.replay import kind_of, replay
from app.core.decision.score import Scoring
from app.core.decision.sending import NEVER, SendWindow
from app.core.decision.situation import situation
from app.core.decision.view import view
from policy.arms import arm_of, held_arm
from policy.bundle import Bundle
from policy.codes import Action, Reason, SwitchKind
from policy.compile import from_canonical
from policy.control import Control, Switch
from policy.exploration import probabilities_of_being_best, softmax
from tests.support.deciding import (
    DAY_MS,
    HOUR_MS,
    NOW_MS,
    Decided,
    contact,
    decide,
    facts_of,
    float32,
    granted,
    kind,
)
from tests.support.strategies import customers, requests
from tests.support.trials import CRITICAL, chi_square, trials_bundle

BUNDLE = trials_bundle()
KNOWN = {"recency": 3, "member": False, "channel": "Phone"}
MODEL = {"red": 0.3, "blue": 0.1, "green": 0.1}  # worth 0.3, 0.25, 0.15
FEW = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
STRANGER = (granted("marketing"),)


def made(placement: str, seed: int = 0, bundle: Bundle = BUNDLE, **more: Any) -> Decided:
    facts = more.pop("facts", None) or facts_of(KNOWN)
    return decide(bundle, facts, [placement], seed=seed * 0x9E3779B97F4A7C15 % 2**64, model=MODEL, **more)


def decided(placement: str, seed: int = 0, **more: Any) -> Decision:
    decision: Decision = made(placement, seed, **more).first
    return decision


def shown(of: Decided, bundle: Bundle = BUNDLE) -> dict[str, Any]:
    raw: dict[str, Any] = orjson.loads(
        orjson.dumps(view(decode(of.record, bundle), 0, aborted=False), option=orjson.OPT_UTC_Z)
    )
    return raw


def answered(of: Decided) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(of.decisions[0].answer)
    return found


def with_terms(**terms: Any) -> Bundle:
    """The bundle, with other terms in its placement without any trying."""
    best = BUNDLE.placements["best"]
    changed = dataclasses.replace(best, terms=dataclasses.replace(best.terms, **terms))
    return dataclasses.replace(BUNDLE, placements={**BUNDLE.placements, "best": changed})


# Exploration


def test_epsilon_tries_every_admissible_message_as_often_as_it_says() -> None:
    decisions = [decided("epsilon", seed) for seed in range(4_000)]
    counts = Counter(each.message.id for each in decisions if each.message)
    stated = {each.message.id: each.propensity for each in decisions if each.message}
    assert stated == {"red": 1 - 0.3 + 0.3 / 3, "blue": 0.3 / 3, "green": 0.3 / 3}
    names = list(stated)
    assert chi_square([counts[name] for name in names], [stated[name] or 0.0 for name in names]) < CRITICAL[2]


def test_what_is_tried_says_so_and_the_best_does_not() -> None:
    reasons = {(each.message.id, each.reason) for seed in range(200) if (each := decided("epsilon", seed)).message}
    assert reasons == {("red", "model_ranked"), ("blue", "explored"), ("green", "explored")}


def test_the_score_is_that_of_what_was_tried() -> None:
    scores = {each.message.id: each.score for seed in range(200) if (each := decided("epsilon", seed)).message}
    assert scores == {"red": float32(0.3), "blue": float32(0.1) * 2 * 1.25, "green": float32(0.1) * 3 * 1.0 * 0.5}


def test_softmax_tries_in_proportion_to_scores() -> None:
    decisions = [decided("softmax", seed) for seed in range(4_000)]
    names = ["red", "blue", "green"]
    probabilities = softmax(decisions[0].scores, 0.1)
    counts = Counter(each.message.id for each in decisions if each.message)
    assert chi_square([counts[name] for name in names], list(probabilities)) < CRITICAL[2]
    assert {each.propensity for each in decisions} == set(probabilities)


def test_only_what_is_admissible_is_tried() -> None:
    """Green's rule fails."""
    old = facts_of(KNOWN | {"recency": 40})
    decisions = [decided("epsilon", seed, facts=old) for seed in range(300)]
    assert {(each.message.id, each.propensity) for each in decisions if each.message} == {("red", 0.85), ("blue", 0.15)}


def test_rules_without_a_model_try_what_is_approved() -> None:
    """Green is not in the order: nobody approved it."""
    decisions = [decided("ruled", seed) for seed in range(300)]
    assert {(each.message.id, each.reason, each.propensity) for each in decisions if each.message} == {
        ("blue", "rule_ranked", 0.85),
        ("red", "explored", 0.15),
    }
    assert {each.rung for each in decisions} == {"rules"}


def test_softmax_has_nothing_to_weigh_without_a_model() -> None:
    assert {(each.reason, each.propensity) for s in range(50) for each in [decided("ruled_softmax", s)]} == {
        ("rule_ranked", 1.0)
    }


@pytest.mark.parametrize("placement", ["epsilon", "softmax", "ruled", "unsure"])
def test_nothing_is_tried_on_who_gave_no_leave_to_personalise(placement: str) -> None:
    facts = facts_of(KNOWN, consent=STRANGER)
    decisions = [decided(placement, seed, facts=facts) for seed in range(100)]
    assert {(each.reason, each.propensity) for each in decisions} == {("placement_default", 1.0)}


def test_nothing_is_tried_where_the_model_does_not_answer() -> None:
    decisions = [decide(BUNDLE, facts_of(KNOWN), ["epsilon"], seed=seed).first for seed in range(100)]
    assert {(each.reason, each.message.id, each.propensity) for each in decisions} == {("rule_ranked", "blue", 1.0)}


def test_nothing_is_tried_where_the_model_is_not_sure() -> None:
    """Red is the most valuable, and red is the message for warm ones."""
    decisions = [decided("unsure", seed) for seed in range(100)]
    assert {(each.reason, each.message.id, each.propensity) for each in decisions if each.message} == {
        ("category_default", "red", 1.0)
    }


def test_the_message_and_its_variant_are_drawn_apart() -> None:
    """Which message is tried tells nothing of its variant."""
    decisions = [decided("epsilon", seed) for seed in range(6_000)]
    red = [each for each in decisions if each.message and each.message.id == "red"]
    counts = [sum(each.variant == place for each in red) for place in (0, 1)]
    assert chi_square(counts, [0.75, 0.25]) < CRITICAL[1]


# Thompson


def earned(plain: tuple[int, int], urgent: tuple[int, int]) -> Control:
    return Control(earned={("red", 1, "plain"): plain, ("red", 1, "urgent"): urgent})


def test_variants_are_drawn_with_the_probability_that_each_is_the_best() -> None:
    control = earned((5, 100), (9, 100))
    probabilities = probabilities_of_being_best(((6, 96), (10, 92)))
    decisions = [decided("worded", seed, control=control) for seed in range(3_000)]
    counts = [sum(each.variant == place for each in decisions) for place in (0, 1)]
    assert chi_square(counts, list(probabilities)) < CRITICAL[1]
    assert {(each.variant, each.variant_propensity) for each in decisions} == set(enumerate(probabilities))
    assert {each.propensity for each in decisions} == {1.0}, "the message itself was certain"


def test_of_whom_nothing_is_known_variants_are_tried_alike() -> None:
    assert {decided("worded", seed).variant_propensity for seed in range(50)} == {0.5}


def test_more_responses_than_sends_are_no_impossibility() -> None:
    """An outcome may be counted before its send is."""
    assert decided("worded", 0, control=earned((3, 0), (0, 0))).variant_propensity is not None


def test_thompson_leaves_the_variant_to_its_weight_without_leave_to_personalise() -> None:
    facts, control = facts_of(KNOWN, consent=STRANGER), earned((0, 1000), (900, 1000))
    decisions = [decided("worded", seed, facts=facts, control=control) for seed in range(200)]
    assert {(each.variant, each.variant_propensity) for each in decisions} == {(0, 0.75), (1, 0.25)}


def test_a_variant_by_weight_says_its_probability_and_a_single_one_none() -> None:
    decisions = [decided("best", seed) for seed in range(80)]
    assert {(each.variant, each.variant_propensity) for each in decisions} == {(0, 0.75), (1, 0.25)}
    blue = decide(BUNDLE, facts_of(KNOWN), ["best"], model=MODEL | {"blue": 0.9}).first
    assert (blue.message.id, blue.variant, blue.variant_propensity) == ("blue", 0, None)


# Terms


def test_usual_terms_give_the_same_bits_as_no_terms() -> None:
    decision = decided("best")
    assert list(decision.scores) == [
        float32(0.3) * 1.0 * 1.0 * 1.0,
        float32(0.1) * 2.0 * 1.25 * 1.0,
        float32(0.1) * 3.0 * 1.0 * 0.5,
    ]


@pytest.mark.parametrize(
    ("terms", "scores"),
    [
        ({"propensity": 0.0}, [1.0, 2.5, 1.5]),
        ({"value": 0.0}, [float32(0.3), float32(0.1) * 1.25, float32(0.1) * 0.5]),
        ({"value": 2.0}, [float32(0.3), float32(0.1) * 4 * 1.25, float32(0.1) * 9 * 0.5]),
        ({"lever": False}, [float32(0.3), float32(0.1) * 2, float32(0.1) * 3 * 0.5]),
        ({"context_weight": False}, [float32(0.3), float32(0.1) * 2 * 1.25, float32(0.1) * 3]),
        ({"propensity": 2.0}, [float32(0.3) ** 2, float32(0.1) ** 2 * 2 * 1.25, float32(0.1) ** 2 * 3 * 0.5]),
    ],
    ids=str,
)
def test_each_term_can_be_weighed_and_switched_off(terms: dict[str, Any], scores: list[float]) -> None:
    assert list(decided("best", bundle=with_terms(**terms)).scores) == scores


def test_a_context_weight_that_is_a_rule_counts_and_is_in_the_record() -> None:
    usual, browsing = made("best"), made("best", context={"trigger": "browse"})
    assert [line["terms"]["context_weight"] for line in shown(usual)["candidates"]] == [1.0, 1.0, 0.5]
    assert [line["terms"]["context_weight"] for line in shown(browsing)["candidates"]] == [1.5, 1.0, 0.5]
    assert browsing.first.scores[0] == float32(0.3) * 1.5


def test_where_context_weights_are_switched_off_a_rule_changes_nothing() -> None:
    decision = decided("weighed", context={"trigger": "browse"})
    assert (decision.weights, decision.scores) == ((), decided("weighed").scores)


def tired(**more: Any) -> Any:
    """Two warm mails of late, so that one feels like another."""
    red = kind(BUNDLE.placements["best"], "red")
    return facts_of(KNOWN, contacts=tuple(contact(red, NOW_MS - n * DAY_MS, number=n) for n in (2, 1)), **more)


def test_what_a_customer_got_of_late_is_worth_less_and_the_record_says_how_much() -> None:
    fresh, of = decided("best"), made("best", facts=tired())
    factors = [line["terms"]["fatigue"] for line in shown(of)["candidates"]]
    assert (factors[1], factors[2]) == (1.0, 1.0)
    assert 0.5 < factors[0] < 1.0
    assert list(of.first.scores) == [score * factor for score, factor in zip(fresh.scores, factors, strict=True)]


def test_fatigue_can_be_switched_off() -> None:
    assert decided("best", bundle=with_terms(fatigue=False), facts=tired()).scores == decided("best").scores


@FEW
@given(data=st.data())
def test_a_score_is_the_product_of_the_terms_that_the_record_shows(data: st.DataObject) -> None:
    facts = data.draw(customers(BUNDLE))._replace(values=KNOWN, consent=facts_of().consent, suppressions=())
    terms = data.draw(
        st.fixed_dictionaries({
            "propensity": st.sampled_from([0.0, 0.5, 1.0, 2.0]), "value": st.sampled_from([0.0, 0.5, 1.0, 2.0]),
            "lever": st.booleans(), "context_weight": st.booleans(), "fatigue": st.booleans(),
        })
    )  # fmt: skip
    bundle = with_terms(**terms)
    of = decide(bundle, facts, ["best"], {"trigger": "browse"}, model=MODEL)
    for line in shown(of, bundle)["candidates"]:
        named = line["terms"]
        product = named["response"] * named["value"] * named["lever"] * named["context_weight"] * named["fatigue"]
        assert product == line["score"] == named["score"]


# Trials


def customers_in(arm: str, number: int = 2_000) -> list[str]:
    shares = BUNDLE.placements["half"].arms[0].shares
    return [key for n in range(number) if held_arm("c", shares, key := f"cus_{n}") == arm]


def test_a_holdout_holds_out_its_share() -> None:
    arms = Counter(decided("half", customer=f"cus_{n}").arm for n in range(2_000))
    assert chi_square([arms[arm] for arm in ("treatment", "holdout", "baseline")], [0.5, 0.3, 0.2]) < CRITICAL[2]  # type: ignore[index]  # an arm can be None, of which there is none here


def test_what_is_held_out_is_what_the_treatment_would_have_been() -> None:
    """The same seed: everything but the end is the same."""
    treated, held = customers_in("treatment")[0], customers_in("holdout")[0]
    sent, withheld = decided("half", 7, customer=treated), decided("half", 7, customer=held)
    assert (withheld.action, withheld.reason) == (Action.SUPPRESS, Reason.HOLDOUT)
    same = ("rung", "position", "variant", "score", "propensity", "scores", "window", "funnel", "excluded", "degraded")
    assert [getattr(withheld, name) for name in same] == [getattr(sent, name) for name in same]


def test_the_answer_to_a_holdout_names_no_message_and_the_record_names_what_it_would_have_been() -> None:
    of = made("held")
    answer, record = answered(of), shown(of)
    assert (answer["action"], answer["reason"], answer["arm"]) == ("suppress", "holdout", "holdout")
    assert (answer["message"], answer["send_window"]) == (None, None)
    assert answer["propensity"] == 1.0
    assert answer["retryable"] is False
    assert "experiments" not in answer
    assert record["would_have_been"]["message"]["id"] == "red"
    assert record["would_have_been"]["send_window"]["not_before"] == "2026-11-24T10:00:00Z"
    assert record["exposures"] == [{"trial": "all_held/a", "arm": "holdout", "first": True}]


def test_nothing_is_reserved_for_who_is_held_out() -> None:
    assert new_contact(decided("held"), "0" * 26, 0, kind_of) is None


def test_exposures_are_told_once_a_customer_and_trial() -> None:
    facts = facts_of(KNOWN)
    decisions = [each.decision for each in decide(BUNDLE, facts, ["held", "held_texts", "told"], model=MODEL).decisions]
    first = new_exposures(decisions, facts)
    assert [trial for trial, _ in first] == ["all_held/a", "tone/s3"]
    assert new_exposures(decisions, facts._replace(exposures=dict(first))) == ()
    assert new_exposures(decisions, facts._replace(exposures={"all_held/a": "treatment"})) == (first[1],)


def test_without_a_key_there_is_nobody_to_assign() -> None:
    """All would be in one arm."""
    for placement in ("held", "half", "told"):
        decision = decided(placement, customer="")
        assert (decision.arm, decision.exposures) == ("treatment", ())


def test_where_no_region_is_known_nobody_takes_part_in_a_trial_of_regions() -> None:
    decision = decided("regional", facts=facts_of(KNOWN, region=None, timezone=None))
    assert (decision.arm, decision.exposures) == ("treatment", ())


def test_all_customers_of_a_region_are_in_one_arm() -> None:
    arms = {decided("regional", customer=f"cus_{n}", facts=facts_of(KNOWN, region="FR")).arm for n in range(30)}
    assert len(arms) == 1
    regions = [f"{a}{b}" for a in "ABCEFG" for b in "LMNOPR"]
    assert len({decided("regional", facts=facts_of(KNOWN, region=code)).arm for code in regions}) == 2


def test_an_arm_of_an_experiment_gets_its_variant_and_says_its_share() -> None:
    experiment = BUNDLE.placements["tested"].experiments[0]
    seen = set()
    for n in range(60):
        customer = f"cus_{n}"
        arm = arm_of("s1", experiment.shares, customer)
        for seed in range(3):
            of = made("tested", seed, customer=customer)
            decision = of.first
            assert decision.chosen_variant.id == {"a": "plain", "b": "urgent"}[arm]
            assert decision.variant_propensity == {"a": 0.25, "b": 0.75}[arm]
            assert answered(of)["experiments"] == {"subject": arm}
        seen.add(arm)
    assert seen == {"a", "b"}


def test_the_baseline_is_worded_by_weight_whatever_experiments_prescribe() -> None:
    decisions = [decided("as_before_worded", seed) for seed in range(50)]
    assert {(each.variant, each.variant_propensity) for each in decisions} == {(0, 0.75), (1, 0.25)}
    assert {each.exposures for each in decisions} == {(("all_as_before/b", "baseline"),)}


def test_arms_with_the_same_variant_add_up() -> None:
    assert decided("tested_alike").variant_propensity == 1.0


def test_an_arm_that_prescribes_nothing_leaves_the_variant_to_its_weight() -> None:
    """Half of all decisions are plain by arm, and three quarters of the other half by weight."""
    decisions = [decided("drawn", seed) for seed in range(4_000)]
    counts = [sum(each.variant == place for each in decisions) for place in (0, 1)]
    assert chi_square(counts, [0.875, 0.125]) < CRITICAL[1]
    assert {(each.variant, each.variant_propensity) for each in decisions} == {(0, 0.875), (1, 0.125)}


def test_a_trial_by_decision_has_an_arm_a_decision_and_no_first_time() -> None:
    decisions = [decided("drawn", seed) for seed in range(100)]
    assert {each.exposures[0].arm for each in decisions} == {"a", "b"}
    assert new_exposures(decisions, facts_of()) == ()
    assert set(answered(made("drawn"))["experiments"]) == {"each_time"}


def test_an_answer_without_trials_is_as_it_always_was() -> None:
    of = made("best")
    assert list(answered(of)) == [
        "decision_id", "placement", "action", "rung", "reason", "message", "send_window", "score", "propensity", "arm",
        "degraded", "funnel", "retryable",
    ]  # fmt: skip
    assert answered(of)["arm"] == "treatment"


# Waiting


def test_a_deferred_answer_says_from_when_on_and_reserves_nothing() -> None:
    of = made("evening")
    answer = answered(of)
    assert (answer["action"], answer["reason"], answer["rung"]) == ("defer", "quiet_hours", "rules")
    assert (answer["message"], answer["propensity"], answer["retryable"]) == (None, None, False)
    assert answer["send_window"]["not_before"] == "2026-11-24T17:00:00Z"  # 18:00 in Berlin
    assert new_contact(of.first, "0" * 26, 0, kind_of) is None


def test_a_wait_without_end_is_a_suppression() -> None:
    decision = decided("moment")
    assert (decision.action, decision.reason, decision.window) == (Action.SUPPRESS, Reason.QUIET_HOURS, None)


def test_where_other_messages_were_open_it_was_not_the_hour_alone() -> None:
    """The model is not sure, and the one message for that case may not go out at this hour."""
    placement, seen = BUNDLE.placements["unsure"], situation(BUNDLE, facts_of(KNOWN), {}, 1, "cus_1")
    gated = gate(placement, seen)
    pool = eligible(placement, seen, gated, {})
    open_ones = limits(placement, seen, pool, ())._replace(positions=[1, 2], excluded={0: NEVER})
    decision = arbitrate(placement, seen, gated, pool, Scoring([0.1, 0.2, 0.1]), open_ones)
    assert (decision.action, decision.reason) == (Action.SUPPRESS, Reason.NO_ADMISSIBLE_MESSAGE)
    closed = open_ones._replace(positions=[], excluded=dict.fromkeys(range(3), NEVER))
    decision = arbitrate(placement, seen, gated, pool, Scoring([0.1, 0.2, 0.1]), closed)
    assert (decision.action, decision.reason) == (Action.SUPPRESS, Reason.QUIET_HOURS)


def test_the_first_window_of_all_that_wait_is_named() -> None:
    placement, seen = BUNDLE.placements["best"], situation(BUNDLE, facts_of(KNOWN), {}, 1, "cus_1")
    gated = gate(placement, seen)
    pool = eligible(placement, seen, gated, {})
    early, late = (SendWindow(NOW_MS + hours * HOUR_MS, NOW_MS + 9 * HOUR_MS, "placement_hours") for hours in (3, 4))
    waiting = limits(placement, seen, pool, ())._replace(positions=[], waiting={0: late, 2: early})
    decision = arbitrate(placement, seen, gated, pool, Scoring([0.3, 0.2, 0.1]), waiting)
    assert (decision.action, decision.window, decision.rung) == (Action.DEFER, early, "model")
    assert (decision.position, decision.propensity, decision.variant_propensity) == (None, None, None)


def test_a_baseline_waits_for_its_own_message_only() -> None:
    placement, seen = BUNDLE.placements["as_before"], situation(BUNDLE, facts_of(KNOWN), {}, 1, "cus_1")
    gated = gate(placement, seen)
    pool = eligible(placement, seen, gated, {})
    late = SendWindow(NOW_MS + 3 * HOUR_MS, NOW_MS + 4 * HOUR_MS, "placement_hours")
    admissible = limits(placement, seen, pool, ())._replace(positions=[0])
    for waits, action in ((1, Action.SUPPRESS), (2, Action.DEFER)):  # green is what was sent before
        decision = arbitrate(
            placement, seen, gated, pool, Scoring([0.3, 0.2, 0.1]), admissible._replace(waiting={waits: late})
        )
        assert decision.action is action


# The gate


def test_stale_control_facts_may_be_fresh_again() -> None:
    answer = answered(made("best", control=Control(stale=True)))
    assert (answer["reason"], answer["retryable"], answer["degraded"]) == (
        "facts_unavailable",
        True,
        ["facts_unavailable"],
    )


def test_a_pending_merge_ends() -> None:
    answer = answered(made("best", facts=facts_of(KNOWN, merge_pending=True)))
    assert (answer["reason"], answer["retryable"], answer["degraded"]) == ("merge_pending", True, [])


def test_what_is_switched_off_stays_so_until_somebody_says_otherwise() -> None:
    switch = Switch(SwitchKind.PLACEMENT, "best", "ops", "rehearsal", NOW_MS + HOUR_MS, NOW_MS)
    of = made("best", control=Control(switches=(switch,)))
    assert (answered(of)["reason"], answered(of)["retryable"]) == ("switched_off", False)
    assert shown(of)["control"]["switches"] == [{"kind": "placement", "name": "best", "until": "2026-11-24T11:00:00Z"}]


# The record


def test_a_record_shows_what_variants_had_earned_and_who_was_asked_for() -> None:
    record = shown(made("worded", control=earned((5, 100), (9, 100)), gpc=True))
    assert record["request"]["gpc"] is True
    assert {line["variant"]: (line["responses"], line["sends"]) for line in record["control"]["earned"]} == {
        "plain": (5, 100),
        "urgent": (9, 100),
    }
    assert record["variant_propensity"] in probabilities_of_being_best(((6, 96), (10, 92)))
    assert shown(made("best"))["control"] is None


def test_contacts_that_fill_a_limit_are_named() -> None:
    sms = kind(BUNDLE.placements["held_texts"], "red")
    full = tuple(contact(sms, NOW_MS - DAY_MS + n, number=2**96 + n) for n in range(2))
    (line,) = shown(made("held_texts", facts=facts_of(KNOWN, contacts=full)))["excluded"]
    assert line["contacts"] == [f"dec_{2**96 + n:028x}" for n in range(2)]


@st.composite
def controls(draw: st.DrawFn) -> Control:
    counts = st.tuples(st.integers(0, 50), st.integers(0, 2_000))
    return Control(
        earned={("red", 1, name): draw(counts) for name in draw(st.sets(st.sampled_from(["plain", "urgent"])))}
    )


@FEW
@given(data=st.data(), customer=st.integers(0, 10_000), control=controls())
def test_whatever_is_tried_or_held_out_decides_again_to_the_same_bytes(
    data: st.DataObject, customer: int, control: Control
) -> None:
    facts, request = data.draw(customers(BUNDLE)), data.draw(requests(BUNDLE))
    of = decide(BUNDLE, facts, **request, customer=f"cus_{customer}", control=control)
    record = decode(of.record, from_canonical(BUNDLE.canonical))
    again = replay(record)
    assert [each.answer for each in again] == [each.answer for each in of.decisions]
    for recorded, first in zip(record.decisions, of.decisions, strict=True):
        for name in (
            "arm",
            "exposures",
            "variant_propensity",
            "weights",
            "fatigue",
            "propensity",
            "position",
            "variant",
        ):
            assert getattr(recorded, name) == getattr(first.decision, name), name


@FEW
@given(data=st.data(), customer=st.integers(0, 10_000))
def test_what_every_decision_promises_holds_with_trials_too(data: st.DataObject, customer: int) -> None:
    facts, request = data.draw(customers(BUNDLE)), data.draw(requests(BUNDLE))
    of = decide(BUNDLE, facts, **request, customer=f"cus_{customer}")
    for each in of.decisions:
        decision, answer = each.decision, orjson.loads(each.answer)
        assert (answer["message"] is not None) == (answer["action"] == "send")
        assert (answer["propensity"] is not None) == (answer["action"] == "send" or answer["reason"] == "holdout")
        assert (answer["send_window"] is not None) == (answer["action"] in ("send", "defer"))
        if decision.position is not None:
            assert decision.position in decision.admissible
            assert decision.propensity is not None
            assert 0 < decision.propensity <= 1
        if decision.reason is Reason.HOLDOUT:
            assert decision.arm == "holdout"
            assert decision.exposures
        if decision.action is Action.SEND:
            assert decision.arm != "holdout"
        if decision.exposures:
            assert decision.rung != "suppress"
        described = describe(decision, "dec_0", None, BUNDLE, explain=True)
        told = [line["message"] for line in described["excluded"]]
        if decision.rung != "suppress":
            chosen = [decision.message.id] if decision.message else []
            assert sorted(told + chosen) == sorted(c.message.id for c in decision.placement.candidates)


@pytest.mark.parametrize(("placement", "sent"), [("receipt", True), ("receipt_held", False)])
def test_who_is_held_out_is_so_where_facts_cannot_be_read(placement: str, sent: bool) -> None:
    unknown = unknown_situation(BUNDLE, {"trigger": "browse"}, NOW_MS, 1, "cus_1")
    decision = without_facts(BUNDLE.placements[placement], unknown, {})
    assert (decision.action is Action.SEND) == sent
    assert decision.reason is (Reason.PLACEMENT_DEFAULT if sent else Reason.FACTS_UNAVAILABLE)
