"""The benches of several nodes: what they measure is what they say."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from loadtests.nodes import batch
from loadtests.nodes.bench import Round, ceiling
from loadtests.nodes.drive import by_wrk
from loadtests.nodes.wide import CANDIDATES, PLACEMENTS, body, is_wide, wide_bundle
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


def test_two_cores_allow_the_less_the_more_store_and_driver_take() -> None:
    alone = Round(rate=3_000, server_us=300, store_us=0, driver_us=0, conflicts=0, failed=0, cores=1)
    assert ceiling([alone]) == 2
    assert ceiling([Round(3_000, 300, 100, 50, 0, 0, 1.5)]) == pytest.approx(600 / 450)


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
def test_wrk_that_reaches_nobody_is_an_error_and_no_rate(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="wrk failed"):
        by_wrk([1], [body("1")], 1, 1, tmp_path)
