"""What became of messages, as events: folded into features like any other, live and from history."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from app.core.events.entry import decode, encode
from app.core.events.event import Collected
from app.core.features.chunk import Results
from app.core.features.read import read
from app.core.outcome_events import outcome_event
from app.core.outcomes import Outcome
from app.store.clients import open_client
from policy.codes import OutcomeType
from policy.facts import ContactKind
from policy.message_events import BUILT_IN_NAMES, MESSAGE_EVENTS
from tests.flows.test_backfill import Shop, shop, wait_until_noted
from tests.support.conversions import decided, packed
from tests.support.folding import computed, plan_of
from tests.support.working import DAY_MS, NOW_MS, by_customer, collected, features_in, worked_off

__all__ = ["shop"]  # a fixture
PLAN = plan_of(
    """
clicks_30d: {on: message_clicked, count: 1, window: 30d}
topic:      {on: message_clicked, affinity: {key: category, half_life: 30d}}
earned:     {on: message_converted, sum: value, window: 90d}
nagged:     {rate: {of: message_complained, per: message_delivered}, window: 90d}
""",
    "{}",
)
KIND = ContactKind("weekly", "email", "marketing", "mens", "fashion", "spring")
DECISION = packed(decided(1))


@pytest.fixture
async def client(store_url: str) -> AsyncIterator[Redis]:
    async with open_client(store_url) as opened:
        yield opened


def became(kind: str, number: int, customer: str = "cus_1", days_ago: int = 1, **more: Any) -> Collected:
    outcome = Outcome(OutcomeType(kind), NOW_MS - days_ago * DAY_MS, event_id=f"esp:{number}", **more)
    made = outcome_event(outcome, KIND, customer, outcome.at_ms or 0, NOW_MS, DECISION)
    assert made is not None
    assert decode(encode(made)) == made
    return made


async def test_outcomes_move_features(client: Redis, store_url: str) -> None:
    events = [
        *(became("clicked", number) for number in range(3)),
        became("clicked", 9, days_ago=40),
        became("converted", 4, value=80.0),
        became("delivered", 5),
        became("delivered", 6),
        became("complained", 7),
        became("clicked", 8, customer="cus_2"),
    ]
    await collected(client, [*events, *events[:2]])
    counted = await worked_off(store_url, plan=PLAN)
    assert counted == {Results.APPLIED: 9, Results.REPEAT: 2}
    found = await features_in(client, "cus_1", plan=PLAN)
    assert found == {"clicks_30d": 3, "topic": "fashion", "earned": 80.0, "nagged": 0.5}
    for customer, theirs in by_customer(events).items():
        expected = computed(PLAN, [each.event for each in theirs], NOW_MS)
        assert await features_in(client, customer, plan=PLAN) == expected


async def test_a_feature_that_comes_later_is_filled_from_the_archive(shop: Shop) -> None:
    events = [became("clicked", number, days_ago=number) for number in range(5)]
    await shop.events(events)
    await shop.worked_off(plan_of("clicks_7d: {on: message_clicked, count: 1, window: 7d}", "{}"))
    await shop.archived()
    async with shop.working(PLAN):
        await wait_until_noted(shop)
        await shop.filling(PLAN).fill()
    found = await features_in(shop.client, "cus_1", plan=PLAN)
    assert found == computed(PLAN, [each.event for each in events], NOW_MS)
    assert found["topic"] == "fashion"


def test_an_outcome_says_what_it_is_about_and_nothing_of_who_it_is() -> None:
    made = became("converted", 1, value=12.5)
    assert made.type == "message_converted"
    assert made.properties == {
        "placement": "weekly",
        "message": "mens",
        "category": "fashion",
        "campaign": "spring",
        "channel": "email",
        "value": 12.5,
    }
    assert (made.occurred_at_ms, made.received_at_ms) == (NOW_MS - DAY_MS, NOW_MS)


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome(OutcomeType.OPENED, NOW_MS, machine=True),
        Outcome(OutcomeType.CLICKED, NOW_MS, machine=True),
        Outcome(OutcomeType.CONVERTED, NOW_MS, value=-5.0),
        Outcome(OutcomeType.SENT, NOW_MS),
        Outcome(OutcomeType.BOUNCED_HARD, NOW_MS),
    ],
)
def test_machines_refunds_and_the_sending_itself_are_no_events(outcome: Outcome) -> None:
    assert outcome_event(outcome, KIND, "cus_1", NOW_MS) is None


def test_an_outcome_of_a_message_that_nobody_knows_is_no_event() -> None:
    assert outcome_event(Outcome(OutcomeType.CLICKED, NOW_MS), None, "cus_1", NOW_MS) is None


def test_the_same_outcome_is_the_same_event_and_another_one_is_another() -> None:
    one, other = became("clicked", 1), became("clicked", 2)
    assert became("clicked", 1).message_id == one.message_id
    assert len({one.message_id, other.message_id, became("opened", 1).message_id}) == 3
    outcome = Outcome(OutcomeType.CLICKED, NOW_MS, event_id="esp:1")
    elsewhere = outcome_event(outcome, KIND, "cus_1", NOW_MS, decision=packed(decided(2)))
    assert elsewhere is not None
    assert elsewhere.message_id != one.message_id


def test_every_outcome_that_becomes_an_event_has_a_name_of_its_own() -> None:
    assert len(BUILT_IN_NAMES) == len(MESSAGE_EVENTS) == 6


def test_a_feature_of_nothing_yet_has_its_empty_value() -> None:
    assert read(PLAN, [None] * len(PLAN.groups), NOW_MS) == {"clicks_30d": 0, "earned": 0}
