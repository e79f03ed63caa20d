"""What the leaner driver sends, and what it writes for h2load and wrk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from loadtests.mix.traffic import Deployment
from loadtests.peak import H2LOAD_BODY, WRK_SCRIPT, NotPlain, main, requests, write

ON = Deployment(("c1", "c2", "c3"), ("standard", "site"), "a-secret-key", None)


def test_every_request_is_whole_and_asks_about_somebody_at_random() -> None:
    sent = requests(ON, "decide.example.com", 200)
    assert len(set(sent)) == 3
    for each in sent:
        head, _, body = each.partition(b"\r\n\r\n")
        assert head.startswith(b"POST /v1/decide HTTP/1.1\r\nhost: decide.example.com\r\n")
        assert b"authorization: Bearer a-secret-key" in head
        assert b"content-length: %d" % len(body) in head
        assert json.loads(body)["placements"] == ["standard"]


def test_other_tools_get_the_same_requests_and_no_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(ON, "http://127.0.0.1:8000", tmp_path)
    body, script = ((tmp_path / name).read_text() for name in (H2LOAD_BODY, WRK_SCRIPT))
    assert json.loads(body)["dry_run"] is True  # one customer, whose decisions would otherwise wait for each other
    assert script.count('"placements":["standard"]') == 1_000
    assert 'os.getenv("NEXTBEST_KEY")' in script
    said = capsys.readouterr().out
    assert "h2load --h1 --rps" in said
    assert "wrk -t 1" in said
    assert "a-secret-key" not in body + script + said


def test_it_says_what_it_cannot_drive() -> None:
    with pytest.raises(NotPlain, match="without TLS"):
        main("https://decide.example.com")
