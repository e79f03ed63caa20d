"""Every metric of the system, declared once. Names and labels are a contract with dashboards: never renamed.

`known` are the label values that are fixed by the code: their series exist, at zero, from the first scrape, so that an
alert on `rate(…)` sees the first failure. Label values that only a bundle or a running system knows (placements,
models, kinds of failure) get their series when they first happen, at most `at_most` of them; what comes later is
counted under `other` in every label, so that no bundle can make a scrape grow without end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from app.core.events.event import Misfits
from app.core.features.chunk import Results
from app.core.webhooks.registry import NAMES as PROVIDERS
from app.errors import PROBLEMS as PROBLEM_CODES
from policy.codes import Degraded, Step

Labels: TypeAlias = tuple[str, ...]
Kind: TypeAlias = Literal["counter", "gauge", "histogram"]

PREFIX = "nextbest_"
#: The label value of everything beyond `at_most`.
OTHER = "other"


@dataclass(
    frozen=True, slots=True, eq=False
)  # compared by identity: a family is declared once, and hashed on the hot path
class Family:
    """One metric with its labels. `bounds_ns` are a histogram's inclusive upper bounds in nanoseconds, rising; exposed
    in seconds. What lasts hours is counted in milliseconds, `bounds_ms`: its sum would outgrow 64 bits in a day."""

    name: str
    kind: Kind
    help: str
    labels: Labels = ()
    known: tuple[Labels, ...] = ((),)
    at_most: int = 0
    bounds_ns: tuple[int, ...] = ()
    bounds_ms: tuple[int, ...] = ()

    @property
    def bounds(self) -> tuple[int, ...]:
        """In the unit in which it is counted; empty: it is no histogram."""
        return self.bounds_ns or self.bounds_ms

    @property
    def a_second(self) -> int:
        """How many of that unit are one."""
        return 1_000 if self.bounds_ms else 1_000_000_000

    @property
    def width(self) -> int:
        """Cells of one series: a count, or a histogram's buckets, the one above all bounds, and the sum."""
        return len(self.bounds) + 2 if self.bounds else 1


def _each(values: tuple[str, ...]) -> tuple[Labels, ...]:
    return tuple((value,) for value in values)


_MS = 1_000_000

#: Pure steps take 2 to 50 µs, round trips 0.1 ms to the whole budget: fine below 0.1 ms, even steps up to a second.
STEP_BOUNDS_NS = (
    10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    _MS, 5 * _MS // 2, 5 * _MS, 10 * _MS, 25 * _MS, 50 * _MS, 100 * _MS, 250 * _MS, 500 * _MS, 1_000 * _MS,
)  # fmt: skip

#: Finer where budgets lie (5 ms to 2 s; 40 ms is usual), so that a p99 read from them is within a fifth.
DECISION_BOUNDS_NS = (
    _MS // 4, _MS // 2, _MS, 2 * _MS, 3 * _MS, 4 * _MS, 5 * _MS, 15 * _MS // 2, 10 * _MS, 15 * _MS, 20 * _MS,
    25 * _MS, 30 * _MS, 40 * _MS, 50 * _MS, 75 * _MS, 100 * _MS, 150 * _MS, 250 * _MS, 500 * _MS,
    1_000 * _MS, 2_000 * _MS,
)  # fmt: skip

#: Providers tell within seconds, batch for minutes, and come again for days after an outage.
LAG_BOUNDS_MS = (
    1_000, 5_000, 15_000, 60_000, 300_000, 900_000, 3_600_000, 6 * 3_600_000, 24 * 3_600_000, 72 * 3_600_000,
)  # fmt: skip

#: A turn of the loop with little to do takes under a millisecond; what waits for 40 ms has missed its usual budget.
QUEUE_BOUNDS_NS = (
    _MS, 2 * _MS, 5 * _MS, 10 * _MS, 20 * _MS, 40 * _MS, 80 * _MS, 160 * _MS, 320 * _MS, 1_000 * _MS,
)  # fmt: skip

#: Rows of one model run: upper bound (inclusive) and the label it is counted under.
SIZES: tuple[tuple[int, str], ...] = ((1, "1"), (5, "2-5"), (20, "6-20"), (50, "21-50"))
SIZE_ABOVE = "51+"

DECISIONS = Family(
    "decisions_total", "counter", "Decisions answered.", ("placement", "action", "rung", "reason"), (), at_most=4096
)
STEP_SECONDS = Family(
    "decision_step_seconds", "histogram", "Time of each step of a decision request; skipped steps are not counted.",
    ("step",), _each(tuple(Step)), bounds_ns=STEP_BOUNDS_NS,
)  # fmt: skip
DECISION_SECONDS = Family(
    "decision_seconds", "histogram", "Time of a whole decision request, from its first byte to its answer.",
    bounds_ns=DECISION_BOUNDS_NS,
)  # fmt: skip
BUDGET_OVERRUNS = Family("budget_overruns_total", "counter", "Answers that came later than their budget.")
STORE_READ_ERRORS = Family(
    "store_read_errors_total", "counter", "Reads of facts that failed.", ("kind",),
    _each(("StoreTimeout", "StoreDown", "StoreBusy", "FactsLost", "Garbled")), at_most=32,
)  # fmt: skip
STORE_COMMIT_ERRORS = Family(
    "store_commit_errors_total", "counter", "Commits that failed.", ("kind",),
    _each(("StoreTimeout", "StoreDown", "StoreBusy", "Late")), at_most=32,
)  # fmt: skip
COMMIT_CONFLICTS = Family("commit_conflicts_total", "counter", "Commits refused because a version had moved.")
COMMIT_UNKNOWN = Family("commit_unknown_total", "counter", "Commits whose fate is unknown; each queues a release.")
DEGRADED = Family("degraded_total", "counter", "What was missing from full answers.", ("what",), _each(tuple(Degraded)))
MODEL_RUNS = Family("model_runs_total", "counter", "Model runs by rows scored.", ("model", "size"), (), at_most=320)
MODEL_FAILURES = Family(
    "model_failures_total", "counter", "Model runs that gave no usable score.", ("model", "kind"), (), at_most=320
)
PROBLEMS = Family(
    "problems_total", "counter", "Requests refused, by problem code.", ("code",), _each(tuple(PROBLEM_CODES))
)
SHED = Family("shed_total", "counter", "Requests refused before any read, because there were too many.")
QUEUE_DELAY_SECONDS = Family(
    "queue_delay_seconds", "histogram",
    "How long a request that comes now waits before it is worked on, looked at five times a second.",
    bounds_ns=QUEUE_BOUNDS_NS,
)  # fmt: skip
REQUESTS_IN_FLIGHT = Family("requests_in_flight", "gauge", "Requests being answered now, by worker.")
STORE_CONNECTED = Family("store_connected", "gauge", "1 while a worker's connection to the store is usable, else 0.")
SWITCHES_OFF = Family("switches_off", "gauge", "Kill switches in force in a worker.")
CONTROL_AGE_SECONDS = Family(
    "control_age_seconds", "gauge", "Age of what a worker knows of kill switches; from 5 s on it suppresses marketing."
)
FEATURES_NOT_FILLED = Family(
    "features_not_filled", "gauge", "Features that a worker does not use, since they lack events that passed."
)
CUSTOMERS_WRITTEN = Family("customers_written_total", "counter", "Customer documents written.")
BATCH_LINES = Family(
    "batch_lines_total", "counter", "Lines of batch requests.", ("result",), _each(("answered", "problem")), at_most=8
)
IDEMPOTENT_REPLAYS = Family(
    "idempotent_replays_total", "counter", "Answers given again because their idempotency key was known."
)
RELEASES = Family(
    "releases_total", "counter", "Releases of reservations whose commit had an unknown fate.", ("result",),
    _each(("released", "absent", "answered", "logged", "dropped")), at_most=8,
)  # fmt: skip
SPANS_DROPPED = Family(
    "spans_dropped_total", "counter", "Spans lost: the queue was full, or the collector did not take them.",
    ("reason",), _each(("queue_full", "export_failed")),
)  # fmt: skip
EVENTS = Family(
    "events_total", "counter", "Events by what became of them: accepted, undeclared, or why they were put aside.",
    ("result",), _each(("accepted", "undeclared", *Misfits)),
)  # fmt: skip
WEBHOOK_RESULTS = ("accepted", "duplicate", "ignored", "unknown", "rejected")
WEBHOOK_ITEMS = Family(
    "webhook_items_total", "counter", "What providers said, by what became of it; `unknown` is kept for people to see.",
    ("provider", "result"),
    tuple((name, result) for name in PROVIDERS for result in WEBHOOK_RESULTS),
)  # fmt: skip
WEBHOOKS_REFUSED = Family(
    "webhooks_refused_total", "counter", "Deliveries of providers that were refused whole, by problem code.",
    ("provider", "code"), (), at_most=160,
)  # fmt: skip
WEBHOOK_LAG = Family(
    "webhook_lag_seconds", "histogram", "From when something happened to when it was taken; repeats do not count.",
    ("provider",), _each(PROVIDERS), bounds_ms=LAG_BOUNDS_MS,
)  # fmt: skip
EVENT_PROPERTIES_DROPPED = Family(
    "event_properties_dropped_total", "counter", "Properties of accepted events that the bundle does not declare."
)
WORKER_EVENTS = Family(
    "worker_events_total", "counter", "Entries of event streams by what became of them.", ("result",),
    _each(tuple(Results)),
)  # fmt: skip
WORKER_SHARDS = Family("worker_shards", "gauge", "Shards whose events a process works off.")
WORKER_LAG_MS = Family(
    "worker_lag_milliseconds", "gauge", "How far the shard that is the most behind of a process is behind."
)
IDENTITIES = Family(
    "identities_total", "counter", "Identities that were settled, and customers merged by them.", ("result",),
    _each(("linked", "shared", "merged", "refused", "failed")),
)  # fmt: skip
UNSUBSCRIBE_REQUESTS = Family(
    "unsubscribe_requests_total", "counter", "What recipients asked for by the links in their mails.", ("action",),
    _each(("one_click", "withdraw", "withdraw_all", "grant", "none")),
)  # fmt: skip
REWARDS = Family(
    "rewards_total", "counter", "Decisions whose window closed, by what became of them.", ("result",),
    _each(("rewarded", "unexposed", "dropped")),
)  # fmt: skip
CONVERSIONS = Family(
    "conversions_total", "counter", "Conversions, by the bundle's id and by what led to their decision.",
    ("conversion", "attribution"), (), at_most=256,
)  # fmt: skip

#: The order is the layout of a worker's file: a change makes older files unreadable, which restarts the counters.
FAMILIES: tuple[Family, ...] = (
    DECISIONS, STEP_SECONDS, DECISION_SECONDS, BUDGET_OVERRUNS, STORE_READ_ERRORS, STORE_COMMIT_ERRORS,
    COMMIT_CONFLICTS, COMMIT_UNKNOWN, DEGRADED, MODEL_RUNS, MODEL_FAILURES, PROBLEMS, SHED, REQUESTS_IN_FLIGHT,
    STORE_CONNECTED, CUSTOMERS_WRITTEN, BATCH_LINES, IDEMPOTENT_REPLAYS, RELEASES, SPANS_DROPPED,
    SWITCHES_OFF, CONTROL_AGE_SECONDS, EVENTS, EVENT_PROPERTIES_DROPPED, WEBHOOK_ITEMS, WEBHOOKS_REFUSED,
    FEATURES_NOT_FILLED, WORKER_EVENTS, WORKER_SHARDS, WORKER_LAG_MS,
    IDENTITIES, REWARDS, UNSUBSCRIBE_REQUESTS, WEBHOOK_LAG, CONVERSIONS, QUEUE_DELAY_SECONDS,
)  # fmt: skip
BY_NAME = {family.name: family for family in FAMILIES}


def size_label(rows: int) -> str:
    """The label under which a model run of this many rows is counted."""
    for at_most, label in SIZES:
        if rows <= at_most:
            return label
    return SIZE_ABOVE
