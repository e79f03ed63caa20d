"""Dear models run in two bounded threads, and models that keep failing are left alone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.breaker import Breaker
from models.contract import Input, Manifest, Matrix
from models.load import SHIPPED, load_model
from models.scorer import ModelFailed, ModelTimeout, ModelUnavailable, Scorer
from models.session import Cost, Model
from models.turn import INLINE_S_MAX
from policy.bundle import ModelRef

LONG_S = 5.0  # far beyond what a test takes
SHORT_S = 0.02
ROW = np.zeros((2, 3), np.float32)


class Stub:
    """Stands in for an ONNX session: gives what it is told, or waits until it is let go."""

    def __init__(self, answer: Any = None, error: Exception | None = None, hangs: bool = False) -> None:
        self.answer = np.array([[0.75, 0.25], [0.5, 0.5]], np.float32) if answer is None else answer
        self.error = error
        self.runs = 0
        self.started = threading.Event()
        self.let_go = threading.Event()
        if not hangs:
            self.let_go.set()

    def run(self, _: Matrix) -> Any:
        self.runs += 1
        self.started.set()
        assert self.let_go.wait(LONG_S)
        if self.error:
            raise self.error
        return self.answer


def model(session: Any, name: str = "stub", cost_s: float = 1e-5, breaker: Breaker | None = None) -> Model:
    manifest = Manifest(name, 1, "response", (Input("customer.a"),) * 3, "x", "probabilities", 2, 1, "model.onnx", "")
    return Model(manifest, session, Cost(cost_s, 0.0), breaker)


@pytest.fixture
def scorer() -> Iterator[Scorer]:
    one = Scorer()
    yield one
    one.close()


@pytest.fixture
def hung() -> Iterator[Callable[[], Stub]]:
    """Sessions that hang until the test is over."""
    made: list[Stub] = []

    def make() -> Stub:
        made.append(Stub(hangs=True))
        return made[-1]

    yield make
    for stub in made:
        stub.let_go.set()


async def test_a_thread_gives_the_same_scores_as_the_event_loop(
    scorer: Scorer, standard_ref: ModelRef, standard_registry: Path
) -> None:
    standard = load_model(standard_ref, [standard_registry])
    rows = np.random.default_rng(1).random((20, 24), np.float32)
    rows[3] = np.nan
    in_loop = standard.propensities(standard.session.run(rows), 20)
    assert await scorer.score_in_thread(standard, rows, LONG_S) == in_loop
    assert len(set(in_loop)) > 10


async def test_scores_do_not_depend_on_which_rows_are_scored_together(scorer: Scorer) -> None:
    """Bit for bit: a candidate's score must not change because another one was excluded."""
    inputs = tuple(
        f"customer.{name}" for name in ("recency", "history", "mens", "womens", "zip_code", "newbie", "channel")
    )
    ref = ModelRef(0, "response", 1, "response", (*inputs, "message.is_mens", "message.is_womens"), frozenset(), "nan")
    response = load_model(ref, [SHIPPED])
    rows = np.random.default_rng(2).random((300, 9), np.float32) * 12
    whole = response.propensities(response.session.run(rows), 300)
    for count in (1, 2, 7, 20):
        assert await scorer.score_in_thread(response, rows[:count], LONG_S) == whole[:count]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ([[0.5, np.nan], [0.5, 0.5]], "`stub/1` returned NaN or infinity"),
        ([[0.5, 0.5], [0.5, np.nan]], "`stub/1` returned NaN or infinity"),
        ([[0.5, np.inf], [0.5, -np.inf]], "`stub/1` returned NaN or infinity"),
        ([[0.5, 1.01], [0.5, 0.5]], "`stub/1` returned a value outside 0 to 1"),
        ([[0.5, 0.5], [0.5, -0.01]], "`stub/1` returned a value outside 0 to 1"),
        ([[0.5, 0.5]], "`stub/1` returned the shape (1, 2), not (2, 2)"),
        ([0.5, 0.5], "`stub/1` returned the shape (2,), not (2, 2)"),
    ],
    ids=["nan first", "nan last", "infinities", "above one", "below zero", "too few rows", "flat"],
)
async def test_an_answer_that_is_no_probability_is_a_failure(scorer: Scorer, answer: Any, said: str) -> None:
    bad = Stub(np.array(answer, np.float32))
    with pytest.raises(ModelFailed) as failed:
        await scorer.score_in_thread(model(bad), ROW, LONG_S)
    assert str(failed.value) == said


async def test_rounding_beyond_the_ends_is_forgiven(scorer: Scorer) -> None:
    near = np.array([[0.0, np.nextafter(np.float32(1), np.float32(2))], [1.0, -5e-7]], np.float32)
    assert await scorer.score_in_thread(model(Stub(near)), ROW, LONG_S) == [1.0, 0.0]


async def test_a_real_model_that_turns_to_nan_after_its_probe_is_caught(
    scorer: Scorer, small: Callable[[str], tuple[ModelRef, Path]]
) -> None:
    ref, registry = small("nan_above_half")
    real = load_model(ref, [registry])
    assert await scorer.score_in_thread(real, np.full((2, 3), 0.25, np.float32), LONG_S) == [0.5, 0.5]
    with pytest.raises(ModelFailed, match="returned NaN"):
        await scorer.score_in_thread(real, np.full((2, 3), 0.9, np.float32), LONG_S)


async def test_the_runtimes_own_words_are_not_repeated(scorer: Scorer) -> None:
    """They may quote what the model was given."""
    broken = Stub(error=ValueError("history was 142.4"))
    with pytest.raises(ModelFailed, match=r"^`stub/1` raised ValueError$"):
        await scorer.score_in_thread(model(broken), ROW, LONG_S)


async def test_a_slow_run_ends_in_a_timeout_when_the_callers_time_is_up(
    scorer: Scorer, hung: Callable[[], Stub]
) -> None:
    loop = asyncio.get_running_loop()
    start_s = loop.time()
    with pytest.raises(ModelTimeout, match="`stub/1` took too long"):
        await scorer.score_in_thread(model(hung()), ROW, SHORT_S)
    assert SHORT_S <= loop.time() - start_s < 1.0


async def test_a_model_that_hangs_is_refused_until_it_has_ended(scorer: Scorer, hung: Callable[[], Stub]) -> None:
    stub = hung()
    stuck = model(stub)
    with pytest.raises(ModelTimeout):
        await scorer.score_in_thread(stuck, ROW, SHORT_S)
    with pytest.raises(ModelUnavailable, match="`stub/1` hangs"):
        await scorer.score_in_thread(stuck, ROW, LONG_S)
    assert stub.runs == 1
    stub.let_go.set()
    async with asyncio.timeout(LONG_S):
        while scorer.stuck:  # noqa: ASYNC110  (a thread's own last step; there is nothing to await)
            await asyncio.sleep(0)
    assert await scorer.score_in_thread(stuck, ROW, LONG_S) == [0.25, 0.5]


async def test_one_hung_model_leaves_the_others_a_thread(scorer: Scorer, hung: Callable[[], Stub]) -> None:
    with pytest.raises(ModelTimeout):
        await scorer.score_in_thread(model(hung(), "a"), ROW, SHORT_S)
    assert await scorer.score_in_thread(model(Stub(), "b"), ROW, LONG_S) == [0.25, 0.5]


async def test_with_both_threads_stuck_every_threaded_run_is_refused_at_once(
    scorer: Scorer, hung: Callable[[], Stub]
) -> None:
    for name in ("a", "b"):
        with pytest.raises(ModelTimeout):
            await scorer.score_in_thread(model(hung(), name), ROW, SHORT_S)
    with pytest.raises(ModelUnavailable, match="all scoring threads are stuck"):
        await scorer.score_in_thread(model(Stub(), "c"), ROW, LONG_S)


async def test_never_more_than_two_threads_score(scorer: Scorer, hung: Callable[[], Stub]) -> None:
    stubs = [hung() for _ in range(6)]
    runs = [scorer.score_in_thread(model(stub, f"m{i}"), ROW, SHORT_S) for i, stub in enumerate(stubs)]
    outcomes = await asyncio.gather(*runs, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ModelTimeout] * 6
    assert sum(stub.runs for stub in stubs) == 2
    assert sum(thread.name == "scoring" for thread in threading.enumerate()) == 2


async def occupied(scorer: Scorer, *stubs: Stub) -> list[asyncio.Task[list[float]]]:
    """Runs that hold a thread each, and whose callers still wait."""
    runs = [
        asyncio.create_task(scorer.score_in_thread(model(stub, f"busy{i}"), ROW, LONG_S))
        for i, stub in enumerate(stubs)
    ]
    for stub in stubs:
        await asyncio.to_thread(stub.started.wait, LONG_S)
    return runs


async def test_a_run_whose_caller_gave_up_while_it_queued_is_never_started(
    scorer: Scorer, hung: Callable[[], Stub]
) -> None:
    first, second = hung(), hung()
    busy = await occupied(scorer, first, second)
    queued = Stub()
    with pytest.raises(ModelTimeout):
        await scorer.score_in_thread(model(queued, "c"), ROW, SHORT_S)
    first.let_go.set()
    second.let_go.set()
    await asyncio.gather(*busy)
    assert await scorer.score_in_thread(model(Stub(), "d"), ROW, LONG_S)
    assert queued.runs == 0


async def test_waiting_in_the_queue_is_not_held_against_a_model(scorer: Scorer, hung: Callable[[], Stub]) -> None:
    busy = await occupied(scorer, hung(), hung())
    innocent = model(Stub(), "c", breaker=Breaker(failures_max=1))
    with pytest.raises(ModelTimeout):
        await scorer.score_in_thread(innocent, ROW, SHORT_S)
    assert innocent.breaker.closed
    for run in busy:
        run.cancel()


async def test_a_model_that_keeps_failing_is_not_asked_again_for_a_while(scorer: Scorer) -> None:
    broken = Stub(error=ValueError())
    failing = model(broken, breaker=Breaker(failures_max=3, cool_off_s=60.0))
    for _ in range(3):
        with pytest.raises(ModelFailed):
            await scorer.score_in_thread(failing, ROW, LONG_S)
    with pytest.raises(ModelUnavailable, match="keeps failing"):
        await scorer.score_in_thread(failing, ROW, LONG_S)
    assert broken.runs == 3


async def test_a_model_that_recovered_is_used_again(scorer: Scorer) -> None:
    stub = Stub(error=ValueError())
    healing = model(stub, breaker=Breaker(failures_max=1, cool_off_s=0.0))
    with pytest.raises(ModelFailed):
        await scorer.score_in_thread(healing, ROW, LONG_S)
    stub.error = None
    assert await scorer.score_in_thread(healing, ROW, LONG_S) == [0.25, 0.5]
    assert healing.breaker.closed


async def test_a_probe_whose_caller_hung_up_makes_room_for_another(scorer: Scorer, hung: Callable[[], Stub]) -> None:
    breaker = Breaker(failures_max=1, cool_off_s=0.0)
    breaker.fail(0.0)
    stub = hung()
    probe = asyncio.ensure_future(scorer.score_in_thread(model(stub, breaker=breaker), ROW, LONG_S))
    await asyncio.to_thread(stub.started.wait, LONG_S)
    probe.cancel()
    with pytest.raises(asyncio.CancelledError):
        await probe
    assert breaker.admit(0.0)


def test_a_model_that_became_slow_leaves_the_event_loop() -> None:
    cost = Cost(40e-6, 0.0)
    cost.observe(2, 40e-6)  # the worst moment to become slow: a good run has just been seen
    for _ in range(5):
        assert cost.seconds(2) < INLINE_S_MAX
        cost.observe(2, 0.01)
    assert cost.seconds(2) > INLINE_S_MAX


@given(st.lists(st.booleans(), max_size=60).map(lambda pauses: [a and not b for a, b in pairwise([*pauses, False])]))
def test_single_pauses_of_the_machine_never_move_a_quick_model(pauses: list[bool]) -> None:
    """Any number of pauses of 50 ms, as long as each is followed by a run that is not disturbed."""
    cost = Cost(base_s=20e-6, row_s=1e-6)
    for pause in pauses:
        cost.observe(20, 0.05 if pause else 40e-6)
        assert cost.seconds(20) == pytest.approx(40e-6)


def test_a_model_that_is_quick_again_comes_back_to_the_event_loop() -> None:
    cost = Cost(base_s=20e-6, row_s=1e-6)
    for _ in range(7):  # the worst moment to recover: a slow run has just been seen
        cost.observe(20, 0.05)
    for _ in range(5):
        cost.observe(20, 40e-6)
    assert cost.seconds(20) < 60e-6
