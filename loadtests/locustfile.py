"""The real mix, with Locust: `make load`, `make load-url URL=…`, or `locust -f loadtests/locustfile.py --host URL`.

Four kinds of caller: journey tools that ask for decisions, in bursts after each send; batch jobs; SDKs that send events
as Segment's client does; an ESP whose signed webhooks come in a storm after each send. Arrival is open: what falls due
is planned beforehand (`loadtests/mix/schedule.py`), and a latency counts from when its request was due, whether a
connection was free or not. Users are connections, so `--users` means nothing here.

The exit code is 0 when every budget of `slo.yaml` was kept. `NEXTBEST_KEY`: a key with the scopes `decide`, `collect`
and `read`. `NEXTBEST_SENDGRID_SIGNING_KEY`: the private half of a webhook's key (Base64 of PKCS #8 DER); without it no
webhooks are sent, and the report says so.
"""

from __future__ import annotations

from typing import Any, ClassVar

from locust import FastHttpUser, events, task
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.runners import LocalRunner

from loadtests.mix.drive import Drive
from loadtests.mix.schedule import Kind
from loadtests.mix.shapes import CONNECTIONS, SHAPES, Soak, Spiking, Steady, Stepped, SteppedThenSpiking
from loadtests.mix.slo import DEFAULT

__all__ = ["BatchJob", "Esp", "JourneyTool", "Sdk", "Soak", "Spiking", "Steady", "Stepped", "SteppedThenSpiking"]

DRIVE = Drive()


class Caller(FastHttpUser):
    """A connection of one kind of caller: waits for what falls due, sends it, says what came back."""

    abstract = True
    kind: ClassVar[Kind]
    insecure = False  # a certificate that does not hold must not get the key
    connection_timeout = 10.0
    network_timeout = 10.0
    max_redirects = 0

    @task
    def next(self) -> None:
        ready = DRIVE.traffic.request(self.kind)  # made while nothing is due, so that it costs no latency
        due_ns, behind = DRIVE.dispatcher.due[self.kind].get()
        request = ready or DRIVE.traffic.request(self.kind)
        if request is None:
            DRIVE.nothing_to_tell()
            return
        sent = {"data": request.body, "headers": request.headers, "catch_response": True}
        with (
            DRIVE.sending(self, due_ns, behind),
            self.client.post(request.path, **sent) as response,  # type: ignore[arg-type]  # bytes are sent as they are
        ):
            latency_ms, problem = DRIVE.answered(self.kind, due_ns, response.status_code, response.content or b"")
            response.request_meta["response_time"] = latency_ms
            if problem is None:
                response.success()
            else:
                response.failure(problem)


class JourneyTool(Caller):
    kind = Kind.DECIDE
    fixed_count = CONNECTIONS // 2


class BatchJob(Caller):
    kind = Kind.BATCH
    network_timeout = 60.0  # it waits: its lines give way to single decisions
    fixed_count = CONNECTIONS // 8


class Sdk(Caller):
    kind = Kind.EVENTS
    fixed_count = CONNECTIONS * 3 // 16


class Esp(Caller):
    kind = Kind.WEBHOOKS
    fixed_count = CONNECTIONS * 3 // 16


@events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator]  # Locust's own
def _options(parser: LocustArgumentParser) -> None:
    group = parser.add_argument_group("nextbest")
    group.add_argument(
        "--shape", choices=list(SHAPES), default="stepped-then-spiking", help="How the load goes up and down."
    )
    group.add_argument("--seconds", type=float, default=300.0, help="How long the whole shape takes.")
    group.add_argument(
        "--rate", type=float, default=100.0,
        help="Decisions a second of the journey tool at 100 %%, outside bursts; all else in proportion.",
    )  # fmt: skip
    group.add_argument(
        "--customers", default="1000",
        help="A file of customer keys, one a line; or how many to make (`load00000`, …).",
    )  # fmt: skip
    group.add_argument("--slo", default=str(DEFAULT), help="The budgets.")
    group.add_argument(
        "--report", default="", help="Where the JSON goes, with the page beside it; else reports/load-…."
    )


@events.init.add_listener  # type: ignore[untyped-decorator]  # Locust's own
def _choose(environment: Environment, runner: Any, **_: Any) -> None:
    if runner is not None and not isinstance(runner, LocalRunner):
        raise SystemExit("the plan of what falls due is one process's: run without --master, --worker, --processes")
    options = environment.parsed_options
    assert options is not None
    shape = SHAPES[options.shape]()
    shape.seconds, shape.drained = options.seconds, DRIVE.drained
    environment.shape_class = shape
    if options.headless:
        DRIVE.look(environment)


@events.test_start.add_listener  # type: ignore[untyped-decorator]  # Locust's own
def _start(environment: Environment, **_: Any) -> None:
    DRIVE.start(environment)


@events.test_stop.add_listener  # type: ignore[untyped-decorator]  # Locust's own
def _stop(environment: Environment, **_: Any) -> None:
    DRIVE.finish(environment)


@events.quitting.add_listener  # type: ignore[untyped-decorator]  # Locust's own
def _quit(environment: Environment, **_: Any) -> None:
    environment.process_exit_code = 0 if DRIVE.met else 1
