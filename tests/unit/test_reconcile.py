"""What is done after an answer was given, however long a part of it must wait. The store is a script here: a real one
makes nobody wait for an hour unless its clock was set back by as much."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from app.core.decision.commit import Intent
from app.flows.reconcile import RETRY_S, TRY_TIMEOUT_S, WAIT_S_MAX, Reconciler
from tests.support.link import until

HOUR_MS = 3_600_000


class Scripted:
    """A store that says of each customer's release when to come again, fails, or has done it."""

    def __init__(self) -> None:
        self.says: dict[str, int | Exception] = {}
        self.asked: Counter[str] = Counter()

    async def release(self, intent: Intent, deadline: float) -> int | bytes:
        assert 0 < deadline - asyncio.get_running_loop().time() <= TRY_TIMEOUT_S
        self.asked[intent.customer] += 1
        said = self.says.get(intent.customer, 0)
        if isinstance(said, Exception):
            raise said
        return said or b"released"


def to_release(customer: str) -> Intent:
    return Intent(customer, "base", 1, 1, 0, b"", (), None, b"", None)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long it waited each time, in seconds; it does not really."""
    waited: list[float] = []
    really = asyncio.sleep

    async def sleep(seconds: float) -> None:
        task = asyncio.current_task()
        if task is not None and task.get_name() == "reconcile":
            waited.append(seconds)
            seconds = 0
        await really(seconds)

    monkeypatch.setattr("asyncio.sleep", sleep)
    return waited


@pytest.fixture
async def work() -> AsyncIterator[tuple[Reconciler, Scripted, list[str]]]:
    store, done = Scripted(), list[str]()
    reconciler = Reconciler(store, done.append)  # type: ignore[arg-type]  # only what it uses
    reconciler.start()
    yield reconciler, store, done
    await reconciler.close()


async def test_a_release_that_must_wait_an_hour_holds_up_none_behind_it_for_more_than_two_seconds(
    work: tuple[Reconciler, Scripted, list[str]], waits: list[float]
) -> None:
    reconciler, store, done = work
    store.says = {"late": HOUR_MS}
    for customer in ("late", "one", "two"):
        reconciler.release_later(to_release(customer))
    await until(lambda: len(done) == 2)
    assert done == ["released"] * 2
    assert store.asked["one"] == store.asked["two"] == 1
    assert waits[0] == WAIT_S_MAX == 2.0
    assert reconciler.waiting == 1
    store.says = {}
    assert await reconciler.drained(5)
    assert len(done) == 3


async def test_a_release_that_must_wait_a_moment_waits_no_longer(
    work: tuple[Reconciler, Scripted, list[str]], waits: list[float]
) -> None:
    reconciler, store, _ = work
    store.says = {"soon": 150}
    reconciler.release_later(to_release("soon"))
    await until(lambda: bool(waits))
    assert waits[0] == 0.15
    store.says = {}
    assert await reconciler.drained(5)


async def test_what_fails_for_ever_is_tried_again_and_holds_up_nobody(
    work: tuple[Reconciler, Scripted, list[str]], waits: list[float]
) -> None:
    reconciler, store, done = work
    store.says = {"broken": ConnectionError("away")}
    for customer in ("broken", "one"):
        reconciler.release_later(to_release(customer))
    await until(lambda: bool(done) and store.asked["broken"] > 2)
    assert done == ["released"]
    assert set(waits) == {RETRY_S}
    store.says = {}
    assert await reconciler.drained(5)
    assert len(done) == 2
