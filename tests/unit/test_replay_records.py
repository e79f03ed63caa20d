"""`nextbest replay`: every record of a file decides again to the same bytes, or is named with what differs."""

from __future__ import annotations

from array import array
from pathlib import Path

import ormsgpack
import pytest
from click.testing import Result
from typer.testing import CliRunner

from app import cli
from app.core.decision.eligible import Pool
from app.core.decision.replay import Wanted
from app.core.decision.score import Scoring
from app.replay_records import Replaying
from app.rescoring import Rescorer
from app.settings import DEMO_BUNDLE
from models.load import SHIPPED
from policy.compile import load
from tests.support.deciding import decide, facts_of
from tests.support.recorded import demo_decisions, receipt_without_the_store, write_records

DEMO = load(DEMO_BUNDLE)
BUYER = {"recency": 3, "history": 80.0, "mens": 1, "womens": 0, "zip_code": "Urban", "newbie": 0, "channel": "Web"}


@pytest.fixture(autouse=True)
def no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REDIS_URL", "BUNDLE", "MODELS", "DATA"):
        monkeypatch.delenv(f"NEXTBEST_{name}", raising=False)
    monkeypatch.setenv("COLUMNS", "120")


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli.app, ["replay", "--processes", "1", *map(str, arguments)])


def by_the_model(count: int) -> list[bytes]:
    """Records whose scores are the shipped model's own."""
    rescorer = Rescorer(DEMO, [SHIPPED])
    records = []
    for number in range(count):
        facts = facts_of(BUYER | {"recency": number % 12, "history": 30.0 + number})
        model = _Says(rescorer, facts.values)
        records.append(decide(DEMO, facts, ["weekly_offer", "order_receipt"], seed=number, model=model).record)
    return records


class _Says:
    def __init__(self, rescorer: Rescorer, values: dict[str, object]) -> None:
        placement = DEMO.placements["weekly_offer"]
        assert placement.model is not None
        (self.scoring,) = rescorer.score([Wanted(0, placement, placement.model, Pool([0, 1], {}, [], values))])
        self.names = [candidate.message.id for candidate in placement.candidates]

    def __call__(self, message: str) -> float:
        return self.scoring.responses[self.names.index(message)]


def test_records_of_every_kind_replay_to_the_byte(tmp_path: Path) -> None:
    raws = [each.record for each in demo_decisions(DEMO, 200)] + [receipt_without_the_store(DEMO)]
    done = run(write_records(tmp_path / "records", DEMO, raws, aborted=(3,)))
    assert done.exit_code == 0
    assert "201 requests, 252 decisions decided again: 252 the same to the byte, 0 differ" in done.stdout


def test_the_model_run_again_gives_the_same_bytes(tmp_path: Path) -> None:
    done = run(write_records(tmp_path / "records", DEMO, by_the_model(20)), "--rescore")
    assert done.exit_code == 0
    assert "20 of them scored by the model again: 40 the same to the byte" in " ".join(done.stdout.split())


def test_altered_scores_are_found_by_the_model_and_named(tmp_path: Path) -> None:
    """The record is altered as a whole, so that it replays; the model knows better."""
    raw = decide(DEMO, facts_of(BUYER), ["weekly_offer"], model={"mens_email": 0.75, "womens_email": 0.5}).record
    file = write_records(tmp_path / "records", DEMO, [raw])
    assert run(file).exit_code == 0
    done = run(file, "--rescore")
    assert done.exit_code == 1
    assert "score 0.75 → 0." in done.stdout


def test_an_altered_record_is_named_with_what_differs(tmp_path: Path) -> None:
    raw = decide(DEMO, facts_of(BUYER), ["weekly_offer"], model={"mens_email": 0.75, "womens_email": 0.5}).record
    members = ormsgpack.unpackb(raw)
    members[8][0][14] = members[8][0][13] = array("f", [0.25, 0.5]).tobytes()
    members[8][0][14] = array("d", [0.25, 0.5]).tobytes()
    file = write_records(tmp_path / "records", DEMO, [ormsgpack.packb(members)])
    done = run(file)
    assert done.exit_code == 1
    words = " ".join(done.stdout.split())
    assert "0 the same to the byte, 1 differ" in words
    assert f"dec_{members[1].hex()}00" in words
    assert "→ womens_email.plain" in words


def test_what_cannot_be_decided_again_is_a_finding_and_its_contents_are_not_repeated(tmp_path: Path) -> None:
    members = ormsgpack.unpackb(decide(DEMO, facts_of(BUYER), ["weekly_offer"]).record)
    members[7][7] = "secret text instead of values"
    members[7][6] = [999] * len(members[7][7])
    found = Replaying({DEMO.digest: DEMO.canonical}, None)([ormsgpack.packb(members), b"\xc1"])
    assert (found.unreadable, found.proved) == (2, False)
    assert not any("secret" in difference.what for difference in found.differences)


def test_records_of_a_bundle_that_is_not_there_prove_nothing(tmp_path: Path) -> None:
    raw = decide(DEMO, facts_of(BUYER), ["weekly_offer"]).record
    found = Replaying({}, None)([raw])
    assert (found.without_bundle, found.same, found.proved) == (1, 0, False)


def test_a_model_that_had_nothing_to_say_is_not_asked_again(tmp_path: Path) -> None:
    raw = decide(DEMO, facts_of(BUYER), ["weekly_offer"]).record  # the model was missing
    done = run(write_records(tmp_path / "records", DEMO, [raw]), "--rescore")
    assert done.exit_code == 0
    assert "scored by the model" not in done.stdout


def test_two_processes_find_what_one_does(tmp_path: Path) -> None:
    raws = [each.record for each in demo_decisions(DEMO, 1_200)]
    file = write_records(tmp_path / "records", DEMO, raws)
    one, two = run(file), CliRunner().invoke(cli.app, ["replay", str(file), "--processes", "2"])
    assert (one.exit_code, two.exit_code) == (0, 0)
    assert one.stdout == two.stdout


@pytest.mark.parametrize("arguments", [(), ("nowhere",), ("records", "--from-log")])
def test_trouble_is_told_from_a_difference(
    arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run(*arguments)
    assert done.exit_code == 2
    assert done.stderr.startswith("nextbest: ")
    assert "Traceback" not in done.output


def test_one_pool_without_an_answer_costs_the_others_nothing() -> None:
    """A customer whose model gives no probability does not take the scores of those who are asked with them."""
    rescorer = Rescorer(DEMO, [SHIPPED])
    placement = DEMO.placements["weekly_offer"]
    assert placement.model is not None
    wanted = [Wanted(0, placement, placement.model, Pool([0, 1], {}, [], BUYER)) for _ in range(3)]
    whole = rescorer.score(wanted)
    (model,) = rescorer._models.values()
    assert model is not None
    broken, usual = "not yet", model.session.run

    class Moody:
        def run(self, matrix: object) -> object:
            nonlocal broken
            if len(matrix) > 2 or broken == "once":  # type: ignore[arg-type]  # a matrix
                broken = "no more" if broken == "once" else "once"
                raise ValueError("no answer")
            return usual(matrix)

    model.session = Moody()  # type: ignore[assignment]  # a stand-in
    alone = rescorer.score(wanted)
    assert [scoring.degraded for scoring in alone] == ["model_failed", None, None]
    assert alone[1:] == whole[1:]
    assert isinstance(alone[0], Scoring)
