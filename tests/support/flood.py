"""A flood of decisions, four times what a server can answer, with events and batches beside it; and what became of all.

The flood comes from the lean driver of the benchmarks, in this process: a test's client would be the bottleneck.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from dataclasses import dataclass, field

from loadtests.driver import Tally, Target, closed_loop, http_request, open_loop
from tests.support.lateness import NoiseMeter
from tests.support.server import Answer, Server

CONNECTIONS = 256
BUDGET_MS = 100
EVENT = {"event": "viewed", "properties": {"product": "p1"}}


@dataclass(slots=True)
class Heard(Tally):
    """Every answer of the flood."""

    served_ms: list[float] = field(default_factory=list)  # of decisions answered: how long the server had them
    refusals_ns: list[int] = field(default_factory=list)
    retry_after: int = 0  # refusals that say when to come back

    def add(self, latency_ns: int, answer: bytes, body_at: int) -> None:
        self.answers += 1
        head = answer[:body_at]
        if answer.startswith(b"200", 9):
            self.good += 1
            timing = head.partition(b"server-timing: ")[2].partition(b"\r\n")[0].decode()
            self.served_ms.append(sum(float(step.split("dur=")[1]) for step in timing.split(", ")))
        else:
            self.failures[answer[9:12].decode()] += 1
            self.refusals_ns.append(latency_ns)
            self.retry_after += b"\r\nretry-after: 1\r\n" in head


@dataclass
class Flood:
    """What came back."""

    peak: float  # decisions answered a second, before
    decisions: Heard
    events: list[Answer]  # sent meanwhile, a single one each
    batches: list[Answer]
    calm_after_s: float  # from the flood's end until everything was taken again
    noise_ms: float  # how late the machine itself was
    rate: float  # requests a second that came: where the flood's own processor is short, fewer than four times the peak


async def flooded(server: Server, customers: list[str], placement: str, seconds: float) -> Flood:
    """Find the peak, then ask four times as much."""
    target = _target(server, customers, placement)
    calm = await closed_loop(target, 16, warm_up_s=0.3, seconds=0.7)
    with NoiseMeter(lambda: [server.pid]) as meter:
        beside = [
            asyncio.create_task(each) for each in (_events(server, customers), _batches(server, customers, placement))
        ]
        heard, begun_s = Heard(), asyncio.get_running_loop().time()
        try:
            await open_loop(target, 4 * calm.rate, warm_up_s=0.0, seconds=seconds, connections=CONNECTIONS, tally=heard)
        finally:
            for task in beside:
                task.cancel()
    loop = asyncio.get_running_loop()
    ended_s = loop.time()
    rate = heard.answers / (ended_s - begun_s)
    events, batches = [await task for task in beside]
    while not await _takes_everything(server, customers, placement):
        assert loop.time() - ended_s < 10, "the server did not calm down"
        await asyncio.sleep(0.05)
    return Flood(calm.rate, heard, events, batches, loop.time() - ended_s, meter.late_ms, rate)


def _target(server: Server, customers: list[str], placement: str) -> Target:
    bodies = (_body(customer, placement) for customer in customers)
    requests = [http_request("/v1/decide", json.dumps(body).encode()) for body in bodies]
    return Target("127.0.0.1", server.port, itertools.cycle(requests))


def _body(customer: str, placement: str) -> dict[str, object]:
    return {"customer": customer, "placements": [placement], "budget_ms": BUDGET_MS}


async def _events(server: Server, customers: list[str]) -> list[Answer]:
    heard: list[Answer] = []
    try:
        for number in itertools.count():
            event = {**EVENT, "customer": customers[number % len(customers)], "id": f"flood{number}"}
            heard.append(await server.client.ask("POST", "/v1/events", event))
            await asyncio.sleep(0.01)
    except asyncio.CancelledError:
        return heard
    return heard


async def _batches(server: Server, customers: list[str], placement: str) -> list[Answer]:
    heard: list[Answer] = []
    line = json.dumps(_body(customers[0], placement)).encode() + b"\n"
    try:
        while True:
            await asyncio.sleep(0.1)
            heard.append(await server.client.ask("POST", "/v1/decide/batch", line))
    except asyncio.CancelledError:
        return heard


async def _takes_everything(server: Server, customers: list[str], placement: str) -> bool:
    event = {**EVENT, "customer": customers[0], "id": "after"}
    line = json.dumps(_body(customers[0], placement)).encode() + b"\n"
    asked = (
        server.client.decide(customers[0], placement, budget_ms=BUDGET_MS),
        server.client.ask("POST", "/v1/events", event),
        server.client.ask("POST", "/v1/decide/batch", line),
    )
    return {answer.status for answer in await asyncio.gather(*asked)} == {200}
