"""The loop, closed: what is decided, clicked and bought, told to the doors and worked off by a real worker."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from app.core.decision.ids import DecisionId, parse_id
from app.core.events import native
from app.core.heard import Heard, Take
from app.core.outcomes import Outcome
from app.core.standing import Known, Stage, stage
from app.flows.work_events import EventWorker, Identity
from app.http.auth import Authenticator
from app.settings import Settings
from app.store.outcomes import Told
from app.telemetry.metrics import Metrics
from app.wiring import open_services
from app.worker import assemble, attribute_conversions, load_scripts, take_outcomes
from policy.codes import OutcomeType
from tests.flows.conftest import Flow
from tests.support.contract import EVERYTHING_ALLOWED
from tests.support.link import linked
from tests.support.valkey import Store
from tests.support.working import work_off

CUSTOMER = "cus_1"
FILES = {
    "bundle": "{name: loop, owner: growth, currency: EUR}",
    "consent": "purposes: [marketing]\nregions: {default: {contact: opt_in, personalisation: opt_in}}",
    "events": """events:
  bought:   {properties: {order_id: {type: string}, revenue: {type: float}, decision_id: {type: string}}}
  returned: {properties: {order_id: {type: string}}}""",
    "features": """features:
  clicks:  {on: message_clicked, count: {}, window: 30d}
  earned:  {on: message_converted, sum: value, window: 90d}""",
    "outcomes": """conversions:
  purchase: {on: bought, value: revenue, refund: returned, order: order_id}""",
    "placements": """placements:
  - {id: weekly, channel: email, purpose: marketing, default: hello, rules_order: [thanks, more, hello],
     reward: {of: revenue}}""",
    "messages": """messages:
  - {id: hello, placements: [weekly], category: red, risk: low}
  - {id: more, placements: [weekly], category: red, eligible: customer.clicks >= 1}
  - {id: thanks, placements: [weekly], category: red, eligible: customer.earned > 50.0}""",
}


class Loop(Flow):
    """Decides, tells what happened, and works off."""

    worker: EventWorker

    async def sent(self) -> tuple[DecisionId, str]:
        """A decision, and the message that it sends."""
        (decision,) = orjson.loads((await self.decide(CUSTOMER, "weekly")).body)["decisions"]
        found = parse_id(decision["decision_id"])
        assert found is not None
        return found, decision["message"]["id"]

    async def tell(self, decision: DecisionId, what: str, **more: Any) -> None:
        heard = Heard(Outcome(OutcomeType(what), event_id=f"esp:{what}", **more), decision)
        (taken,) = await self.services.outcome_taker.take([heard], Told("webhook", "esp"))
        assert taken.status is Take.ACCEPTED, taken

    async def does(self, event: str, number: int, **properties: Any) -> None:
        said = {"event": event, "customer": CUSTOMER, "id": f"e{number}", "properties": properties}
        tally = await self.services.collector.collect([said], native.message, "key_1")
        assert tally.accepted == 1, tally
        await work_off(self.worker)

    async def known(self, decision: DecisionId) -> Known:
        services = self.services
        key = services.keys.outcomes(services.keys.shard_of(CUSTOMER), str(decision).encode())
        held: Any = await services.client.hgetall(key)
        return Known.of(held)

    async def conversions(self, decision: DecisionId) -> list[float | None]:
        """Values, in the order in which they happened."""
        return [each.value for each in (await self.known(decision)).told if each.type == "converted"]


@asynccontextmanager
async def identified() -> AsyncIterator[Identity]:
    class Nobody:
        async def apply(self, entries: Any) -> None:
            """Everybody is known by the one key."""

    yield Nobody()


@pytest.fixture
async def loop(store_server: Store, store_url: str, tmp_path: Path) -> AsyncIterator[Loop]:
    for name, text in FILES.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    async with AsyncExitStack() as stack:
        settings = Settings(bundle=tmp_path, redis_url=store_url, trace_exporter="none", shards=8)
        services = await open_services(settings, Authenticator(None), stack)
        assert await services.link.wait_connected(5), services.link.last_error
        assert await services.outcome_link.wait_connected(5)
        made = Loop(services, store_server)
        await made.know(CUSTOMER, consent=EVERYTHING_ALLOWED)
        link = await stack.enter_async_context(linked(store_url, on_connect=load_scripts))
        metrics = Metrics(None, {})
        taker = take_outcomes(settings, services.bundle, link, services.client, services.hash_key)
        conversions = attribute_conversions(settings, services.bundle, link, taker, metrics)
        identity = await stack.enter_async_context(identified())
        made.worker = assemble(settings, services.bundle, link, metrics, identity, conversions)
        await made.worker.tend()
        yield made
        await made.worker.leave()


async def test_a_click_moves_a_feature_that_the_next_decision_sees(loop: Loop) -> None:
    decision, message = await loop.sent()
    assert message == "hello"
    await loop.tell(decision, "clicked")
    await work_off(loop.worker)
    assert (await loop.sent())[1] == "more"


async def test_an_order_after_a_click_is_the_decisions_and_moves_what_is_decided_next(loop: Loop) -> None:
    decision, _ = await loop.sent()
    await loop.tell(decision, "clicked")
    await loop.does("bought", 1, order_id="A-1", revenue=80.0)
    await loop.does("bought", 2, order_id="A-1", revenue=80.0)  # the till tells of it too
    assert await loop.conversions(decision) == [80.0]
    assert stage(await loop.known(decision)) is Stage.CONVERTED
    await work_off(loop.worker)
    assert (await loop.sent())[1] == "thanks"


async def test_an_order_that_names_its_decision_needs_no_click(loop: Loop) -> None:
    decision, _ = await loop.sent()
    await loop.does("bought", 1, order_id="A-1", revenue=20.0, decision_id=str(decision))
    assert await loop.conversions(decision) == [20.0]


async def test_a_click_that_is_told_after_its_order_and_refund_still_gets_both(loop: Loop) -> None:
    decision, _ = await loop.sent()
    clicked_ms = decision.at_ms + 1
    await loop.does("returned", 1, order_id="A-1")
    await loop.does("bought", 2, order_id="A-1", revenue=80.0)
    assert await loop.conversions(decision) == []
    await loop.tell(decision, "clicked", at_ms=clicked_ms)
    await work_off(loop.worker)
    assert sorted(value or 0 for value in await loop.conversions(decision)) == [-80.0, 80.0]


async def test_a_click_of_a_machine_brings_no_order(loop: Loop) -> None:
    decision, _ = await loop.sent()
    await loop.tell(decision, "clicked", machine=True)
    await loop.does("bought", 1, order_id="A-1", revenue=80.0)
    assert await loop.conversions(decision) == []
