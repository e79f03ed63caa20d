"""Who allowed no personalisation gets an answer that says nothing of them: whatever is known of the person, the whole
way gives the same bytes, and the record holds no personal fact.

Two worlds that differ in personal facts alone are decided with the same chance. What is left out of the comparison is
what the clock gives: ids and times.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from app.core.decision.record import Record, decode
from app.http.auth import Authenticator
from app.settings import Settings
from app.wiring import open_services
from policy.bundle import Fact
from policy.compile import load
from tests.flows.conftest import Flow
from tests.support.privacy import BUNDLE
from tests.support.valkey import Store

SERVED = load(BUNDLE)
PLACEMENTS = tuple(SERVED.placements)
CUSTOMER = "cus_1"
#: Every example goes the whole way twice, so that finding the smallest counterexample would take minutes.
SOME = settings(
    max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.explicit, Phase.generate]
)
FROM_THE_CLOCK = re.compile(
    rb'dec_[0-9a-f]{28}|"elapsed_ms":[0-9.]+|[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z?|until [0-9-]+ [0-9:]+'
)
#: Silence suffices to personalise in these; elsewhere it does not.
OPT_OUT = ("US", "US-CA")
SAID = {"source": "signup_form", "basis": "consent", "at": "2026-01-01T00:00:00Z", "channel": "*"}


class World:
    """The whole way on a real store, with the chance that it is given."""

    def __init__(self, runner: asyncio.Runner, flow: Flow) -> None:
        self.runner = runner
        self.flow = flow

    def answers(
        self, known: dict[str, Any], placements: list[str], asked: dict[str, Any], seed: int
    ) -> tuple[list[bytes], list[Record]]:
        """What a customer of whom this is known, and nothing else, is answered; explained, and then in earnest."""
        return self.runner.run(self._answers(known, placements, asked, seed))

    async def _answers(
        self, known: dict[str, Any], placements: list[str], asked: dict[str, Any], seed: int
    ) -> tuple[list[bytes], list[Record]]:
        services = self.flow.services
        keys = services.keys.of(CUSTOMER)
        await services.client.delete(keys.profile, keys.ledger, keys.decisions, services.keys.history(CUSTOMER))
        services.decider._chance = lambda bits: seed >> (64 - bits)
        await self.flow.know(CUSTOMER, **known)
        bodies = []
        for more in ({"dry_run": True, "explain": True}, {}):
            answered = await self.flow.decide(CUSTOMER, *placements, **asked, **more)
            bodies.append(FROM_THE_CLOCK.sub(b"", answered.body))
        entries = await services.client.xrange(keys.decisions)
        return bodies, [decode(fields[b"r"], SERVED) for _, fields in entries]


@pytest.fixture(scope="module")
def world(store_server: Store) -> Iterator[World]:
    store_server.commands(("FLUSHALL", "SYNC"), ("SCRIPT", "FLUSH", "SYNC"))
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        runner.run(stack.__aenter__())
        try:
            yield World(runner, runner.run(_opened(store_server, stack)))
        finally:
            runner.run(stack.aclose())


async def _opened(store: Store, stack: AsyncExitStack) -> Flow:
    settings = Settings(bundle=BUNDLE, redis_url=store.url, trace_exporter="none")  # type: ignore[arg-type]  # pydantic reads a text
    services = await open_services(settings, Authenticator(None), stack)
    assert await services.link.wait_connected(5), services.link.last_error
    return Flow(services, store)


def value_of(fact: Fact) -> st.SearchStrategy[Any]:
    match fact.type:
        case "int" | "float":
            low, high = fact.minimum or 0, fact.maximum if fact.maximum is not None else 100
            return st.integers(int(low), int(high)) if fact.type == "int" else st.floats(low, high)
        case "bool":
            return st.booleans()
        case "enum":
            return st.sampled_from(fact.values)
    return st.text("abc", max_size=min(fact.max_length or 8, 8))


#: What is known but for personal facts, the placements, and what else is asked.
Person = tuple[dict[str, Any], list[str], dict[str, Any]]
ATTRIBUTES = [fact for fact in SERVED.facts if fact.kind == "attribute"]


def known_of(personal: bool, *, all_of_it: bool = False) -> st.SearchStrategy[dict[str, Any]]:
    of_kind = {fact.name: value_of(fact) for fact in ATTRIBUTES if (fact.sensitivity != "none") is personal}
    return st.fixed_dictionaries(of_kind if all_of_it else {}, optional={} if all_of_it else of_kind)


SOMEBODY, ANYBODY = known_of(personal=True, all_of_it=True), known_of(personal=True)


@st.composite
def without_leave(draw: st.DrawFn) -> Person:
    """A customer, but for personal facts, who may be contacted and not personalised for; and what is asked."""
    region = draw(st.sampled_from(["DE", "FR", "GB", "AT", *OPT_OUT]))
    consent = [{**SAID, "purpose": purpose, "state": "granted"} for purpose in ("marketing", "care")]
    refuses = region in OPT_OUT or draw(st.booleans())
    if refuses:
        consent.append({**SAID, "purpose": "personalisation", "state": "denied"})
    elif draw(st.booleans()):  # a grant that has ended
        ended = {"state": "granted", "expires_at": "2026-02-01T00:00:00Z"}
        consent.append({**SAID, "purpose": "personalisation", **ended})
    context = draw(st.fixed_dictionaries({}, optional={"trigger": st.just("browse"), "language": st.just("de")}))
    placements = draw(st.lists(st.sampled_from(PLACEMENTS), min_size=1, max_size=3, unique=True))
    asked = {"context": context, "gpc": draw(st.booleans())}
    return {"region": region, "consent": consent, "language": "de"}, placements, asked


@SOME
@given(
    without_leave(),
    known_of(personal=False),
    known_of(personal=True),
    known_of(personal=True),
    st.integers(0, 2**64 - 1),
)
def test_without_leave_to_personalise_no_answer_depends_on_what_is_known_of_the_person(
    world: World,
    person: Person,
    impersonal: dict[str, Any],
    one: dict[str, Any],
    other: dict[str, Any],
    seed: int,
) -> None:
    known, placements, asked = person
    (bodies, records), (other_bodies, other_records) = (
        world.answers({**known, "attributes": impersonal | personal}, placements, asked, seed)
        for personal in (one, other)
    )
    assert bodies == other_bodies
    for record in (*records, *other_records):
        assert {SERVED.fact_by_name[name].sensitivity for name in record.facts.values} <= {"none"}
        assert not any(decision.responses or decision.scores for decision in record.decisions)
    assert [len(records), len(other_records)] == [1, 1]


def test_with_leave_they_do(world: World) -> None:
    """Else the property above would hold of a server that knows nobody."""
    consent = [{**SAID, "purpose": purpose, "state": "granted"} for purpose in ("marketing", "care", "personalisation")]
    one, other = (
        {fact.name: (fact.minimum, fact.maximum)[side] for fact in ATTRIBUTES if fact.type == "float"}
        for side in (0, 1)
    )
    known = {"region": "DE", "consent": consent, "language": "de"}
    answers = [world.answers({**known, "attributes": each}, ["weekly_offer"], {}, 1)[0] for each in (one, other)]
    assert answers[0] != answers[1]
