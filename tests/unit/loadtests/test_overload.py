"""What a run beyond the peak comes to: only what was useful counts, and every verdict can be bad."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from array import array
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from loadtests.lean import Answer, Sent
from loadtests.overload import bench, report
from loadtests.overload.plot import plot
from loadtests.overload.results import FACTORS, GOODPUT, Calm, Found, Results, goals_of
from loadtests.overload.tally import NS_PER_S, Overload
from loadtests.standard.machine import Machine

MS = 1_000_000
MACHINE = Machine("a processor", 2, 8.0, "Linux", "CPython", "Valkey 9", {"uvicorn": "1"}, "pinned", 0.1)
USEFUL = b'HTTP/1.1 200 OK\r\ncontent-length: 17\r\n\r\n{"action":"send"}'
SUPPRESSED = b'HTTP/1.1 200 OK\r\ncontent-length: 21\r\n\r\n{"action":"suppress"}'
REFUSED = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\n\r\n"
RUDE = b"HTTP/1.1 503 Service Unavailable\r\n\r\n"
TOO_MANY = b"HTTP/1.1 429 Too Many Requests\r\n\r\n"
GONE = b""


def told(*answers: tuple[int, bytes], budget_ms: int = 100) -> Overload:
    """A tally of (latency in ms, answer), all in one second."""
    tally = Overload(budget_ns=budget_ms * MS)
    for latency_ms, data in answers:
        tally.add(Answer(latency_ms * MS, 7 * NS_PER_S, data))
    return tally


def found(factor: float = 2.0, **more: Any) -> Found:
    """One load that met all that is wanted."""
    seconds = tuple({"useful": 900, "refused": 1_000} for _ in range(5))
    met: dict[str, Any] = {
        "factor": factor, "asked": 1_000 * factor, "useful": 950.0, "peak": 1_000.0, "floor_us": 20.0, "late": 0.0,
        "undecided": 0.0, "refused": 1_000.0, "other": 0, "rude": 0, "p50": 10.0, "p99": 80.0, "worst": 110.0,
        "refusal_p50": 0.5, "refusal_p99": 2.0, "driver_late_p99": 0.2, "server_share": 1.0, "store_share": 0.3,
        "driver_share": 0.3, "calm_s": 0.5, "by_second": seconds,
    }  # fmt: skip
    return Found(**(met | more))


def run(*loads: Found) -> Results:
    return Results(MACHINE, 100, 60.0, list(loads) or [found(factor) for factor in FACTORS])


def unmet(one: Found) -> list[str]:
    return [goal.name for goal in goals_of(run(one)) if not goal.met]


def test_only_a_message_inside_the_budget_is_useful() -> None:
    tally = told((10, USEFUL), (100, USEFUL), (101, USEFUL), (10, SUPPRESSED), (1, REFUSED), (1, TOO_MANY), (5, GONE))
    assert (tally.useful, tally.late, tally.undecided, tally.refused) == (2, 1, 1, 1)
    assert tally.other == {"429": 1, "lost": 1}
    assert tally.answers == 7
    assert tally.by_second == {7: {"useful": 2, "late": 1, "undecided": 1, "refused": 1, "other": 2}}


def test_a_refusal_is_no_latency_of_an_answer_and_the_other_way_round() -> None:
    tally = told((10, USEFUL), (300, SUPPRESSED), (1, REFUSED))
    assert tally.latencies_ns == [10 * MS, 300 * MS]
    assert tally.refusals_ns == [1 * MS]


def test_a_refusal_that_does_not_say_when_to_come_back_is_rude() -> None:
    tally = told((1, REFUSED), (1, RUDE))
    assert (tally.refused, tally.rude) == (2, 1)


def test_a_load_is_told_by_the_second_and_against_the_peak() -> None:
    answers = [*[(10, USEFUL)] * 80, *[(200, USEFUL)] * 10, *[(2, REFUSED)] * 30]
    sent = Sent(120, array("q", [MS] * 99 + [3 * MS]), 0)
    one = Found.of(1.5, 50.0, 20.0, told(*answers), sent, 2.0, 1.9, 0.5, 0.4, Calm(0.3))
    assert (one.useful, one.late, one.refused, one.asked) == (40.0, 5.0, 15.0, 75.0)
    assert one.goodput == pytest.approx(0.8)
    assert (one.p50, one.worst, one.refusal_p99, one.driver_late_p99) == (10.0, 200.0, 2.0, 1.0)
    assert (one.server_share, one.store_share, one.driver_share) == (0.95, 0.25, 0.2)
    assert one.by_second == ({"useful": 80, "late": 10, "refused": 30},)


def test_where_nothing_was_refused_there_is_no_time_of_it() -> None:
    one = Found.of(1.5, 1.0, 20.0, told((10, USEFUL)), Sent(1, array("q"), 0), 1.0, 0, 0, 0, Calm(None))
    assert (one.refusal_p50, one.refusal_p99, one.driver_late_p99, one.calm_s) == (0.0, 0.0, 0.0, None)


def test_what_is_possible_pays_for_the_refusals_and_is_never_more_than_the_peak() -> None:
    # At 1,000/s a decision is 1,000 µs and a refusal 20 of them; of 4,000 asked x are decided: x + 0.02 (4 - x) = 1.
    assert found(4.0).possible == pytest.approx(0.92 / 0.98)
    assert found(1.0, floor_us=0.0).possible == 1.0
    assert found(0.5).possible == 1.0


def test_a_run_that_meets_everything_is_said_to() -> None:
    assert [goal.name for goal in goals_of(run()) if not goal.met] == []
    assert len(list(goals_of(run()))) == 5 * len(FACTORS)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"useful": 849.0}, "goodput at 2 × the peak"),
        ({"refusal_p99": 5.1}, "refusals at 2 × the peak, p99"),
        ({"worst": 120.1}, "answers at 2 × the peak, the latest"),
        ({"calm_s": 5.1}, "calm after 2 × the peak"),
        ({"calm_s": None}, "calm after 2 × the peak"),
        ({"other": 1}, "lost, or refused without a time at 2 × the peak"),
        ({"rude": 1}, "lost, or refused without a time at 2 × the peak"),
    ],
)
def test_each_goal_can_be_missed_by_itself(change: dict[str, Any], name: str) -> None:
    assert unmet(found(**change)) == [name]


@pytest.mark.parametrize("factor", FACTORS)
def test_what_is_wanted_falls_with_the_load(factor: float) -> None:
    assert unmet(found(factor, useful=GOODPUT[factor] * 1_000)) == []
    assert unmet(found(factor, useful=GOODPUT[factor] * 1_000 - 1)) == [f"goodput at {factor:g} × the peak"]


def test_the_table_has_a_cell_for_every_column_and_the_page_every_load() -> None:
    results = run()
    assert all(len(report.cells(one)) == len(report.COLUMNS) for one in results.found)
    page = report.markdown(results)
    assert page.count("| met |") == 5 * len(FACTORS)
    assert all(f"| {factor:g} × the peak |" in page for factor in FACTORS)
    assert "NOT met" in report.markdown(run(*(found(factor, other=3) for factor in FACTORS)))


def test_publishing_replaces_the_figures_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page, picture = tmp_path / "overload.md", tmp_path / "overload.svg"
    page.write_text(f"# Before\n{report.BEGIN}\nold figures\n{report.END}\nAfter.\n")
    monkeypatch.setattr(report, "PAGE", page)
    monkeypatch.setattr(report, "PICTURE", picture)
    for _ in range(2):
        report.publish(run())
        text = page.read_text()
        assert text.startswith(f"# Before\n{report.BEGIN}\nRun of ")
        assert text.endswith(f"{report.END}\nAfter.\n")
        assert "old figures" not in text
    assert picture.read_text().startswith("<svg")


def test_what_is_kept_can_be_read_by_machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "REPORTS", tmp_path)
    kept = json.loads(report.keep(run()).read_text())
    assert [one["goodput"] for one in kept["found"]] == [0.95] * 3
    assert all(one["by_second"][0] == {"useful": 900, "refused": 1_000} for one in kept["found"])


def test_the_picture_has_a_line_for_each_load_of_the_whole_seconds_inside_the_frame() -> None:
    results = run(found(1.5), found(2.0), found(4.0, by_second=tuple({"useful": 10_000} for _ in range(5))))
    lines = ET.fromstring(plot(results)).findall("{http://www.w3.org/2000/svg}polyline")
    points = [[tuple(map(float, at.split(","))) for at in line.attrib["points"].split()] for line in lines]
    assert [len(line) for line in points] == [3, 3, 3]  # of five seconds the first and the last are not whole
    assert all(72 <= y <= 360 - 48 for line in points for _, y in line)
    assert points[2][0][1] < points[0][0][1]  # more is higher


def test_a_question_under_overload_gives_its_budget_and_names_a_customer_of_the_job() -> None:
    body = json.loads(bench._body(17))
    assert (body["customer"], body["budget_ms"], body["placements"]) == ("17", bench.BUDGET_MS, ["standard"])


@pytest.mark.parametrize(("answered", "calm"), [(True, True), (False, False)])
def test_it_is_calm_only_once_everything_is_useful_again(
    monkeypatch: pytest.MonkeyPatch, answered: bool, calm: bool
) -> None:
    """A server that answers nothing at all is not calm."""

    def drive(_: Any, __: int, ___: float, heard: Any, **____: Any) -> None:
        rounds.append(1)
        if not answered:
            return
        heard(Answer(MS, 0, REFUSED if len(rounds) < 3 else USEFUL))

    rounds: list[int] = []
    monkeypatch.setattr(bench, "drive", drive)
    monkeypatch.setattr(bench, "CALM_WITHIN_S", 0.05)
    seconds = bench._calm(Any, 1_000.0).seconds  # type: ignore[arg-type]  # nothing is sent to it
    assert (seconds is not None) is calm
    assert len(rounds) == 3 if calm else len(rounds) > 3


def test_the_peak_counts_useful_answers_only_and_is_the_better_of_both(monkeypatch: pytest.MonkeyPatch) -> None:
    def drive(_: Any, connections: int, __: float, heard: Any, **___: Any) -> None:
        for _ in range(connections):
            heard(Answer(MS, 0, USEFUL))
            heard(Answer(MS, 0, REFUSED))

    monkeypatch.setattr(bench, "drive", drive)
    assert bench._peak(Any, 2.0) == 64 / 2.0  # type: ignore[arg-type]  # nothing is sent to it


def test_unlike_machines_are_named_beside_the_figures() -> None:
    one = replace(MACHINE, load_before=7.5)
    assert "load average 7.5 before the run" in report.facts(replace(run(), machine=one))
