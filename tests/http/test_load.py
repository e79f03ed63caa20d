"""The load tests themselves, for seconds: the mix against a real server, and what figures would hide if they could.

The mix runs once for all tests, beside a run against a server that answers the same to everything and stalls meanwhile.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from loadtests.mix.both_ends import compare, ever_added
from loadtests.mix.deployment import CannotDrive, find
from loadtests.mix.findings import Findings
from loadtests.mix.schedule import Kind
from loadtests.mix.slo import Goal
from loadtests.mix.stage import Stage, drive, stage
from loadtests.soak.explained import explained, growth_goal, page_part
from loadtests.soak.held import Held, held
from loadtests.soak.verdict import parts
from loadtests.soak.watch import Watch
from loadtests.standard.servers import HOST, ROOT, Server, free_port, started

SECONDS, STALL_S = 2.5, 0.7
#: What any machine keeps: figures of a run of seconds beside other tests are worth nothing else.
LENIENT = "{p50_ms: 5000, p99_ms: 9000, p999_ms: 9900, error_rate: 0.9, least_rate: 0.1}"
SHED = {"429", "503"}
#: Of the server that stalls: p50 is kept, p99 is not.
NO_STALL = f"{{p50_ms: 5000, p99_ms: {STALL_S * 250:g}, p999_ms: 9900, error_rate: 0.9, least_rate: 0.1}}"


@dataclass
class Ran:
    """A run that has ended."""

    code: int
    found: Findings
    report: Path


@dataclass
class Load:
    mix: Ran
    both_ends: list[Goal]
    watch: Watch
    held: tuple[Held, Held]  # by the store, before and after
    stalled: Ran
    peak: subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Load]:
    folder = tmp_path_factory.mktemp("load")
    with ExitStack() as stack, ThreadPoolExecutor(2) as beside:
        stalling, steady = (stack.enter_context(canned(name, folder)) for name in ("stalling", "steady"))
        stalled = beside.submit(drive_and_stall, stalling, folder)
        peak = beside.submit(ask_for_the_peak, steady, folder)
        on = stack.enter_context(stage(200, {"NEXTBEST_ARCHIVE": "off"}))
        watch, before = Watch(on, 0.2), held(on.store)
        mix = drive_the_mix(on, watch, folder)
        both_ends = compare(on, mix.found)
        yield Load(mix, both_ends, watch, (before, held(on.store)), stalled.result(), peak.result())


def canned(name: str, folder: Path) -> AbstractContextManager[Server]:
    """A server that answers the same to everything."""
    port = free_port()
    command = [sys.executable, "-m", "loadtests.peers.canned", str(port)]
    return started(name, command, port, core=None, logs=folder, ready_path="/v1/bundle")


def drive_the_mix(on: Stage, watch: Watch, folder: Path) -> Ran:
    (folder / "lenient.yaml").write_text(f"decide: {LENIENT}\n")
    report = folder / "mix.json"
    code = drive(
        on.url,
        customers=str(on.folder / "customers.txt"),
        report=report,
        shape="stepped",
        seconds=SECONDS,
        rate=240,
        slo=folder / "lenient.yaml",
        env=on.env,
        meanwhile=watch.look,
    )
    assert ever_added(on.store, "decisions")
    return Ran(code, Findings.model_validate_json(report.read_text()), report)


def drive_and_stall(server: Server, folder: Path) -> Ran:
    """The server stands still once, when decisions are under way."""
    (folder / "no_stall.yaml").write_text(f"decide: {NO_STALL}\n")
    report = folder / "stalled.json"
    stalls = iter([True])

    def stall_once() -> None:
        if len(server.process.net_connections("tcp")) > 3 and next(stalls, False):  # it listens, and callers are there
            server.process.suspend()
            time.sleep(STALL_S)
            server.process.resume()

    code = drive(
        f"http://{HOST}:{server.port}",
        customers=str(some_customers(folder)),
        report=report,
        shape="steady",
        seconds=SECONDS,
        rate=100,
        slo=folder / "no_stall.yaml",
        meanwhile=stall_once,
    )
    return Ran(code, Findings.model_validate_json(report.read_text()), report)


def ask_for_the_peak(server: Server, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "loadtests.peak", f"http://{HOST}:{server.port}"]
    command += ["--customers", str(some_customers(folder)), "--rps", "100", "--seconds", "1"]
    return subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)


def some_customers(folder: Path) -> Path:
    customers = folder / "customers.txt"
    customers.write_text("load00000\nload00001\n")
    return customers


def test_the_mix_drives_every_endpoint_and_the_exit_code_says_that_its_budgets_were_kept(load: Load) -> None:
    assert load.mix.code == 0, load.mix.found.goals
    assert all(goal.met for goal in load.mix.found.goals)
    by_kind = {each.kind: each for each in load.mix.found.endpoints}
    assert set(by_kind) == set(Kind)
    for endpoint in by_kind.values():
        assert endpoint.found.requests > 0, endpoint
        assert endpoint.failures.keys() <= SHED, endpoint  # on a machine that has other work, and nothing else
    assert [step.name for step in load.mix.found.steps] == ["25 %", "50 %", "75 %", "100 %"]
    assert sum(rungs.get("model", 0) for rungs in load.mix.found.rungs) > 0


def test_everything_that_was_answered_is_in_the_store_once(load: Load) -> None:
    assert [goal.what for goal in load.both_ends] == [
        "decisions answered = logged",
        "events accepted = folded",
        "outcomes told = noted",
    ]
    told = [load.mix.found.counts.get(what, 0) for what in ("decisions", "events", "outcomes")]
    assert [goal.met for goal in load.both_ends] == [True if count else None for count in told], load.both_ends
    assert told[0] > 0


def test_a_page_stands_beside_the_figures(load: Load) -> None:
    text = load.mix.report.with_suffix(".html").read_text()
    assert "Every budget was kept" in text
    assert text.count("<svg") == 3 * len(Kind)


def test_a_server_that_stalls_pays_for_all_that_fell_due_meanwhile(load: Load) -> None:
    """With callers that wait for each other, one slow answer a connection would be all that is seen of it."""
    (decide,) = (each for each in load.stalled.found.endpoints if each.kind is Kind.DECIDE)
    slow = [point for point in decide.over_time if point.p50_ms is not None and point.p50_ms > 50]
    # Whoever came in the stall waited for what was left of it: most of its pieces have a median beyond 50 ms.
    assert len(slow) > 0.6 * STALL_S / (SECONDS / 100)
    due = sum(each.due_a_second for each in decide.over_time) / 100 * SECONDS
    assert due == pytest.approx(decide.found.requests, rel=0.1)  # it fell due all the same


def test_one_budget_that_is_missed_is_an_exit_code(load: Load) -> None:
    goals = {goal.what: goal.met for goal in load.stalled.found.goals}
    assert goals["decide: p50"] is True
    assert goals["decide: p99"] is False
    assert load.stalled.code == 1
    assert "were NOT met" in load.stalled.report.with_suffix(".html").read_text()


def test_a_deployment_is_asked_what_it_serves_and_gets_customers_of_its_own(demo: httpx.Client) -> None:
    on = find(str(demo.base_url), "20")
    assert len(set(on.customers)) == 20
    asked = {"customer": on.customers[0], "placements": [on.placements[0]], "dry_run": True}
    (made,) = demo.post("/v1/decide", json=asked).json()["decisions"]
    assert made["reason"] not in {"consent_unknown", "consent_denied"}
    with pytest.raises(CannotDrive, match="a file of customer keys, one a line"):
        find(str(demo.base_url), "nowhere.txt")


def test_a_soak_sees_what_the_processes_hold(load: Load) -> None:
    assert {"server", "store", "event worker"} <= load.watch.memory_mib.keys()
    assert all(max(mib for _, mib in looks) > 5 for looks in load.watch.memory_mib.values())
    assert max(count for _, count in load.watch.store_clients) >= 2
    assert load.watch.most_clients["nextbest"] >= 1
    assert load.watch.open_files[0][1] > 10
    shown = "".join(parts(load.watch))
    assert all(role in shown for role in load.watch.memory_mib)


def test_a_soak_says_what_lies_in_the_store_and_which_part_what_was_done_explains(load: Load) -> None:
    before, after = load.held
    told = load.mix.found.counts
    assert "decisions" not in before.families
    assert before.families["p"].keys == after.families["p"].keys == 200
    assert after.families["decisions"].things >= told["decisions"] > 0
    assert after.record_bytes > 100
    of = explained(before, after, told)
    assert {part.family: part.number for part in of}["decisions"] >= told["decisions"]
    assert "records of decisions" in page_part(before, after, of)
    assert growth_goal(before, after, of, 0.05).met is None  # buffers fill


def test_the_leaner_driver_says_what_it_found_and_how_late_it_was_itself(load: Load) -> None:
    assert load.peak.returncode == 0, load.peak
    assert "answers/s of 100 due" in load.peak.stdout
    assert "failures: none" in load.peak.stdout
    assert "of a core and was late by" in load.peak.stdout
