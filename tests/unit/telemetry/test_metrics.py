"""Metrics: counted in each worker, added up at the scrape, right to the last one."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from app.errors import PROBLEMS
from app.telemetry import cells, exposition, series
from app.telemetry.metrics import Metrics
from policy.codes import Action, Reason, Rung, Step

BUILD = {"version": "0.1.0"}


@contextmanager
def worker(directory: Path | None = None) -> Iterator[Metrics]:
    metrics = Metrics(directory, BUILD)
    try:
        yield metrics
    finally:
        metrics.close()


def scrape(metrics: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every sample by name and labels, as a strict reader of the format understands it."""
    families = text_string_to_metric_families(metrics.render().decode())
    samples = [sample for family in families for sample in family.samples]
    read = {(sample.name, frozenset(sample.labels.items())): sample.value for sample in samples}
    assert len(read) == len(samples), "a series was exposed twice"
    return read


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return scrape(metrics).get((f"nextbest_{name}", frozenset(labels.items())))


def test_a_decision_is_counted_by_placement_action_rung_and_reason() -> None:
    with worker() as metrics:
        for _ in range(3):
            metrics.decision("weekly_offer", Action.SEND, Rung.MODEL, Reason.MODEL_RANKED)
        metrics.decision("weekly_offer", Action.SUPPRESS, Rung.SUPPRESS, "suppressed:complaint")
        common = {"placement": "weekly_offer"}
        assert value(metrics, "decisions_total", **common, action="send", rung="model", reason="model_ranked") == 3
        suppressed = {"action": "suppress", "rung": "suppress", "reason": "suppressed:complaint"}
        assert value(metrics, "decisions_total", **common, **suppressed) == 1


def test_every_declared_metric_is_exposed_with_help_and_type() -> None:
    with worker() as metrics:
        families = {family.name: family for family in text_string_to_metric_families(metrics.render().decode())}
    for declared in series.FAMILIES:
        shown = families[f"nextbest_{declared.name}".removesuffix("_total")]
        assert shown.type == declared.kind
        assert shown.documentation == declared.help


def test_what_the_code_can_name_is_at_zero_from_the_first_scrape() -> None:
    with worker() as metrics:
        for code in PROBLEMS:
            assert value(metrics, "problems_total", code=code) == 0
        assert value(metrics, "budget_overruns_total") == 0
        assert value(metrics, "decision_step_seconds_count", step="commit") == 0


def test_the_running_version_is_exposed() -> None:
    with worker() as metrics:
        assert value(metrics, "build_info", version="0.1.0") == 1


durations = st.lists(st.integers(-1, 3_000_000_000), min_size=10, max_size=10)


@settings(max_examples=50, deadline=None)
@given(requests=st.lists(st.tuples(durations, st.integers(0, 5_000_000_000)), max_size=8))
def test_step_times_fall_into_the_bucket_whose_bound_they_do_not_exceed(
    requests: list[tuple[list[int], int]],
) -> None:
    with worker() as metrics:
        for steps, whole in requests:
            metrics.steps(steps, whole)
        read = scrape(metrics)
    for index, step in enumerate(Step):
        taken = [steps[index] for steps, _ in requests if steps[index] >= 0]
        check_histogram(read, "decision_step_seconds", taken, series.STEP_BOUNDS_NS, {"step": str(step)})
    check_histogram(read, "decision_seconds", [whole for _, whole in requests], series.DECISION_BOUNDS_NS, {})


def check_histogram(
    read: dict[tuple[str, frozenset[tuple[str, str]]], float],
    name: str,
    taken_ns: list[int],
    bounds_ns: tuple[int, ...],
    labels: dict[str, str],
) -> None:
    """Against the definition: a bucket counts everything up to and including its bound."""
    for bound in bounds_ns:
        bucket = frozenset({**labels, "le": repr(bound / 1e9)}.items())
        assert read[f"nextbest_{name}_bucket", bucket] == sum(ns <= bound for ns in taken_ns)
    above = frozenset({**labels, "le": "+Inf"}.items())
    assert read[f"nextbest_{name}_bucket", above] == len(taken_ns)
    assert read[f"nextbest_{name}_count", frozenset(labels.items())] == len(taken_ns)
    assert read[f"nextbest_{name}_sum", frozenset(labels.items())] == pytest.approx(sum(taken_ns) / 1e9)


def test_a_step_that_took_exactly_a_bound_is_within_it() -> None:
    with worker() as metrics:
        for bound in series.STEP_BOUNDS_NS:
            metrics.steps([bound] + [-1] * 9, 0)
        for n, bound in enumerate(series.STEP_BOUNDS_NS, 1):
            assert value(metrics, "decision_step_seconds_bucket", step="admit", le=repr(bound / 1e9)) == n


@pytest.mark.parametrize(
    ("rows", "size"),
    [(0, "1"), (1, "1"), (2, "2-5"), (5, "2-5"), (6, "6-20"), (50, "21-50"), (51, "51+"), (999, "51+")],
)
def test_model_runs_are_counted_by_model_and_size(rows: int, size: str) -> None:
    with worker() as metrics:
        metrics.model_run("response@1", rows)
        assert value(metrics, "model_runs_total", model="response@1", size=size) == 1


def test_a_scrape_of_any_worker_sums_all_workers(tmp_path: Path) -> None:
    with worker(tmp_path) as one, worker(tmp_path) as two:
        one.decision("weekly_offer", "send", "model", "model_ranked")
        two.decision("cart_abandoned", "send", "rules", "rule_ranked")  # in the cell where the other has weekly_offer
        two.decision("weekly_offer", "send", "model", "model_ranked")
        for metrics in (one, two):
            metrics.count(series.PROBLEMS, "malformed_json")
            metrics.steps([1_000_000] * 10, 10_000_000)
        assert scrape(one) == scrape(two)
        labels = {"action": "send", "rung": "model", "reason": "model_ranked"}
        assert value(one, "decisions_total", placement="weekly_offer", **labels) == 2
        assert value(one, "problems_total", code="malformed_json") == 2
        assert value(one, "decision_step_seconds_bucket", step="read", le="0.001") == 2
        assert value(one, "decision_seconds_sum") == pytest.approx(0.02)


def test_gauges_are_one_series_a_living_worker(tmp_path: Path) -> None:
    with worker(tmp_path) as one:
        with worker(tmp_path) as two:
            one.set(one.slot(series.STORE_CONNECTED), 1)
            two.add(two.slot(series.REQUESTS_IN_FLIGHT), 5)
            two.add(two.slot(series.REQUESTS_IN_FLIGHT), -2)
            assert value(one, "store_connected", worker="0") == 1
            assert value(one, "store_connected", worker="1") == 0
            assert value(one, "requests_in_flight", worker="1") == 3
        assert value(one, "requests_in_flight", worker="0") == 0
        assert value(one, "requests_in_flight", worker="1") is None


KILLED_WORKER = """
import sys
from pathlib import Path
from app.telemetry import series
from app.telemetry.metrics import Metrics
metrics = Metrics(Path(sys.argv[1]), {})
metrics.decision("weekly_offer", "send", "model", "model_ranked")
metrics.count(series.PROBLEMS, "internal")
metrics.set(metrics.slot(series.REQUESTS_IN_FLIGHT), 7)
print("counted", flush=True)
sys.stdin.read()
"""


def run_worker(code: str, directory: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )


def start_worker_process(directory: Path) -> subprocess.Popen[str]:
    process = run_worker(KILLED_WORKER, directory)
    assert process.stdout is not None
    assert process.stdout.readline() == "counted\n"
    return process


BUSY_WORKER = """
import sys
from pathlib import Path
from app.telemetry.metrics import Metrics
metrics = Metrics(Path(sys.argv[1]), {})
for n in range(20_000):
    metrics.decision(f"placement_{n % 40}", "send", "model", "model_ranked")
    metrics.steps([20_000] * 10, 200_000)
"""


def test_scrapes_while_workers_count_never_go_back_and_end_exact(tmp_path: Path) -> None:
    processes = [run_worker(BUSY_WORKER, tmp_path) for _ in range(2)]
    with worker(tmp_path) as metrics:
        seen = [0.0]
        while any(process.poll() is None for process in processes):
            read = scrape(metrics)
            seen.append(sum(n for (name, _), n in read.items() if name == "nextbest_decisions_total"))
        assert [process.communicate() for process in processes] == [("", None)] * 2
        assert seen == sorted(seen)
        read = scrape(metrics)
        counted = {name: n for (name, labels), n in read.items() if not dict(labels).keys() & {"le", "step"}}
        assert counted["nextbest_decision_seconds_count"] == 40_000
        decisions = [n for (name, _), n in read.items() if name == "nextbest_decisions_total"]
        assert decisions == [1000] * 40


def test_a_killed_workers_counts_stay_and_its_gauges_go(tmp_path: Path) -> None:
    labels = {"placement": "weekly_offer", "action": "send", "rung": "model", "reason": "model_ranked"}
    with start_worker_process(tmp_path) as killed, worker(tmp_path) as survivor:
        assert value(survivor, "requests_in_flight", worker="0") == 7
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        assert value(survivor, "decisions_total", **labels) == 1
        assert value(survivor, "problems_total", code="internal") == 1
        assert value(survivor, "requests_in_flight", worker="0") is None


def test_a_new_worker_counts_on_where_a_dead_one_stopped(tmp_path: Path) -> None:
    labels = {"placement": "weekly_offer", "action": "send", "rung": "model", "reason": "model_ranked"}
    with worker(tmp_path) as first:
        first.decision(*labels.values())
        first.set(first.slot(series.REQUESTS_IN_FLIGHT), 7)
    for lives in range(2, 5):
        with worker(tmp_path) as successor:
            assert successor.worker == 0
            assert value(successor, "requests_in_flight", worker="0") == 0
            successor.decision(*labels.values())
            successor.decision(f"placement_{lives}", "send", "model", "model_ranked")
            assert value(successor, "decisions_total", **labels) == lives
    assert [path.name for path in tmp_path.iterdir()] == ["worker-0.metrics"]


def test_workers_alive_at_once_never_share_a_file(tmp_path: Path) -> None:
    with ExitStack() as stack:
        workers = [stack.enter_context(worker(tmp_path)) for _ in range(4)]
        assert [metrics.worker for metrics in workers] == [0, 1, 2, 3]


def older_file(path: Path) -> None:
    """As a worker of another version leaves it: the same magic, another layout, and counts."""
    with worker(path.parent) as metrics:
        source = path.parent / f"worker-{metrics.worker}.metrics"
        content = bytearray(source.read_bytes())
    source.unlink()
    content[8] ^= 1
    content[64:4096] = b"\x01" * (4096 - 64)
    path.write_bytes(content)


def test_a_file_of_another_version_is_not_added_up(tmp_path: Path) -> None:
    older_file(tmp_path / "worker-1.metrics")
    with worker(tmp_path) as metrics:
        assert metrics.worker == 0
        assert value(metrics, "shed_total") == 0


def test_a_worker_that_takes_over_a_file_of_another_version_begins_at_zero(tmp_path: Path) -> None:
    older_file(tmp_path / "worker-0.metrics")
    with worker(tmp_path) as metrics:
        assert metrics.worker == 0
        assert value(metrics, "shed_total") == 0


def test_a_file_of_another_size_is_begun_again(tmp_path: Path) -> None:
    (tmp_path / "worker-0.metrics").write_bytes(b"\x01" * 1000)
    with worker(tmp_path) as metrics:
        assert value(metrics, "shed_total") == 0


def test_a_file_that_is_not_yet_begun_is_skipped(tmp_path: Path) -> None:
    with worker(tmp_path) as metrics:
        (tmp_path / "worker-1.metrics").touch()
        (tmp_path / "worker-2.metrics").write_bytes(bytes(200_000))
        assert value(metrics, "shed_total") == 0


def test_label_values_without_end_are_counted_as_other() -> None:
    with worker() as metrics:
        most = series.MODEL_FAILURES.at_most
        for n in range(most + 30):
            metrics.count(series.MODEL_FAILURES, f"model_{n}", "timeout")
        metrics.count(series.MODEL_FAILURES, "model_0", "timeout")
        assert value(metrics, "model_failures_total", model="model_0", kind="timeout") == 2
        assert value(metrics, "model_failures_total", model=f"model_{most - 1}", kind="timeout") == 1
        assert value(metrics, "model_failures_total", model=f"model_{most}", kind="timeout") is None
        assert value(metrics, "model_failures_total", model="other", kind="other") == 30


def test_other_is_shown_only_once_something_went_there() -> None:
    with worker() as metrics:
        assert b'"other"' not in metrics.render()


def test_names_beyond_the_room_for_them_are_counted_as_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells, "_NAMES_BYTES", 60)
    with worker() as metrics:
        metrics.model_run("response@1", 1)
        metrics.model_run("response@2", 1)
        assert value(metrics, "model_runs_total", model="response@1", size="1") == 1
        assert value(metrics, "model_runs_total", model="other", size="other") == 1


@pytest.mark.parametrize("labels", [(), ("malformed_json", "more"), ("no_such_code",)])
def test_a_label_value_outside_a_closed_list_is_a_mistake(labels: tuple[str, ...]) -> None:
    with worker() as metrics, pytest.raises(ValueError, match="problems_total"):
        metrics.count(series.PROBLEMS, *labels)


@example('say "no"')
@example("back\\slash")
@example("two\nlines")
@example('\\"\\n\n')
@settings(max_examples=50, deadline=None)
@given(
    label=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\x85\u2028\u2029\x0b\x0c\x1c\x1d\x1e"))
)
def test_any_label_value_comes_out_as_it_went_in(label: str) -> None:
    with worker() as metrics:
        metrics.count(series.STORE_READ_ERRORS, label)
        read = {
            sample.labels["kind"]: sample.value
            for family in text_string_to_metric_families(metrics.render().decode())
            for sample in family.samples
            if sample.name == "nextbest_store_read_errors_total"
        }
        assert read[label] == 1


def test_the_answer_says_which_version_of_the_format_it_is() -> None:
    assert exposition.CONTENT_TYPE == "text/plain; version=0.0.4; charset=utf-8"
