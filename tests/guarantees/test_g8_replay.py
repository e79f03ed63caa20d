"""G8: a recorded decision replays to the same bytes from its recorded facts, scores and seed, under the same bundle.

The records are those of a server that was asked over HTTP, read from the store's decision log, and decided again here,
in another process.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace

import pytest
import redis

from app.core.decision.eligible import Pool
from app.core.decision.record import Record, answer_digest, decode
from app.core.decision.replay import replay
from app.core.decision.score import Scoring
from app.settings import DEMO_BUNDLE
from models.contract import InputPlan
from models.load import SHIPPED, load_model
from policy.bundle import ModelRef, Placement
from policy.compile import load
from tests.support import look
from tests.support.server import BUNDLE, Client, Server
from tests.support.valkey import Store

PEOPLE = [
    {"recency": recency, "history": history, "mens": mens, "womens": 1 - mens, "zip_code": zip_code, "newbie": mens}
    for recency, history, mens, zip_code in [
        (1, 29.99, 1, "Urban"),
        (9, 142.4, 0, "Rural"),
        (12, 3345.93, 1, "Surburban"),
    ]
]


@pytest.fixture(scope="module")
def demo_server(store: Store) -> Iterator[Server]:
    with Server.on(store.url, DEMO_BUNDLE) as server:
        yield server


@pytest.fixture
async def demo(demo_server: Server) -> AsyncIterator[Client]:
    yield demo_server.client
    await demo_server.client.close()


def again(record: Record, answers: list[bytes]) -> None:
    replayed = replay(record)
    assert [each.same for each in replayed] == [True] * len(record.decisions)
    assert [answer_digest(each.answer) for each in replayed] == list(record.answer_digests)
    assert all(each.answer in answer for each, answer in zip(replayed, answers, strict=True))


async def test_what_was_answered_over_http_is_decided_again_to_the_byte(
    demo: Client, customers: Callable[[int], list[str]], inside: redis.Redis
) -> None:
    bundle = load(DEMO_BUNDLE)
    made = 0
    for customer, attributes in zip(customers(len(PEOPLE)), PEOPLE, strict=True):
        await demo.welcome(customer, **attributes)
        bodies = [
            (await demo.decide(customer, *placements, context={"trigger": "browse"})).body
            for placements in (("weekly_offer", "order_receipt"), ("order_receipt",), ("weekly_offer",))
        ]
        await demo.consent(customer, "denied")
        bodies.append((await demo.decide(customer, "weekly_offer")).body)
        records = look.records(inside, customer, bundle)
        assert len(records) == len(bodies)
        for record, body in zip(records, bodies, strict=True):
            again(record, [body] * len(record.decisions))
            made += len(record.decisions)
        reasons = [[decision.reason for decision in record.decisions] for record in records]
        assert (reasons[0][0], reasons[2], reasons[3]) == (
            "model_ranked",
            ["no_admissible_message"],
            ["consent_denied"],
        )
    assert made == 15


async def test_the_model_gives_the_same_scores_again_on_the_machine_that_made_the_record(
    demo: Client, customers: Callable[[int], list[str]], inside: redis.Redis
) -> None:
    bundle = load(DEMO_BUNDLE)
    model = load_model(bundle.models[0], [SHIPPED], bundle.fact_by_name)

    def rescore(placement: Placement, _: ModelRef, pool: Pool) -> Scoring:
        matrix = InputPlan.of(placement, model.manifest).matrix(pool.values, pool.positions)
        assert matrix is not None
        return Scoring(model.propensities(model.session.run(matrix), len(matrix)))

    ran = 0
    for customer, attributes in zip(customers(len(PEOPLE)), PEOPLE, strict=True):
        await demo.welcome(customer, **attributes)
        await demo.decide(customer, "weekly_offer")
        for record in look.records(inside, customer, bundle):
            replayed = replay(record, rescore)
            assert all(each.same for each in replayed)
            assert [list(each.decision.responses) for each in replayed] == [list(d.responses) for d in record.decisions]
            ran += bool(record.decisions[0].responses)
    assert ran == len(PEOPLE)


async def test_a_decision_whose_model_failed_replays_without_it(
    client: Client, customers: Callable[[int], list[str]], inside: redis.Redis
) -> None:
    bundle = load(BUNDLE)
    for customer, mood in zip(customers(3), (0, 1, 3), strict=True):
        await client.welcome(customer, mood=mood)
        body = (await client.decide(customer, "touchy", "thrice")).body
        (record,) = look.records(inside, customer, bundle)
        again(record, [body, body])
        assert record.decisions[0].rung == ("rules" if mood else "model")


async def test_a_record_that_was_touched_is_found_out(client: Client, customer: str, inside: redis.Redis) -> None:
    """Another seed may choose alike; other facts, scores or times do not go unnoticed."""
    bundle = load(BUNDLE)
    await client.welcome(customer, mood=0)
    await client.decide(customer, "touchy")
    (entry,) = look.log(inside, customer)
    record = decode(entry.raw, bundle)
    (told,) = record.decisions
    changed = [
        replace(record, facts=record.facts._replace(now_ms=record.facts.now_ms + 1000)),
        replace(record, facts=record.facts._replace(consent=())),
        replace(record, decisions=(told._replace(responses=tuple(reversed(told.responses))),)),
    ]
    assert [replay(each)[0].same for each in (record, *changed)] == [True, False, False, False]


async def test_after_the_limit_moved_on_the_record_still_replays_as_it_was(
    client: Client, customer: str, inside: redis.Redis
) -> None:
    """What became of the customer since does not matter: the record holds what was known."""
    bundle = load(BUNDLE)
    await client.welcome(customer)
    bodies = [(await client.decide(customer, "twice", "once")).body for _ in range(4)]
    await client.consent(customer, "denied")
    records = look.records(inside, customer, bundle)
    assert len(records) == 4
    for record, body in zip(records, bodies, strict=True):
        again(record, [body, body])
