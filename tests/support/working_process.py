"""Real worker processes, a crowd of events for them, and what these should come to."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from redis.asyncio import Redis

from app.core.events.commands import carrying
from app.core.events.event import Collected
from app.core.features.plan import FoldPlan
from app.core.features.working import folded
from app.store.embedded import end_with_us
from app.store.keys import Keys
from policy.compile import load
from tests.support.server import ROOT, _clean_environment
from tests.support.working import DAY_MS, KEYS, NOW_MS, by_customer, happened, without_repeats

BUNDLE = ROOT / "policy" / "bundles" / "shop_demo"


@cache
def shop_plan() -> FoldPlan:
    return FoldPlan.of(load(BUNDLE))


class WorkerProcess:
    """`python -m app.worker`, as `serve` starts it."""

    def __init__(self, store_url: str, log: Path, bundle: Path = BUNDLE) -> None:
        settings = {"REDIS_URL": store_url, "BUNDLE": str(bundle), "SHARDS": str(KEYS.shards)}
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "app.worker"],
                cwd=ROOT,
                env=_clean_environment() | {f"NEXTBEST_{name}": value for name, value in settings.items()},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )
        self._watchdog = end_with_us(self._process.pid)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(60)

    def freeze(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def end(self) -> None:
        """In order, and then all that is left of it."""
        if self.is_alive():
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
            self._process.wait(60)
        self._watchdog.kill()
        self._watchdog.communicate()


@contextmanager
def processes(store_url: str) -> Iterator[Processes]:
    """`start()` starts one; all that still run are ended."""
    with tempfile.TemporaryDirectory(prefix="nextbest-test-") as folder:
        started = Processes(store_url, Path(folder) / "workers.log")
        try:
            yield started
        finally:
            for each in started.all:
                each.end()


class Processes:
    def __init__(self, store_url: str, log: Path) -> None:
        self._store_url, self._log = store_url, log
        self.all: list[WorkerProcess] = []

    def start(self) -> WorkerProcess:
        self.all.append(WorkerProcess(self._store_url, self._log))
        return self.all[-1]

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")


class Crowd(NamedTuple):
    """What is collected, in this order, and what it should come to."""

    entries: tuple[Collected, ...]
    expected: dict[str, dict[bytes, bytes]]


def crowd(events: int, seed: int) -> Crowd:
    """Events of a few dozen customers, late and out of order, a fifth told again, some customers becoming others."""
    chance = random.Random(seed)
    names = [f"cus_{number}" for number in range(60)]
    became = {names[number]: names[number + 1] for number in range(0, 20, 3)} | {names[1]: names[2]}
    told: list[Collected] = []
    for number in range(events):
        if told and chance.random() < 0.2:
            told.append(chance.choice(told))
        told.append(_event(chance, chance.choice(names), number))
    entries: list[Collected] = list(told)
    for loser, winner in became.items():
        entries.insert(chance.randrange(len(entries)), carrying(loser, winner, NOW_MS))
    plan = shop_plan()
    expected = {
        customer: {key.encode(): raw for key, raw in folded(plan, {}, theirs).items()}
        for customer, theirs in by_customer(without_repeats(told), became).items()
    }
    return Crowd(tuple(entries), expected | {loser: {b">": winner.encode()} for loser, winner in became.items()})


def _event(chance: random.Random, customer: str, number: int) -> Collected:
    at_ms = NOW_MS - chance.randrange(20 * DAY_MS)
    if chance.random() < 0.2:
        # One customer's order may be told several times, each time as another message.
        order = int(customer.removeprefix("cus_")) * 1_000 + number % 7
        once = (10**12 + order).to_bytes(8, "big")
        return happened("order_completed", customer, number, at_ms, once, order_id=f"o{order}", revenue=order / 8)
    kind = chance.choice(["product_viewed", "product_added"])
    product: dict[str, Any] = {"product_id": f"p{chance.randrange(50)}", "category": f"c{chance.randrange(5)}"}
    return happened(kind, customer, number, at_ms, **product, price=chance.randrange(9_000) / 100)


async def is_worked_off(client: Redis, keys: Keys = KEYS) -> bool:
    """Whether every shard's position is the end of its stream."""
    for _ in range(2):  # what one shard forwarded another has read by the second time, if nothing was left
        for shard in range(keys.shards):
            if not await client.exists(keys.events(shard)):
                continue
            info = await client.xinfo_stream(keys.events(shard))
            if await client.hget(keys.worker(shard), "position") != info["last-generated-id"]:
                return False
    return True


async def positions(client: Redis, keys: Keys = KEYS) -> Sequence[bytes | None]:
    found: list[Any] = [await client.hget(keys.worker(shard), "position") for shard in range(keys.shards)]
    return found
