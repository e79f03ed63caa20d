"""The parts of `make bench-events`. Each takes the stage and says what it found."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import uvloop

from loadtests.driver import Tally, Target, closed_loop, open_loop
from loadtests.events.ask import asker
from loadtests.events.stage import HOST, Stage
from loadtests.events.traffic import BATCH, decision, decisions
from loadtests.features.bench import CUSTOMERS, TWELVE, folded, history, least_s, plan_of
from loadtests.latency import nearest_rank, percentiles

T = TypeVar("T")

CLOSED_CONNECTIONS = 4
BESIDE_RATE = 2_000  # events a second beside decisions
DECIDE_RATE = 500
MARKER_EVERY_S = 0.1
MARKER_LOOK_S = 0.004
MARKER_GIVE_UP_S = 20.0
WARM_UP_S = 1.0


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table."""

    what: str
    wanted: str
    found: str
    met: bool | None  # None: nothing was promised
    raw: dict[str, Any] = field(default_factory=dict)


def run(work: Awaitable[T]) -> T:
    async def waited() -> T:
        return await work

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(waited())


def sustained(on: Stage, seconds: float, wanted: int) -> list[Line]:
    """As many events as go in, until the last is visible: from the first request's sending to the last fold."""
    prepared = on.batches.prepare(round(seconds * 400))  # 40,000 a second at most
    sent = itertools.count()
    requests = (prepared[next(sent)] for _ in itertools.repeat(None))
    counted_before = on.visible.count()
    used_before = on.used()
    began = time.monotonic()
    tally = run(closed_loop(Target(HOST, on.server.port, requests), CLOSED_CONNECTIONS, warm_up_s=0.0, seconds=seconds))
    door_s = time.monotonic() - began
    after_s = on.visible.await_applied()
    total_s = door_s + after_s
    used = {name: after.cpu_s - used_before[name].cpu_s for name, after in on.used().items()}
    count = next(sent) * BATCH
    counted = on.visible.count() - counted_before
    rate = count / total_s
    per_event = {name: cpu_s / count * 1e6 for name, cpu_s in used.items()}
    raw = {"sent": count, "counted": counted, "rate": rate, "door_s": door_s, "after_s": after_s, "cpu_us": per_event}
    return [
        Line("events/s, HTTP to visible", f"≥ {wanted:,}", f"{rate:,.0f}", rate >= wanted, raw),
        Line("… of them visible", "all", f"{counted:,} of {count:,}", counted == count and not tally.failures),
        Line("… visible after the last answer", "", f"{after_s:.2f} s", None),
        Line("… CPU µs an event", "", ", ".join(f"{name} {us:.0f}" for name, us in per_event.items()), None),
    ]


def beside(on: Stage, seconds: float, rounds: int, markers: Sequence[str]) -> list[Line]:
    """Decisions alone and beside events, in turns; meanwhile markers say how soon an event is visible to a decision."""
    alone: list[float] = []
    together: list[float] = []
    visible_ms: list[float] = []
    late_ms = 0.0
    names = iter(markers)
    for number in range(rounds):
        order = (False, True) if number % 2 == 0 else (True, False)
        for with_events in order:
            tally, seen_ms = run(_decisions(on, seconds, names, with_events=with_events))
            (together if with_events else alone).append(percentiles(tally.latencies_ns).p99)
            late_ms = max(late_ms, nearest_rank(sorted(tally.late_ns), 0.99) / 1e6)
            visible_ms += seen_ms
    on.visible.await_applied()
    ratios = sorted(b / a for a, b in zip(alone, together, strict=True))
    ratio, visible = _middle(ratios), sorted(visible_ms)
    raw = {"alone_ms": alone, "together_ms": together, "visible_ms": visible, "driver_late_ms": late_ms}
    p50, p99 = (nearest_rank(visible, share) for share in (0.5, 0.99)) if visible else (float("nan"),) * 2
    beside_words = f"at {BESIDE_RATE:,} events/s and {DECIDE_RATE} decisions/s"
    return [
        Line(f"event → visible to a decision, p50, {beside_words}", "", f"{p50:.0f} ms", None, raw),
        Line(f"… p99 of {len(visible)}", "< 1,000 ms", f"{p99:.0f} ms", p99 < 1_000),
        Line("decide p99 alone", "", f"{_middle(sorted(alone)):.2f} ms", None),
        Line("decide p99 beside the events", "", f"{_middle(sorted(together)):.2f} ms", None),
        Line(
            "… ratio, neighbours in time",
            "≤ 1.5 ×",
            f"{ratio:.2f} × [{ratios[0]:.2f}, {ratios[-1]:.2f}]",
            ratio <= 1.5,
        ),
        Line("the driver's own lateness, p99", "", f"{late_ms:.2f} ms", None),
    ]


def _middle(ordered: Sequence[float]) -> float:
    return ordered[len(ordered) // 2] if len(ordered) % 2 else sum(ordered[len(ordered) // 2 - 1 :][:2]) / 2


async def _decisions(on: Stage, seconds: float, markers: Any, *, with_events: bool) -> tuple[Tally, list[float]]:
    deciding = open_loop(Target(HOST, on.server.port, decisions()), DECIDE_RATE, warm_up_s=WARM_UP_S, seconds=seconds)
    if not with_events:
        return await deciding, []
    rate = BESIDE_RATE / BATCH
    prepared = iter(on.batches.prepare(round((seconds + WARM_UP_S) * rate) + 5))
    sending = open_loop(Target(HOST, on.server.port, prepared), rate, warm_up_s=WARM_UP_S, seconds=seconds)
    tally, told, seen_ms = await asyncio.gather(deciding, sending, _markers(on, seconds, markers))
    if told.failures:
        raise RuntimeError(f"events were refused beside decisions: {dict(told.failures)}")
    return tally, seen_ms


async def _markers(on: Stage, seconds: float, names: Any) -> list[float]:
    """One new customer after the other looks at one thing; decisions are asked until one says so."""
    await asyncio.sleep(WARM_UP_S)
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    async with asyncio.TaskGroup() as group:
        tasks = []
        while loop.time() < until:
            tasks.append(group.create_task(_marker(on, next(names))))
            await asyncio.sleep(MARKER_EVERY_S)
    return [task.result() for task in tasks]


async def _marker(on: Stage, name: str) -> float:
    """Milliseconds from sending one customer's first event until a decision knows of it."""
    ask = decision(name, dry=True)
    loop = asyncio.get_running_loop()
    async with asker(HOST, on.server.port) as one:
        began = loop.time()
        answer = await one.ask(on.batches.single(name))
        if answer.status != 200:
            raise RuntimeError(f"a marker was refused: {answer.status} {answer.body[:200]!r}")
        while loop.time() - began < MARKER_GIVE_UP_S:
            answer = await one.ask(ask)
            if b'"id":"seen"' in answer.body:
                break
            await asyncio.sleep(MARKER_LOOK_S)
        return (loop.time() - began) * 1000


def fold_alone() -> list[Line]:
    """The pure fold, without door, stream and store."""
    plan, chance = plan_of(TWELVE), random.Random(1)
    events = history(chance)
    shuffled = chance.sample(events, len(events))
    rates = [len(some) / least_s(lambda some=some: folded(plan, some), 3) for some in (events, shuffled)]  # type: ignore[misc]
    found = f"{rates[0]:,.0f}; shuffled {rates[1]:,.0f}"
    raw = {"in_order": rates[0], "shuffled": rates[1], "customers": CUSTOMERS}
    return [Line("fold alone, events/s a core, 12 features", "≥ 50,000", found, min(rates) >= 50_000, raw)]


Advance = Callable[[str], None]
