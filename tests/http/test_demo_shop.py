"""`nextbest demo shop` as a newcomer runs it: one command, decisions that change, nothing left behind."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from app.commands import demo
from app.demo_shop.house import CannotPlay, entered

COMMAND = [sys.executable, "-c", "from app.cli import main; main()", "demo", "shop", "--plain", "--customers", "5"]
WITHIN_S = 120


@contextmanager
def begun(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A demo whose lines can be read."""
    command = [*COMMAND, "--folder", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as play:
        try:
            yield play
        finally:
            play.kill()


def read_until(play: subprocess.Popen[str], words: str) -> str:
    """The line that holds them."""
    assert play.stdout is not None
    told = []
    for line in play.stdout:
        told.append(line)
        if words in line:
            return line
    raise AssertionError(told)


def left_of(processes: list[psutil.Process]) -> list[psutil.Process]:
    return psutil.wait_procs(processes, timeout=WITHIN_S)[1]


def test_however_the_demo_ends_nothing_goes_on_without_it(tmp_path: Path) -> None:
    with begun(tmp_path / "ended") as ended, begun(tmp_path / "killed") as killed:
        ways = {ended: signal.SIGTERM, killed: signal.SIGKILL}
        for play in ways:
            read_until(play, "open at")
        for play, how in ways.items():
            family = psutil.Process(play.pid).children(recursive=True)
            assert family
            play.send_signal(how)
            play.wait(WITHIN_S)
            assert left_of(family) == []


def test_a_newcomer_sees_an_answer_change_and_why_and_ctrl_c_leaves_nothing_running(tmp_path: Path) -> None:
    with begun(tmp_path / "shop") as play:
        told = read_until(play, "banner bestsellers → bags_offer")
        assert "product_views_1h 2 → 3; now true: segment.looking_around" in told
        family = psutil.Process(play.pid).children(recursive=True)
        assert len(family) >= 3  # the server, its store, its event worker
        play.send_signal(signal.SIGINT)
        rest, _ = play.communicate(timeout=WITHIN_S)
        assert play.returncode == 0, rest
        assert "curl -s http://127.0.0.1:8000/v1/decide" in rest
        assert left_of(family) == []


def test_a_server_with_another_bundle_is_refused_with_the_command_that_starts_the_right_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("app.demo_shop.house.Door.ask", lambda *_: {"name": "retail_demo"})
    with pytest.raises(CannotPlay, match=r"serves the bundle `retail_demo`.*nextbest serve --bundle .*shop_demo"):
        entered("http://127.0.0.1:8000", None, None)


def test_where_no_server_answers_the_command_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        demo.shop(url="http://127.0.0.1:9", plain=True)
    assert ended.value.code == 1
    assert "no server answers at http://127.0.0.1:9" in capsys.readouterr().err
