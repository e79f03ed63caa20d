"""What the demo shows, on a terminal and as lines."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from app.demo_shop.cast import PARTS
from app.demo_shop.changes import Change
from app.demo_shop.deeds import orders, views
from app.demo_shop.goods import PRODUCTS
from app.demo_shop.lines import Lines
from app.demo_shop.scene import Scene, Told
from app.demo_shop.screen import picture
from app.demo_shop.sight import Answer, Seen, WorkerState

REMINDED = Change(
    "cart_leaver", "next_email", "newsletter", "cart_reminder", "now true: customer.cart_abandoned",
    ("cart_abandoned no → yes",),
)  # fmt: skip


def scene(**changed: object) -> Scene:
    answers = {
        "home_banner": Answer("bestsellers", "rule_ranked", {}),
        "next_email": Answer(None, "consent_denied", {}),
    }
    features = {"product_views_1h": 3, "favourite_category": "bags", "cart_abandoned": True, "minutes_since_order": 75}
    seen = [Seen(name, answers, features if number else None) for number, name in enumerate(PARTS)]
    last = {"regular": orders("regular", "r_1", 88.0), "private": views("private", PRODUCTS["bags"][0])}
    told = [Told(20.0, "13:32:05", REMINDED)]
    worker = WorkerState(256, 256, 1, 200)
    whole = Scene(21.0, 1_300, 61.0, 143.0, 310.0, 24.0, worker, seen, PARTS, last, told, None)
    return whole._replace(**changed)


@pytest.mark.parametrize("width", [80, 100, 160])
def test_the_screen_fits_any_terminal(width: int) -> None:
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(picture(scene()))
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= width
    assert "143 ms" in text
    assert "cart_abandoned no → yes" in text


def test_a_changed_answer_is_lit_for_a_while() -> None:
    def styled(at: Scene) -> str:
        console = Console(width=120, file=io.StringIO(), force_terminal=True, color_system="truecolor", record=True)
        console.print(picture(at))
        return console.export_text(styles=True)

    lit = "\x1b[1;30;42m"  # bold black on green
    answers = {"next_email": Answer("cart_reminder", "rule_ranked", {}), "home_banner": Answer("thanks", "", {})}
    seen = [Seen("cart_leaver", answers, {})]
    assert f"{lit}cart_reminder" in styled(scene(seen=seen))
    assert f"{lit}cart_reminder" not in styled(scene(seen=seen, seconds=60.0))


def test_without_a_worker_the_screen_says_so() -> None:
    console = Console(width=100, file=io.StringIO(), record=True)
    console.print(picture(scene(worker=WorkerState(256, 0, 0, None))))
    assert "worker: none runs" in console.export_text()


def test_lines_tell_each_change_once(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines()
    for seconds in (21.0, 21.1, 22.0):
        lines.show(scene(seconds=seconds))
    told = capsys.readouterr().out
    assert told.count("cart_leaver: e-mail newsletter → cart_reminder") == 1
    assert "1,300 events" in told
