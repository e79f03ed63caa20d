"""Contracts of features: what is stale, what the answer then is and says, and what may be read at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from app.core.decision.eligible import check_freshness
from app.core.decision.exclusion import say
from app.core.decision.record import decode
from app.core.decision.replay import replay
from app.core.decision.situation import situation
from app.core.decision.view import view
from app.core.events.event import Event
from app.core.features.watermarks import NO_WATERMARKS, Watermarks
from policy.codes import Degraded, Exclusion, Rung, SwitchKind
from policy.control import NO_CONTROL, Control, Switch
from policy.facts import Facts
from tests.support.deciding import NOW_MS, Decided, decide, facts_of, granted
from tests.support.features import (
    MINUTE_MS,
    added,
    asked_for,
    complete_until,
    feature_bundle,
    live,
    stored,
    viewed,
)

FRESH = complete_until(NOW_MS)
CART = [added(NOW_MS - 40 * MINUTE_MS, 1)]
LOOKING = [viewed(NOW_MS - number * MINUTE_MS, number) for number in range(4)]
ONLY_CONTACT = (granted("marketing"),)


def seen(
    events: Sequence[Event], watermarks: Watermarks = FRESH, lacking: frozenset[str] | None = None, **more: object
) -> Facts:
    facts = facts_of({"visits": 3, "since_order": 999, "adds_24h": 0}, **more)
    return live().joined(facts, live().state(asked_for(stored(events))), 0, watermarks, lacking)


def asked(placement: str, facts: Facts, control: Control = NO_CONTROL) -> Decided:
    return decide(feature_bundle(), facts, [placement], control=control)


def chosen(decided: Decided) -> str | None:
    message = decided.first.message
    return None if message is None else message.id


def test_a_message_follows_what_a_customer_did() -> None:
    assert chosen(asked("reminder", seen(CART))) == "cart"
    assert chosen(asked("reminder", seen([]))) == "note"


def test_a_feature_whose_events_are_not_known_to_be_complete_is_stale() -> None:
    lagging = complete_until(NOW_MS, order_completed=NOW_MS - 2 * MINUTE_MS - 1)
    decided = asked("reminder", seen(CART, lagging))
    assert chosen(decided) == "note", "nobody knows whether the cart was bought meanwhile"
    assert decided.first.degraded == (Degraded.FEATURES_STALE,)
    (why,) = decided.first.excluded.values()
    assert (why.code, why.detail) == (Exclusion.STALE_FEATURE, ("stale", "cart_open"))


def test_a_lag_up_to_the_contract_is_fresh() -> None:
    at_the_edge = complete_until(NOW_MS, order_completed=NOW_MS - 2 * MINUTE_MS)
    assert chosen(asked("reminder", seen(CART, at_the_edge))) == "cart"


@pytest.mark.parametrize(
    "watermarks",
    [NO_WATERMARKS, FRESH._replace(shards_ms={1: NOW_MS}), FRESH._replace(types_ms={"product_viewed": NOW_MS})],
    ids=["nobody tells of anything", "no worker has the shard", "no order was ever told of"],
)
def test_what_nobody_told_of_is_stale(watermarks: Watermarks) -> None:
    assert chosen(asked("reminder", seen(CART, watermarks))) == "note"


def test_a_worker_that_is_behind_makes_features_stale() -> None:
    behind = FRESH._replace(shards_ms={0: NOW_MS - 3 * MINUTE_MS})
    assert asked("reminder", seen(CART, behind)).first.degraded == (Degraded.FEATURES_STALE,)


def test_stale_features_leave_only_messages_of_low_risk_to_the_rules() -> None:
    assert chosen(asked("now", seen(LOOKING))) == "hot"
    decided = asked("now", seen(LOOKING, complete_until(NOW_MS - 16 * MINUTE_MS)))
    assert chosen(decided) == "cold"
    assert decided.first.degraded == (Degraded.FEATURES_STALE,)


def test_a_stale_feature_can_be_taken_for_its_default() -> None:
    assert chosen(asked("adds", seen(CART))) == "adding"
    decided = asked("adds", seen(CART, NO_WATERMARKS))
    assert (chosen(decided), decided.first.degraded) == ("not_adding", (Degraded.FEATURES_STALE,))


def test_a_count_of_nothing_is_no_default_and_can_be_stale() -> None:
    """That a count is 0 may be just what has not arrived yet."""
    assert asked("adds", seen([], NO_WATERMARKS)).first.degraded == (Degraded.FEATURES_STALE,)


def test_a_feature_without_a_contract_is_never_stale() -> None:
    assert asked("weekly", seen(LOOKING, NO_WATERMARKS)).first.degraded == ()


def test_features_that_cannot_be_read_are_missing_and_the_answer_says_so() -> None:
    unread = live().joined(facts_of({"since_order": 999}), None, 0, FRESH)
    decided = asked("weekly", unread)
    assert (chosen(decided), decided.first.degraded) == ("welcome", (Degraded.FEATURES_MISSING,))
    assert decided.first.excluded[1].detail[0] == "missing"


def test_a_placement_that_reads_none_does_not_miss_them() -> None:
    unread = live().joined(facts_of(consent=ONLY_CONTACT), None, 0, FRESH)
    assert Degraded.FEATURES_MISSING not in asked("reminder", unread).first.degraded, "it may read none"
    assert Degraded.FEATURES_MISSING in asked("looks", unread).first.degraded, "it reads one that is not personal"


# What lacks events that passed


def lacking(*names: str) -> Facts:
    """A customer who looked around and left a cart, and features that are not filled."""
    return seen([*LOOKING, *CART], lacking=frozenset(names))


def why(decided: Decided, message: str) -> tuple[Exclusion, str]:
    candidates = decided.first.placement.candidates
    excluded = next(each for at, each in decided.first.excluded.items() if candidates[at].message.id == message)
    return excluded.code, say(excluded, feature_bundle())


def test_a_feature_that_lacks_events_is_not_used_and_the_answer_says_so() -> None:
    assert chosen(asked("looks", lacking("spend_90d"))) == "looked", "it does not read that one"
    assert asked("looks", lacking("spend_90d")).first.degraded == ()
    decided = asked("looks", lacking("views_7d"))
    assert (chosen(decided), decided.first.degraded) == ("welcome", (Degraded.FEATURES_MISSING,))
    assert why(decided, "looked") == (
        Exclusion.NOT_ELIGIBLE,
        "customer.views_7d >= 3 (`customer.views_7d` is not_filled: it lacks events that passed)",
    )


def test_no_default_stands_in_for_what_lacks_events() -> None:
    """That nobody knows of an order is no reason to tell a customer that they are missed."""
    assert chosen(asked("weekly", seen([]))) == "lapsed"
    assert chosen(asked("weekly", seen([], lacking=frozenset({"since_order"})))) == "welcome"


@pytest.mark.parametrize(
    ("placement", "feature", "instead"),
    [("now", "views_1h", "cold"), ("reminder", "cart_open", "note"), ("adds", "adds_24h", "not_adding")],
    ids=["rules", "drop_messages", "impute"],
)
def test_a_contract_says_what_happens_when_its_feature_lacks_events(placement: str, feature: str, instead: str) -> None:
    assert chosen(asked(placement, lacking())) != instead
    decided = asked(placement, lacking(feature))
    assert (chosen(decided), decided.first.degraded) == (instead, (Degraded.FEATURES_STALE,))


def test_a_message_that_is_out_for_it_says_that_its_feature_is_not_filled() -> None:
    told = (Exclusion.STALE_FEATURE, "`{}` is not_filled: it lacks events that passed")
    assert why(asked("reminder", lacking("cart_open")), "cart") == (told[0], told[1].format("cart_open"))
    assert why(asked("now", lacking("views_1h")), "hot") == (told[0], told[1].format("views_1h"))


def test_a_contract_that_lets_stale_values_be_used_does_not_let_these() -> None:
    bundle = feature_bundle()
    placement = bundle.placements["reminder"]
    lenient = replace(placement, contracts=tuple(replace(fact, on_stale="use") for fact in placement.contracts))
    for facts, expected in ((seen(CART, NO_WATERMARKS), {"cart_open": True}), (lacking("cart_open"), {})):
        situated = situation(bundle, facts, {}, 0)
        freshness = check_freshness(lenient, situated, facts.values, facts.not_filled)
        assert freshness.degraded == [Degraded.FEATURES_STALE]
        assert {name: value for name, value in freshness.values.items() if name == "cart_open"} == expected


def test_of_what_may_not_be_read_nobody_says_that_it_lacks_events() -> None:
    facts = seen(CART, lacking=frozenset({"cart_open", "views_7d"}), consent=ONLY_CONTACT)
    assert set(asked("reminder", facts).first.degraded) == {Degraded.NO_PERSONALISATION}
    assert Degraded.FEATURES_MISSING in asked("looks", facts).first.degraded, "it reads one that is not personal"


def test_the_record_decides_the_same_again_and_names_what_lacked_events() -> None:
    for names in (("cart_open",), ("cart_open", "views_7d"), ()):
        record = decode(asked("reminder", lacking(*names)).record, feature_bundle())
        assert record.facts.not_filled == set(names) & {"cart_open", "views_7d"}
        assert not record.facts.features_unread
        assert [again.same for again in replay(record)] == [True]
        assert view(record, 0, aborted=False)["facts"]["not_filled"] == sorted(names)


# What may be read


def test_without_leave_to_personalise_only_features_of_no_sensitivity_are_read() -> None:
    decided = asked("looks", seen(LOOKING, consent=ONLY_CONTACT))
    assert (chosen(decided), decided.first.rung) == ("looked", Rung.GENERIC)
    cart = asked("reminder", seen(CART, consent=ONLY_CONTACT))
    assert (chosen(cart), cart.first.rung) == ("note", Rung.GENERIC)


def test_a_contract_of_what_may_not_be_read_is_not_asked_about() -> None:
    cart = asked("reminder", seen(CART, NO_WATERMARKS, consent=ONLY_CONTACT))
    assert Degraded.FEATURES_STALE not in cart.first.degraded


def test_a_feature_that_is_switched_off_is_missing() -> None:
    off = Control(switches=(Switch(SwitchKind.FEATURE, "cart_open", "crm", "it counts bots", None, 0),))
    decided = asked("reminder", seen(CART), off)
    assert chosen(decided) == "note"
    (why,) = decided.first.excluded.values()
    assert why.detail[0] == "missing"
