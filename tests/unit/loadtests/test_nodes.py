"""The benches of several nodes: what they measure is what they say."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import cast

import pytest

from loadtests.nodes import batch
from loadtests.nodes.bench import ceiling, in_turns, of_nodes
from loadtests.nodes.drive import by_wrk
from loadtests.nodes.stage import Round, Serving, Stage
from loadtests.nodes.wide import CANDIDATES, PLACEMENTS, body, is_wide, wide_bundle
from loadtests.standard.measure import NotTheJob
from policy.compile import load


def test_the_wide_bundle_has_fifty_candidates_in_each_of_three_placements(tmp_path: Path) -> None:
    bundle = load(wide_bundle(tmp_path / "wide"))
    asked = json.loads(body("1"))["placements"]
    assert len(asked) == len(bundle.placements) == PLACEMENTS
    for name in asked:
        assert len(bundle.placements[name].candidates) == CANDIDATES


def test_an_answer_with_fewer_candidates_or_no_model_is_not_the_wide_job() -> None:
    one = {"action": "send", "rung": "model", "funnel": {"candidates": CANDIDATES}}
    assert is_wide({"decisions": [one] * PLACEMENTS})
    assert not is_wide({"decisions": [one] * (PLACEMENTS - 1)})
    assert not is_wide({"decisions": [{**one, "rung": "rules"}] * PLACEMENTS})
    assert not is_wide({"decisions": [{**one, "funnel": {"candidates": 20}}] * PLACEMENTS})


def test_a_batch_has_as_many_lines_as_were_asked_for() -> None:
    for lines in (1, 199, 200, 201, 20_001):
        assert sum(piece.count(b"\n") for piece in batch.pieces(lines)) == lines


def test_a_batch_whose_lines_missed_their_budget_is_no_measurement_and_one_of_them_is_shown() -> None:
    job = b'{"decisions": [{"action": "send", "rung": "model"}]}'
    late = b'{"decisions": [{"action": "suppress", "rung": "suppress", "reason": "deadline"}]}'
    batch.check_job([job] * 99 + [late])
    with pytest.raises(NotTheJob, match=r"98\.0%.*deadline"):
        batch.check_job([job] * 98 + [late] * 2)


def test_two_cores_allow_the_less_the_more_store_and_driver_take() -> None:
    alone = Round(rate=3_000, server_us=300, store_us=0, driver_us=0, conflicts=0, failed=0, cores=1)
    assert ceiling([alone]) == 2
    assert ceiling([Round(3_000, 300, 100, 50, 0, 0, 1.5)]) == pytest.approx(600 / 450)


def one_round(server_us: float, failed: int = 0) -> Round:
    return Round(rate=3_000, server_us=server_us, store_us=50, driver_us=5, conflicts=0, failed=failed, cores=1)


def test_every_round_of_one_has_a_round_of_each_other_beside_it_and_none_is_always_the_first() -> None:
    order: list[Serving] = []

    class Noting:
        def measure(self, serving: Serving) -> Round:
            order.append(serving)
            return one_round(serving.connections)

    few, many = Serving((), 16), Serving((), 64)
    found = in_turns(cast("Stage", Noting()), (few, many), 3)
    assert order == [few, many, many, few, few, many]
    assert [[each.server_us for each in rounds] for rounds in found] == [[16] * 3, [64] * 3]


def test_what_more_nodes_cost_is_the_ratio_of_neighbours_in_time() -> None:
    alone = [one_round(100), one_round(200), one_round(1_000)]
    many = [one_round(110), one_round(240), one_round(1_000)]
    told = {line.what: line for line in of_nodes(2, many, alone)}
    assert told["… servers' over one node's"].found == "1.10 ×"
    assert told["… failed"].met


def test_a_node_that_failed_one_decision_misses_its_target() -> None:
    told = {line.what: line for line in of_nodes(1, [one_round(100, failed=1)], [one_round(100)])}
    assert told["… failed"].met is False


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
def test_wrk_that_reaches_nobody_is_an_error_and_no_rate(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="wrk failed"):
        by_wrk([1], [body("1")], 1, 1, tmp_path)
