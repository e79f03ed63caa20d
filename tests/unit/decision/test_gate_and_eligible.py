"""Gate and eligibility as pure steps: freshness contracts of every kind, and what may be read when."""

from __future__ import annotations

import dataclasses
from itertools import permutations
from typing import Any

import pytest

from app.core.decision.eligible import eligible
from app.core.decision.failed import unknown_situation, without_facts
from app.core.decision.gate import gate, suppression_in_force
from app.core.decision.situation import situation
from policy.bundle import Bundle
from policy.codes import Exclusion, Reason, SuppressionReason
from policy.control import Control
from policy.facts import Suppression
from tests.support.contract import contract_bundle
from tests.support.deciding import DAY_MS, NOW_MS, Decided, decide, facts_of, granted
from tests.support.pharmacy import off, pharmacy

SCORES = {"alpha": 0.25, "beta": 0.5, "gamma": 0.75, "rich": 0.5, "careful": 0.25}


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return contract_bundle()


def with_contract(bundle: Bundle, on_stale: str) -> Bundle:
    """The bundle, where the balance is treated as `on_stale` says once it is stale."""
    facts = tuple(
        dataclasses.replace(fact, on_stale=on_stale) if fact.name == "balance" else fact for fact in bundle.facts
    )
    balance = next(fact for fact in facts if fact.name == "balance")
    placements = {
        name: dataclasses.replace(placement, contracts=(balance,)) if placement.contracts else placement
        for name, placement in bundle.placements.items()
    }
    return dataclasses.replace(
        bundle, facts=facts, placements=placements, fact_by_name={fact.name: fact for fact in facts}
    )


def stale(bundle: Bundle, on_stale: str, **more: Any) -> Decided:
    facts = facts_of({"balance": 900.0, "newbie": 0}, as_of_ms={"crm": NOW_MS, "bank": NOW_MS - 2 * DAY_MS} | more)
    return decide(with_contract(bundle, on_stale), facts, ["fresh"], model=SCORES)


def codes(decided: Decided) -> dict[str, str]:
    decision = decided.first
    return {decision.placement.candidates[at].message.id: why.code.value for at, why in decision.excluded.items()}


def test_stale_facts_may_be_used_and_the_answer_says_so(bundle: Bundle) -> None:
    decided = stale(bundle, "use")
    assert (decided.first.message.id, decided.first.rung) == ("rich", "model")
    assert decided.first.degraded == ("features_stale",)


def test_stale_facts_may_count_as_missing(bundle: Bundle) -> None:
    decided = stale(bundle, "impute")
    assert (decided.first.message.id, decided.first.rung) == ("alpha", "model")
    assert codes(decided) == {"rich": "not_eligible"}
    assert decided.first.excluded[1].detail[2] == "customer.balance"


def test_stale_facts_may_drop_the_messages_whose_rules_read_them(bundle: Bundle) -> None:
    decided = stale(bundle, "drop_messages")
    assert (decided.first.message.id, decided.first.rung) == ("alpha", "model")
    assert codes(decided) == {"rich": "stale_feature"}


def test_stale_facts_may_leave_low_risk_messages_to_the_rules(bundle: Bundle) -> None:
    decided = stale(bundle, "rules")
    assert (decided.first.message.id, decided.first.rung, decided.first.reason) == ("alpha", "rules", "rule_ranked")
    assert codes(decided) == {"rich": "stale_feature"}
    assert decided.first.funnel == (3, 2, 0, 2)


def test_a_fact_that_nobody_knows_the_age_of_is_stale(bundle: Bundle) -> None:
    facts = facts_of({"balance": 900.0, "newbie": 0}, as_of_ms={"crm": NOW_MS})
    assert decide(bundle, facts, ["fresh"], model=SCORES).first.degraded == ("features_stale",)


@pytest.mark.parametrize(("age_ms", "degraded"), [(DAY_MS, ()), (DAY_MS + 1, ("features_stale",))])
def test_a_fact_is_stale_when_it_is_older_than_its_contract_and_not_at_it(
    bundle: Bundle, age_ms: int, degraded: tuple[str, ...]
) -> None:
    facts = facts_of({"balance": 900.0, "newbie": 0}, as_of_ms={"bank": NOW_MS - age_ms})
    assert decide(bundle, facts, ["fresh"], model=SCORES).first.degraded == degraded


def test_a_fact_that_is_not_there_is_not_stale(bundle: Bundle) -> None:
    facts = facts_of({"newbie": 0}, as_of_ms={})
    decision = decide(bundle, facts, ["fresh"], model=SCORES).first
    assert (decision.rung, decision.degraded) == ("model", ())


@pytest.mark.parametrize(
    ("now_ms", "code"),
    [(999, "not_valid_now"), (1000, None), (1999, None), (2000, "not_valid_now")],
)
def test_a_message_is_valid_from_its_first_instant_to_just_before_its_last(
    bundle: Bundle, now_ms: int, code: str | None
) -> None:
    placement = bundle.placements["seasonal"]
    at = placement.default
    message = dataclasses.replace(placement.candidates[at].message, valid_from_ms=1000, valid_until_ms=2000)
    own = dataclasses.replace(placement.candidates[at], message=message)
    changed = dataclasses.replace(
        placement,
        candidates=tuple(own if position == at else each for position, each in enumerate(placement.candidates)),
    )
    decision = decide(
        dataclasses.replace(bundle, placements={**bundle.placements, "seasonal": changed}),
        facts_of(now_ms=now_ms, as_of_ms={}),
        ["seasonal"],
    ).first
    excluded = decision.excluded.get(at)
    assert (excluded.code if excluded else None) == (Exclusion(code) if code else None)
    if code is None:
        assert (decision.window.not_before_ms, decision.window.not_after_ms) == (now_ms, 1999)


@pytest.mark.parametrize("order", list(permutations(["soft_bounces", "complaint", "hard_bounce"])))
def test_the_most_final_suppression_is_named(bundle: Bundle, order: tuple[str, ...]) -> None:
    stops = [Suppression("*", SuppressionReason(reason), 0) for reason in order]
    found = suppression_in_force(stops, bundle.placements["weekly"])
    assert found is not None
    assert found.reason == "hard_bounce"


def test_a_suppression_comes_before_any_question_of_consent(bundle: Bundle) -> None:
    facts = facts_of(suppressions=(Suppression("email", SuppressionReason.MANUAL, 0),), consent=())
    found = gate(bundle.placements["weekly"], situation(bundle, facts, {}, 0))
    assert (found.stop, found.stop_detail, found.personal) == ("suppressed", "manual", False)
    assert (found.contact, found.personalisation) == (None, None)


def test_transactional_mail_without_consent_to_contact_reads_nothing_personal(bundle: Bundle) -> None:
    facts = facts_of({"member": True}, consent=(granted("personalisation"),))
    decided = decide(bundle, facts, ["receipt"], model={"upsell": 0.9, "thanks": 0.1})
    assert (decided.first.message.id, decided.first.rung) == ("thanks", "generic")


def test_a_rule_that_fails_lets_no_message_through_and_says_that_it_failed(bundle: Bundle) -> None:
    """A value of another type than declared, as only a broken store could bring it."""
    decision = decide(bundle, facts_of({"recency": "three", "zip_code": "Urban"}), ["ruled"]).first
    assert decision.message.id == "gamma"
    beta = decision.excluded[1]
    assert (beta.code, beta.detail[0]) == ("not_eligible", "failed")


def holding(bundle: Bundle, values: dict[str, Any], personal: bool = True) -> dict[str, bool]:
    """Which rules of the placement `ruled` and the receipt's hold for a customer, asked one by one."""
    consent = (granted("marketing"), granted("transactional"), *((granted("personalisation"),) if personal else ()))
    seen = situation(bundle, facts_of(values, consent=consent), {}, 0)
    found = {}
    for name in ("ruled", "receipt"):
        placement = bundle.placements[name]
        pool = eligible(placement, seen, gate(placement, seen), {})
        assert pool.rules is not None
        assert pool.rules.holds(())
        found |= {bundle.rules[index].source: pool.rules.holds([index]) for index in placement.rules}
        all_hold = all(found[bundle.rules[index].source] for index in placement.rules)
        assert pool.rules.holds(placement.rules) is all_hold
    return found


def test_an_audience_is_asked_the_rules_as_messages_are(bundle: Bundle) -> None:
    known = {"recency": 3, "zip_code": "Rural", "member": True}
    assert holding(bundle, known) == {
        "customer.recency <= 12": True,
        'customer.zip_code == "Urban"': False,
        "has(customer.recency)": True,
        "customer.member": True,
    }


def test_nobody_is_in_an_audience_whose_rule_misses_a_fact_fails_or_may_not_be_run(bundle: Bundle) -> None:
    assert not any(
        holding(bundle, {"recency": "three"})[rule] for rule in ("customer.recency <= 12", "customer.member")
    )
    assert not any(holding(bundle, {"recency": 3, "member": True}, personal=False).values())


def test_no_rules_are_asked_where_the_gate_stops(bundle: Bundle) -> None:
    seen = situation(bundle, facts_of(consent=()), {}, 0)
    placement = bundle.placements["ruled"]
    assert eligible(placement, seen, gate(placement, seen), {}).rules is None


@pytest.mark.parametrize("binding", ["limits", "cooldowns", "exclusions", "budgets"])
def test_without_facts_nothing_goes_out_that_is_counted(binding: str) -> None:
    bundle = pharmacy()
    unknown = unknown_situation(bundle, {}, NOW_MS, 0)
    placement = bundle.placements["order_receipt"]
    assert without_facts(placement, unknown, {}).action == "send"
    own = dataclasses.replace(placement.candidates[placement.default], **{binding: (0,)})
    bound = dataclasses.replace(placement, candidates=(own,), default=0)
    assert without_facts(bound, unknown, {}).reason is Reason.FACTS_UNAVAILABLE


def test_a_switch_that_has_ended_no_longer_stands_in_the_way_of_anything() -> None:
    bundle, facts = pharmacy(), facts_of({"recency": 3})
    ended = Control(tuple(off(kind, name, NOW_MS) for kind, name in [("message", "tips"), ("feature", "recency")]))
    assert decide(bundle, facts, ["banner"], control=ended).first.message.id == "tips"


def test_a_message_switched_off_is_left_out_also_where_nothing_but_rules_is_looked_at(bundle: Bundle) -> None:
    """Such a placement goes a quicker way, as long as nothing at all is switched off."""
    facts, scores = facts_of({"member": True}, region="US", consent=()), {"upsell": 0.9, "thanks": 0.1}
    assert decide(bundle, facts, ["receipt"], model=scores).first.message.id == "upsell"
    control = Control((off("message", "upsell"),))
    assert decide(bundle, facts, ["receipt"], model=scores, control=control).first.message.id == "thanks"


def test_a_message_that_reveals_two_things_is_explained_by_the_same_one_every_time() -> None:
    bundle = pharmacy()
    placement = bundle.placements["banner"]
    candidates = [
        dataclasses.replace(each, sensitive=frozenset({"sensitive:union", "sensitive:family"}))
        if each.message.id == "baby_box"
        else each
        for each in placement.candidates
    ]
    changed = dataclasses.replace(placement, candidates=tuple(candidates))
    changed_bundle = dataclasses.replace(bundle, placements={**bundle.placements, "banner": changed})
    decision = decide(changed_bundle, facts_of({"visits": 9}, region="US", consent=()), ["banner"]).first
    assert [why.detail for why in decision.excluded.values() if why.code == "sensitive_message"] == [
        ("sensitive", "sensitive:family")
    ]


def test_what_a_message_itself_needs_consent_for_must_be_granted_too_where_it_is_sensitive() -> None:
    """In an opt-out region silence permits the message's own purpose; for what is sensitive it does not."""
    bundle = pharmacy()
    placement = bundle.placements["banner"]
    at = next(at for at, each in enumerate(placement.candidates) if each.message.id == "care_call")
    own = dataclasses.replace(placement.candidates[at], sensitive=frozenset({"sensitive:health"}))
    candidates = tuple(own if position == at else each for position, each in enumerate(placement.candidates))
    changed = dataclasses.replace(placement, candidates=candidates)
    changed_bundle = dataclasses.replace(bundle, placements={**bundle.placements, "banner": changed})

    def chosen(*more: str) -> str:
        consent = tuple(granted(purpose) for purpose in ("marketing", "personalisation", *more))
        found: str = decide(
            changed_bundle, facts_of({"recency": 1}, region="US", consent=consent), ["banner"]
        ).first.message.id
        return found

    assert chosen() == "tips"
    assert chosen("care") == "care_call"
