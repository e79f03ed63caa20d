"""Runs models that are too dear for the event loop, in bounded threads. The others run there: see `models/turn.py`.

Scores fail open: everything raised here means "answer from the `rules` rung", and is raised in time for that.

| raised | when | `degraded` |
|---|---|---|
| `ModelFailed` | the run broke, or its answers are no probabilities | `model_failed` |
| `ModelTimeout` | the run did not end within the caller's time | `model_timeout` |
| `ModelUnavailable` | not even started: the model keeps failing, hangs, or both threads do | `model_failed` |

A run that hangs cannot be interrupted. So there are at most two scoring threads, ever; a model with a run that outlived
its caller is refused until that run ends, which leaves the other thread to other models; and when both threads are
stuck, every threaded run is refused at once.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque

from models.contract import Matrix
from models.session import Model, ModelFailed

__all__ = ["Model", "ModelFailed", "ModelTimeout", "ModelUnavailable", "Scorer"]

THREADS = 2


class ModelTimeout(Exception):
    """The run did not end in time; it may still be going on."""


class ModelUnavailable(Exception):
    """The run was not started, because it would most likely fail or hang."""


class _Run:
    """One threaded run: made by the loop, carried out by a thread, answered to the loop."""

    __slots__ = ("future", "loop", "matrix", "model", "overdue", "started")

    def __init__(self, model: Model, matrix: Matrix, loop: asyncio.AbstractEventLoop) -> None:
        self.model = model
        self.matrix = matrix
        self.loop = loop
        self.future: asyncio.Future[list[float]] = loop.create_future()
        self.started = False
        self.overdue = False  # nobody waits any more


class Scorer:
    """One a process, used from its event loop. Not for use by several loops at once."""

    def __init__(self, threads: int = THREADS) -> None:
        self._threads_max = threads
        self._threads: list[threading.Thread] = []
        self._running: list[_Run | None] = []  # by thread
        self._waiting: deque[_Run | None] = deque()
        self._wake = threading.Semaphore(0)

    async def score_in_thread(self, model: Model, matrix: Matrix, timeout_s: float) -> list[float]:
        """The propensities, one a row, from beside the event loop, for at most `timeout_s` (queueing included).

        `matrix`: float32 [rows, inputs] as `InputPlan.fill` makes it. Raises `ModelFailed`, `ModelTimeout`,
        `ModelUnavailable`.
        """
        self._refuse_if_stuck(model)
        if not model.breaker.admit(time.perf_counter()):
            raise ModelUnavailable(f"`{model.name}` keeps failing")
        loop = asyncio.get_running_loop()
        run = _Run(model, matrix, loop)
        self._submit(run)
        timer = loop.call_later(timeout_s, _time_out, run)
        try:
            return await run.future
        finally:
            timer.cancel()
            if not run.overdue and run.future.cancelled():  # the caller went away
                run.overdue = True
                model.breaker.abandon()

    def close(self) -> None:
        """Let idle threads end. One that hangs is left behind: it is a daemon and ends with the process."""
        self._waiting.extend([None] * len(self._threads))
        for _ in self._threads:
            self._wake.release()
        for thread in self._threads:
            thread.join(timeout=0.2)
        self._threads, self._running = [], []

    @property
    def stuck(self) -> list[Model]:
        """The models whose runs outlived their callers and still hold a thread. For health reports."""
        return [run.model for run in self._running if run is not None and run.overdue]

    def _refuse_if_stuck(self, model: Model) -> None:
        stuck = self.stuck
        if len(stuck) == self._threads_max:
            raise ModelUnavailable("all scoring threads are stuck")
        if model in stuck:
            raise ModelUnavailable(f"`{model.name}` hangs")

    def _submit(self, run: _Run) -> None:
        if not self._threads:  # most servers never need them
            self._start_threads()
        self._waiting.append(run)
        self._wake.release()

    def _start_threads(self) -> None:
        self._running = [None] * self._threads_max
        for place in range(self._threads_max):
            thread = threading.Thread(target=self._work, args=(place,), name="scoring", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _work(self, place: int) -> None:
        """The life of a scoring thread. It touches no state of the loop but through `call_soon_threadsafe`."""
        running = self._running  # `close` gives the scorer a new list; a thread left behind keeps its own
        while True:
            self._wake.acquire()
            run = self._waiting.popleft()
            if run is None:
                return
            if run.overdue:
                continue
            run.started = True
            running[place] = run
            outcome, spent_s = _carry_out(run)
            running[place] = None
            try:
                run.loop.call_soon_threadsafe(_deliver, run, outcome, spent_s)
            except RuntimeError:  # the loop has closed; nobody waits
                return


def _carry_out(run: _Run) -> tuple[list[float] | Exception, float]:
    """In a thread: the scores or what went wrong, and the seconds that the run took.

    These are seconds of CPU, because a thread also waits for the interpreter lock (up to 5 ms beside a busy loop),
    which would make every model look dear and keep it in the threads for good. Only a wait that no lock explains
    counts as slowness.
    """
    start_s, start_cpu_s = time.perf_counter(), time.thread_time()
    outcome: list[float] | Exception
    try:
        outcome = run.model.propensities(run.model.session.run(run.matrix), len(run.matrix))
    except Exception as error:
        outcome = error
    spent_s = time.perf_counter() - start_s
    return outcome, spent_s if spent_s > 0.02 else time.thread_time() - start_cpu_s


def _deliver(run: _Run, outcome: list[float] | Exception, spent_s: float) -> None:
    """In the loop: hand the outcome to the caller, if it still waits, and learn from it."""
    if not isinstance(outcome, Exception):
        run.model.cost.observe(len(run.matrix), spent_s)
    if run.future.done():
        return
    if isinstance(outcome, Exception):
        run.model.breaker.fail(time.perf_counter())
        failure = as_failure(run.model, outcome)
        failure.__cause__ = outcome
        run.future.set_exception(failure)
    else:
        run.model.breaker.succeed()
        run.future.set_result(outcome)


def _time_out(run: _Run) -> None:
    """In the loop: the caller's time is up. A run that never started says nothing about its model."""
    if run.future.done():
        return
    run.overdue = True
    if run.started:
        run.model.breaker.fail(time.perf_counter())
    else:
        run.model.breaker.abandon()
    run.future.set_exception(ModelTimeout(f"`{run.model.name}` took too long"))


def as_failure(model: Model, error: Exception) -> ModelFailed:
    """The runtime's own text may quote what it was given, so only its kind is repeated."""
    reason = str(error) if isinstance(error, ModelFailed) else f"raised {type(error).__name__}"
    return ModelFailed(f"`{model.name}` {reason}")
