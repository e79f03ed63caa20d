"""What the benchmark says: ratios of neighbours, verdicts that can be bad, and nothing about what was not measured."""

import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest

from loadtests.driver import Tally, Target
from loadtests.latency import Percentiles
from loadtests.standard import report
from loadtests.standard.machine import Machine
from loadtests.standard.measure import Contestant, Measurement, NotTheJob, is_model_send, job_share, pairwise
from loadtests.standard.parts import Memory, Soak, own_peak
from loadtests.standard.plot import latency_plot
from loadtests.standard.results import Results, goals_of, rows_of

MACHINE = Machine("a processor", 2, 8.0, "Linux", "CPython", "Valkey 9", {"uvicorn": "1"}, "pinned", 0.1)
LATENCY = Percentiles(1.0, 1.0, 2.0, 4.0, 8.0, 9.0)
ONE = Measurement(
    "project",
    "closed",
    "c = 16",
    16,
    3000.0,
    LATENCY,
    300.0,
    40.0,
    0.5,
    1.0,
    0.0,
    1,
    {},
    1.0,
    ((0.0, 0.5), (0.99, 4.0)),
)


def quickstart(rate: float, p99: float = 40.0) -> Measurement:
    return replace(ONE, name="quickstart", rate=rate, latency=replace(LATENCY, p99=p99))


def goal(results: Results, beginning: str) -> bool | None:
    return next(one for one in goals_of(results) if one.name.startswith(beginning)).met


def test_a_ratio_is_the_median_over_pairs_that_ran_side_by_side() -> None:
    assert pairwise([100.0, 50.0, 90.0], [20.0, 10.0, 30.0]) == 5.0


def test_a_slow_project_is_reported_as_a_target_that_is_not_met() -> None:
    fast = Results(MACHINE, [ONE, quickstart(600.0)])
    slow = Results(MACHINE, [replace(ONE, rate=2900.0), quickstart(600.0)])
    assert goal(fast, "throughput") is True
    assert goal(slow, "throughput") is False


def test_a_long_tail_is_reported_as_a_target_that_is_not_met() -> None:
    assert goal(Results(MACHINE, [ONE, quickstart(700.0, p99=32.0)]), "p99") is True
    assert goal(Results(MACHINE, [ONE, quickstart(700.0, p99=31.0)]), "p99") is False


def test_what_was_not_measured_is_neither_met_nor_missed() -> None:
    assert {one.met for one in goals_of(Results(MACHINE, [ONE]))} == {None}


def test_memory_over_one_and_a_half_kibibytes_is_not_met() -> None:
    fits = Memory(900, 0, 636, {"p": "listpack"}, "a customer")
    assert goal(Results(MACHINE, memory=fits), "store memory") is True
    assert goal(Results(MACHINE, memory=replace(fits, ledger=637)), "store memory") is False


def test_growth_is_counted_from_when_the_server_is_warm() -> None:
    cold_start = Soak(((50_000, 50), (100_000, 100), (1_000_000, 104)))
    assert cold_start.growth == pytest.approx(0.04)


def test_a_server_that_suppresses_is_not_benchmarked() -> None:
    one = Contestant("project", None, Target("h", 1, iter(())), is_model_send)  # type: ignore[arg-type]  # not started
    sent = b'{"decisions": [{"action": "send", "rung": "model"}]}'
    suppressed = b'{"decisions": [{"action": "suppress", "rung": "suppress"}]}'
    assert job_share(one, Tally(samples=[sent] * 99 + [suppressed])) == 0.99
    with pytest.raises(NotTheJob, match="only 98"):
        job_share(one, Tally(samples=[sent] * 98 + [suppressed] * 2))
    with pytest.raises(NotTheJob, match="no good answer"):
        job_share(one, Tally(failures={"503": 10}))  # type: ignore[arg-type]  # a plain mapping will do


def test_rounds_become_one_row_of_medians_with_every_failure_counted() -> None:
    rounds = [replace(ONE, rate=rate, failures={"503": 2}) for rate in (1.0, 9.0, 3.0)]
    (row,) = rows_of(rounds)
    assert (row.rate, row.failures, row.rounds) == (3.0, 6, 3)


def test_a_rate_that_the_driver_limited_says_so() -> None:
    (row,) = rows_of([replace(ONE, driver_share=0.97)])
    assert "driver-bound" in report.cells(row)[2]


def test_latencies_that_are_mostly_the_drivers_own_lateness_say_so() -> None:
    (row,) = rows_of([replace(ONE, late_p99_ms=1.1)])
    assert "driver late" in report.cells(row)[2]
    (row,) = rows_of([replace(ONE, late_p99_ms=0.9)])
    assert "driver late" not in report.cells(row)[2]


def test_a_server_that_other_processes_held_up_says_so() -> None:
    (row,) = rows_of([replace(ONE, server_share=0.6)])
    assert "held up" in report.cells(row)[2]
    (row,) = rows_of([replace(ONE, server_share=0.6, load=1)])
    assert "held up" not in report.cells(row)[2]


def test_the_plot_is_an_image_with_a_line_for_each_server() -> None:
    at = own_peak(0.6)
    drawing = latency_plot([replace(ONE, label=at), replace(quickstart(700.0), label=at)])
    assert drawing is not None
    assert len(ET.fromstring(drawing).findall("{http://www.w3.org/2000/svg}polyline")) == 2
    assert latency_plot([ONE]) is None


def test_publishing_replaces_the_old_figures_and_keeps_the_prose(tmp_path, monkeypatch) -> None:
    page = tmp_path / "performance.md"
    page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    monkeypatch.setattr(report, "PAGE", page)
    monkeypatch.setattr(report, "PLOT", tmp_path / "plot.svg")
    report.publish(Results(MACHINE, [ONE, quickstart(700.0)]))
    text = page.read_text()
    assert text.startswith("before")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "| c = 16 | project | 3,000 |" in text
