"""The parts of `make bench-events`. Each takes the stage and says what it found."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field

from loadtests.beside import WARM_UP_S, Beside, Load, compare, run
from loadtests.driver import Target, closed_loop
from loadtests.events.ask import asker
from loadtests.events.stage import HOST, Stage
from loadtests.events.traffic import BATCH, decision, decisions
from loadtests.features.bench import CUSTOMERS, TWELVE, folded, history, least_s, plan_of
from loadtests.latency import nearest_rank
from loadtests.lines import Line, ratio_lines

CLOSED_CONNECTIONS = 4
BESIDE_RATE = 2_000  # events a second beside decisions
DECIDE_RATE = 500
MARKER_EVERY_S = 0.2  # with their questions, one decision in twenty more: what they cost is not to be measured
MARKER_LOOK_S = 0.025
MARKER_GIVE_UP_S = 20.0


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


def beside(on: Stage, seconds: float, rounds: int, markers: Iterable[str]) -> list[Line]:
    """Decisions alone and beside events, in turns; meanwhile markers say how soon an event is visible to a decision."""
    names, seen = iter(markers), _Seen()

    def deciding() -> Target:
        return Target(HOST, on.server.port, decisions())

    found = compare(
        deciding,
        DECIDE_RATE,
        Load(on.batches.prepare, BESIDE_RATE / BATCH),
        seconds,
        rounds,
        lambda seconds: _markers(on, seconds, names, seen),
    )
    on.visible.await_applied()
    return _said(found, seen)


@dataclass(slots=True)
class _Seen:
    """When markers were visible."""

    ms: list[float] = field(default_factory=list)
    refused: int = 0


def _said(found: Beside, seen: _Seen) -> list[Line]:
    visible = sorted(seen.ms)
    p50, p99 = (nearest_rank(visible, share) for share in (0.5, 0.99))
    words = f"event → visible to a decision, {BESIDE_RATE:,} events/s and {DECIDE_RATE} decisions/s, p50"
    return [
        Line(words, "", f"{p50:.0f} ms", None, asdict(found) | asdict(seen)),
        Line(f"… p99 of {len(visible)}", "< 1,000 ms", f"{p99:.0f} ms", p99 < 1_000),
        Line(
            "… refused for the decisions' sake (429), of the batches", "", f"{found.refused / found.answers:.1%}", None
        ),
        *ratio_lines(found, "these events"),
    ]


async def _markers(on: Stage, seconds: float, names: Iterator[str], seen: _Seen) -> None:
    """One new customer after the other looks at one thing; decisions are asked until one says so."""
    await asyncio.sleep(WARM_UP_S)
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    async with asyncio.TaskGroup() as group:
        while loop.time() < until:
            group.create_task(_marker(on, next(names), seen))
            await asyncio.sleep(MARKER_EVERY_S)


async def _marker(on: Stage, name: str, seen: _Seen) -> None:
    """From sending one customer's first event until a decision knows of it; a refused one is sent again, and counts
    from when it is."""
    ask, tell = decision(name, dry=True), on.batches.single(name)
    loop = asyncio.get_running_loop()
    async with asker(HOST, on.server.port) as one:
        began = loop.time()
        while (answer := await one.ask(tell)).status == 429:
            seen.refused += 1
            await asyncio.sleep(answer.retry_after_s() or 1.0)
            began = loop.time()
        if answer.status != 200:
            raise RuntimeError(f"a marker was refused: {answer.status} {answer.body[:200]!r}")
        while b'"id":"seen"' not in (await one.ask(ask)).body:
            if loop.time() - began > MARKER_GIVE_UP_S:
                raise RuntimeError(f"{name}: {MARKER_GIVE_UP_S:g} s after its event no decision knows of it")
            await asyncio.sleep(MARKER_LOOK_S)
        seen.ms.append((loop.time() - began) * 1000)


def fold_alone() -> list[Line]:
    """The pure fold, without door, stream and store."""
    plan, chance = plan_of(TWELVE), random.Random(1)
    events = history(chance)
    shuffled = chance.sample(events, len(events))
    rates = [len(some) / least_s(lambda some=some: folded(plan, some), 3) for some in (events, shuffled)]  # type: ignore[misc]  # mypy infers no lambda with a default
    found = f"{rates[0]:,.0f}; shuffled {rates[1]:,.0f}"
    raw = {"in_order": rates[0], "shuffled": rates[1], "customers": CUSTOMERS}
    return [Line("fold alone, events/s a core, 12 features", "≥ 50,000", found, min(rates) >= 50_000, raw)]
