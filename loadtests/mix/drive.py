"""One run of the mix inside Locust: its plan, what came back, and the verdict."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from locust.env import Environment
from locust.shape import LoadTestShape

from loadtests.clock import now_ns
from loadtests.mix.deployment import find
from loadtests.mix.dispatch import Dispatcher
from loadtests.mix.findings import Findings, findings
from loadtests.mix.report import keep, say
from loadtests.mix.samples import BROKEN, LOST, UNANSWERED, Fate, Run, Samples
from loadtests.mix.schedule import Kind, Stage, arrivals, seconds_of, stage_at
from loadtests.mix.shapes import BEGIN_IN_S, Planned
from loadtests.mix.slo import BadSlo, Budget, read
from loadtests.mix.traffic import Deployment, Traffic

SEED = 20_261_124
OK = 200


class Drive:
    """State of the run that is under way; Locust's users are in one thread."""

    traffic: Traffic
    dispatcher: Dispatcher

    def __init__(self) -> None:
        self._on: Deployment | None = None
        self.met = False  # a run that never ended well has kept nothing
        self._in_flight: dict[object, int] = {}
        self._stages: tuple[Stage, ...] = ()
        self._budgets: dict[Kind, Budget] = {}
        self._run = Run({}, [])
        self._began = ""

    def look(self, environment: Environment) -> None:
        """Find out what is driven. Raises SystemExit, in words, where it cannot be driven like this."""
        options = environment.parsed_options
        assert options is not None
        try:
            self._budgets = read(Path(options.slo))
        except BadSlo as error:
            raise SystemExit(str(error)) from error
        self._on = find(environment.host or "", options.customers)

    def start(self, environment: Environment) -> None:
        options = environment.parsed_options
        shape: LoadTestShape | None = environment.shape_class
        assert options is not None
        assert isinstance(shape, Planned)
        if not options.headless:
            self.look(environment)  # the address is what was entered on Locust's page
        assert self._on is not None
        on = self._on
        self.met = False
        self._stages = shape.stages()
        self.traffic = Traffic(on, SEED)
        kinds = [kind for kind in on.kinds() if any(each.kind is kind for each in environment.user_classes)]  # type: ignore[attr-defined]  # callers are of a kind
        self._run = Run({kind: Samples() for kind in kinds}, [Counter() for _ in self._stages])
        self._in_flight.clear()
        self.dispatcher = Dispatcher(tuple(Kind))
        self._began = datetime.now(tz=UTC).isoformat(timespec="seconds")
        gc.collect()
        gc.freeze()  # what lives as long as the run is not looked at again
        # Finding out what is driven took a while.
        shape.reset_time()  # type: ignore[no-untyped-call]  # Locust's
        self.dispatcher.start(arrivals(self._stages, options.rate, kinds, SEED), BEGIN_IN_S)

    def drained(self) -> bool:
        return not self._in_flight and not any(waiting.left() for waiting in self.dispatcher.due.values())

    def nothing_to_tell(self) -> None:
        self._run.unsent += 1

    @contextmanager
    def sending(self, caller: object, due_ns: int, behind: bool) -> Iterator[None]:
        """While a caller waits for its answer. Notes how late the driver was, where it was the driver: what waited
        for a connection did so because the server was behind."""
        self._in_flight[caller] = due_ns
        if not behind:
            self._run.late_ms.append((now_ns() - due_ns) / 1e6)
        yield
        self._in_flight.pop(caller, None)

    def answered(self, kind: Kind, due_ns: int, status: int, body: bytes) -> tuple[float, str | None]:
        """Milliseconds since it was due, and what was wrong, if anything. `status` 0: no answer came."""
        latency_ms = (now_ns() - due_ns) / 1e6
        due_s = (due_ns - self.dispatcher.begin_ns) / 1e9
        samples = self._run.by_kind[kind]
        if status != OK:
            what = str(status) if status else LOST
            samples.add(due_s, latency_ms, Fate.REFUSED if status else Fate.LOST, what)
            return latency_ms, what
        try:
            done = self.traffic.done(kind, body)
        except (ValueError, KeyError, TypeError) as error:
            samples.add(due_s, latency_ms, Fate.LOST, BROKEN)
            return latency_ms, f"{BROKEN}: {error}"
        samples.add(due_s, latency_ms, Fate.GOOD)
        self._run.counts.update(done.counts)
        if done.rungs:
            self._run.rungs[stage_at(self._stages, due_s)].update(done.rungs)
        return latency_ms, None

    def finish(self, environment: Environment) -> None:
        """What is unanswered counts with the time it has waited so far: less than the truth, but not nothing."""
        options = environment.parsed_options
        assert options is not None
        self.dispatcher.stop()
        now = now_ns()
        self._run.driver_cpu = self.dispatcher.cpu_share
        for caller, due_ns in self._in_flight.items():
            self._unanswered(caller.kind, due_ns, now)  # type: ignore[attr-defined]  # callers are of a kind
        for kind, waiting in self.dispatcher.due.items():
            while waiting.left():
                self._unanswered(kind, waiting.get()[0], now)
        found = self._found(environment, options.shape, options.rate)
        path = keep(found, Path(options.report) if options.report else None)
        say(found, path)
        self.met = found.met

    def _unanswered(self, kind: Kind, due_ns: int, now: int) -> None:
        due_s = (due_ns - self.dispatcher.begin_ns) / 1e9
        self._run.by_kind[kind].add(due_s, (now - due_ns) / 1e6, Fate.LOST, UNANSWERED)

    def _found(self, environment: Environment, shape: str, rate: float) -> Findings:
        return findings(
            self._run,
            self._stages,
            self._budgets,
            url=environment.host or "",
            began=self._began,
            shape=shape,
            rate=rate,
            warm_up_s=min(5.0, seconds_of(self._stages) / 20),
        )
