"""From complaints that were counted to a decision without the message, in one process, on a real store."""

from __future__ import annotations

import orjson

from app.flows.watch_deliverability import DeliverabilityWatch
from app.store.watch import WatchStore
from app.worker import watch_deliverability
from policy.codes import SwitchKind
from policy.watch import WATCH, never_braked
from tests.flows.conftest import Flow
from tests.support.contract import ATTRIBUTES, EVERYTHING_ALLOWED
from tests.support.watching import count


def watching(flow: Flow) -> DeliverabilityWatch:
    """As a worker makes it."""
    services = flow.services
    watch = watch_deliverability(services.settings, services.bundle, services.link, services.client)
    assert watch is not None, "every bundle is watched that does not say otherwise"
    return watch


async def complained(flow: Flow, message: str, placement: str = "ruled") -> None:
    services = flow.services
    now_ms = await WatchStore(services.client, services.keys).now_ms()
    for shard in (0, services.keys.shards - 1):
        path = f"{placement}/{message}/gmail"
        await count(services.client, services.keys, now_ms, path, shard, sent=600, delivered=600, complained=4)


async def why_not(flow: Flow, customer: str) -> dict[str, str]:
    """Message → code and detail of its exclusion."""
    answered = await flow.decide(customer, "ruled", explain=True)
    (decision,) = orjson.loads(answered.body)["decisions"]
    return {line["message"]: f"{line['code']}: {line['detail']}" for line in decision["excluded"]}


async def test_a_message_that_people_complain_about_is_sent_to_nobody_until_somebody_lifts_it(flow: Flow) -> None:
    services = flow.services
    await flow.know("cus_1", attributes=ATTRIBUTES, region="DE", consent=EVERYTHING_ALLOWED)
    await complained(flow, "beta")
    await watching(flow).look()
    await services.control.poll()
    (switch,) = services.control.current.switches
    assert (switch.kind, switch.name, switch.by) == (SwitchKind.MESSAGE, "beta", WATCH)
    assert "1,200 delivered to gmail" in switch.why
    assert (await why_not(flow, "cus_1"))["beta"].startswith("switched_off: ")

    await services.switches.turn_on(SwitchKind.MESSAGE, "beta", "crm_oncall", "the list was cleaned", "key_1")
    await watching(flow).look()
    await services.control.poll()
    assert "switched_off" not in str(await why_not(flow, "cus_1"))


async def test_receipts_alert_and_go_out(flow: Flow) -> None:
    assert {"thanks", "upsell"} <= never_braked(flow.services.bundle)
    await complained(flow, "thanks", "receipt")
    judgement = await watching(flow).look()
    await flow.services.control.poll()
    assert judgement.rows[0].alerts
    assert not flow.services.control.current.switches
