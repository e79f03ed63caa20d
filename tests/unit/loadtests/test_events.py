"""What `make bench-events` sends and says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.core.events.event import Collected
from app.core.events.native import message
from app.core.events.quality import Found, Receipt, judge
from app.core.events.who import who_is_it
from loadtests import lines
from loadtests.events.ask import Answer
from loadtests.events.stage import BUNDLE
from loadtests.events.traffic import BATCH, Batches
from loadtests.features.bench import TWELVE
from loadtests.lines import Line
from loadtests.standard.machine import Machine
from policy.compile import load
from policy.lint import lint
from policy.source import read

MACHINE = Machine("a processor", 2, 16.0, "Linux 6", "CPython 3.11", "Valkey 9", {}, "everywhere", 0.1)


def test_the_bundle_has_no_mistake_and_twelve_windowed_features() -> None:
    assert lint(BUNDLE).mistakes == ()
    assert len(load(BUNDLE).features) == len(read(TWELVE).data()) == 12


def test_every_event_that_is_sent_is_taken_and_none_is_a_repeat() -> None:
    rules, seen = load(BUNDLE).events, set()
    for request in Batches().prepare(3):
        body = json.loads(request.partition(b"\r\n\r\n")[2])
        assert len(body) == BATCH
        for index, each in enumerate(body):
            arrived = message(each)
            who = who_is_it(arrived, frozenset())
            judged = judge(arrived, Found(who, each["customer"]), rules, Receipt(1, "key", b"1"), b"k" * 32, index)
            assert isinstance(judged.result, Collected)
            assert judged.result.message_id not in seen
            seen.add(judged.result.message_id)


@pytest.mark.parametrize(("head", "found"), [(b"Retry-After: 2", 2.0), (b"retry-after:1", 1.0), (b"x: 2", None)])
def test_a_sender_finds_when_to_come_again(head: bytes, found: float | None) -> None:
    assert Answer(429, b"HTTP/1.1 429 \r\n" + head, b"").retry_after_s() == found


def test_what_was_not_met_is_published_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "docs" / "performance.md"
    page.parent.mkdir()
    page.write_text("before\n<!-- events: begin -->\nold\n<!-- events: end -->\nafter\n")
    monkeypatch.setattr(lines, "PAGE", page)
    lines.publish([Line("events/s", "≥ 5,000", "4,000", False), Line("p50", "", "3 ms", None)], MACHINE, "events")
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "| events/s | ≥ 5,000 | 4,000 | NOT met |" in text
    assert "| p50 |  | 3 ms |  |" in text
