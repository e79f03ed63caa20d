"""The parts of `make bench-events`. Each takes the stage and says what it found."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Awaitable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from statistics import median
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
MARKER_EVERY_S = 0.2  # with their questions, one decision in twenty more: what they cost is not to be measured
MARKER_LOOK_S = 0.025
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
    prepared = on.batches.prepare(round(seconds * 600))  # 60,000 a second at most
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


@dataclass(slots=True)
class _Beside:
    """What rounds of decisions, alone and beside events, came to."""

    alone_ms: list[float] = field(default_factory=list)  # p99 of each round
    together_ms: list[float] = field(default_factory=list)
    visible_ms: list[float] = field(default_factory=list)  # of each marker
    batches: int = 0
    batches_refused: int = 0  # 429: decisions come first
    markers_refused: int = 0
    decisions_failed: int = 0
    driver_late_ms: float = 0.0


def beside(on: Stage, seconds: float, rounds: int, markers: Iterable[str]) -> list[Line]:
    """Decisions alone and beside events, in turns; meanwhile markers say how soon an event is visible to a decision."""
    found, names = _Beside(), iter(markers)
    # Events are sent by a process of their own: in this one, writing them would make decisions late by half a
    # millisecond, and their latency counts from when they were due.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as other:
        other.submit(run_nothing).result()
        _rounds(on, seconds, rounds, names, found, other)
    on.visible.await_applied()
    return _said(found)


def _rounds(
    on: Stage, seconds: float, rounds: int, names: Iterator[str], found: _Beside, other: ProcessPoolExecutor
) -> None:
    for number in range(rounds):
        for with_events in (False, True) if number % 2 == 0 else (True, False):
            tally = run(_round(on, seconds, names, found, other if with_events else None))
            (found.together_ms if with_events else found.alone_ms).append(percentiles(tally.latencies_ns).p99)
            found.decisions_failed += tally.failures.total()
            found.driver_late_ms = max(found.driver_late_ms, nearest_rank(sorted(tally.late_ns), 0.99) / 1e6)


def run_nothing() -> None:
    """Has a process started and its modules read."""


def send(port: int, prepared: Sequence[bytes], rate: float, seconds: float) -> Tally:
    """Events at a rate, in a process of their own."""
    target = Target(HOST, port, iter(prepared))
    return run(open_loop(target, rate, warm_up_s=WARM_UP_S, seconds=seconds))


def _said(found: _Beside) -> list[Line]:
    ratios = sorted(b / a for a, b in zip(found.alone_ms, found.together_ms, strict=True))
    visible = sorted(found.visible_ms)
    p50, p99 = (nearest_rank(visible, share) for share in (0.5, 0.99))
    refused = found.batches_refused / found.batches
    ratio, span = median(ratios), f"[{ratios[0]:.2f}, {ratios[-1]:.2f}] of {len(ratios)}"
    words = f"event → visible to a decision, {BESIDE_RATE:,} events/s and {DECIDE_RATE} decisions/s, p50"
    return [
        Line(words, "", f"{p50:.0f} ms", None, asdict(found)),
        Line(f"… p99 of {len(visible)}", "< 1,000 ms", f"{p99:.0f} ms", p99 < 1_000),
        Line("… refused for the decisions' sake (429), of the batches", "", f"{refused:.1%}", None),
        Line("decide p99 alone, median of rounds", "", f"{median(found.alone_ms):.2f} ms", None),
        Line("decide p99 beside these events", "", f"{median(found.together_ms):.2f} ms", None),
        Line("… ratio, neighbours in time", "≤ 1.5 ×", f"{ratio:.2f} × {span}", ratio <= 1.5),
        Line("… decisions that failed", "0", f"{found.decisions_failed}", found.decisions_failed == 0),
        Line("… the driver's own lateness, p99", "", f"{found.driver_late_ms:.2f} ms", None),
    ]


async def _round(
    on: Stage, seconds: float, markers: Iterator[str], found: _Beside, other: ProcessPoolExecutor | None
) -> Tally:
    """Decisions for so long; the events beside them, sent by `other`, begin and end with them."""
    deciding = open_loop(Target(HOST, on.server.port, decisions()), DECIDE_RATE, warm_up_s=WARM_UP_S, seconds=seconds)
    if other is None:
        return await deciding
    rate = BESIDE_RATE / BATCH
    prepared = on.batches.prepare(round((seconds + WARM_UP_S) * rate) + 5)
    loop = asyncio.get_running_loop()
    sending = loop.run_in_executor(other, send, on.server.port, prepared, rate, seconds)
    tally, told, _ = await asyncio.gather(deciding, sending, _markers(on, seconds, markers, found))
    if told.failures.keys() - {"429"}:
        raise RuntimeError(f"events failed beside decisions: {dict(told.failures)}")
    found.batches += told.answers
    found.batches_refused += told.failures.total()
    return tally


async def _markers(on: Stage, seconds: float, names: Iterator[str], found: _Beside) -> None:
    """One new customer after the other looks at one thing; decisions are asked until one says so."""
    await asyncio.sleep(WARM_UP_S)
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    async with asyncio.TaskGroup() as group:
        while loop.time() < until:
            group.create_task(_marker(on, next(names), found))
            await asyncio.sleep(MARKER_EVERY_S)


async def _marker(on: Stage, name: str, found: _Beside) -> None:
    """From sending one customer's first event until a decision knows of it; a refused one is sent again, and counts
    from when it is."""
    ask, tell = decision(name, dry=True), on.batches.single(name)
    loop = asyncio.get_running_loop()
    async with asker(HOST, on.server.port) as one:
        began = loop.time()
        while (answer := await one.ask(tell)).status == 429:
            found.markers_refused += 1
            await asyncio.sleep(answer.retry_after_s() or 1.0)
            began = loop.time()
        if answer.status != 200:
            raise RuntimeError(f"a marker was refused: {answer.status} {answer.body[:200]!r}")
        while b'"id":"seen"' not in (await one.ask(ask)).body:
            if loop.time() - began > MARKER_GIVE_UP_S:
                raise RuntimeError(f"{name}: {MARKER_GIVE_UP_S:g} s after its event no decision knows of it")
            await asyncio.sleep(MARKER_LOOK_S)
        found.visible_ms.append((loop.time() - began) * 1000)


def fold_alone() -> list[Line]:
    """The pure fold, without door, stream and store."""
    plan, chance = plan_of(TWELVE), random.Random(1)
    events = history(chance)
    shuffled = chance.sample(events, len(events))
    rates = [len(some) / least_s(lambda some=some: folded(plan, some), 3) for some in (events, shuffled)]  # type: ignore[misc]
    found = f"{rates[0]:,.0f}; shuffled {rates[1]:,.0f}"
    raw = {"in_order": rates[0], "shuffled": rates[1], "customers": CUSTOMERS}
    return [Line("fold alone, events/s a core, 12 features", "≥ 50,000", found, min(rates) >= 50_000, raw)]
