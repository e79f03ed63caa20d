"""`/v1/switches`: what is turned off, by whom, why and until when. That it has an effect is tested in tests/guarantees.

The server is shared: what these tests turn off is of no bundle, or of no consequence to the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from app import keys_file
from tests.support.contract import Caller, problem
from tests.support.server import BUNDLE
from tests.support.serving import Server as OneServer

OFF = {"state": "off", "by": "crm_oncall", "why": "the price is wrong"}
SOON = (datetime.now(UTC) + timedelta(hours=1)).isoformat()


@pytest.fixture
def http(caller: Caller) -> httpx.Client:
    return caller.http


def turn(http: httpx.Client, path: str, **body: Any) -> dict[str, Any]:
    answer = http.put(f"/v1/switches/{path}", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_a_switch_says_what_is_off_by_whom_why_since_when_and_until_when(http: httpx.Client) -> None:
    answer = turn(http, "message/of_tomorrow", **OFF, until=SOON)
    at = answer.pop("at")
    assert answer.pop("until")[:19] == SOON[:19]
    assert abs(datetime.now(UTC) - datetime.fromisoformat(at)) < timedelta(minutes=1)
    note = answer.pop("note")
    assert note == "the bundle served here has no such message; the switch holds for every release that has"
    assert answer == {**OFF, "kind": "message", "name": "of_tomorrow", "known": False}
    shown = http.get("/v1/switches/message/of_tomorrow").json()
    assert shown | {"note": note} == answer | {"at": at, "until": shown["until"], "note": note}


def test_what_was_never_turned_is_on(http: httpx.Client) -> None:
    assert http.get("/v1/switches/placement/weekly").json() == {
        "kind": "placement", "name": "weekly", "state": "on", "known": True,
    }  # fmt: skip
    assert http.get("/v1/switches/placement/of_tomorrow").json()["known"] is False


def test_the_list_shows_what_is_off_and_the_last_changes_first(http: httpx.Client) -> None:
    turn(http, "model/of_yesterday", **OFF)
    turn(http, "feature/of_yesterday", **OFF)
    turn(http, "model/of_yesterday", state="on", by="crm_lead", why="retrained")
    board = http.get("/v1/switches").json()
    off = {(each["kind"], each["name"]) for each in board["switches"]}
    assert ("feature", "of_yesterday") in off
    assert ("model", "of_yesterday") not in off
    last = [(each["kind"], each["state"], each["by"], each["why"]) for each in board["changes"][:3]]
    assert last == [
        ("model", "on", "crm_lead", "retrained"),
        ("feature", "off", OFF["by"], OFF["why"]),
        ("model", "off", OFF["by"], OFF["why"]),
    ]
    assert board["unreadable"] == 0


def test_turning_on_needs_no_reason_and_may_be_repeated(http: httpx.Client) -> None:
    turn(http, "purpose/of_yesterday", **OFF)
    for _ in range(2):
        assert turn(http, "purpose/of_yesterday", state="on")["state"] == "on"
    assert http.get("/v1/switches/purpose/of_yesterday").json()["state"] == "on"


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"state": "off"}, "by"),
        ({"state": "off"}, "why"),
        ({"state": "off", "by": "ops"}, "why"),
        ({"state": "off", "by": "ops", "why": ""}, "why"),
        ({"state": "off", "by": "  ", "why": "x"}, "by"),
        ({"state": "off", "by": "ops", "why": "x" * 201}, "why"),
        ({"state": "off", "by": "ops" * 80, "why": "x"}, "by"),
        ({"state": "off", "by": 5, "why": "x"}, "by"),
        ({"state": "maybe"}, "state"),
        ({}, "state"),
        ({**OFF, "reason": "x"}, "reason"),
        ({**OFF, "until": "2026-01-01"}, "until"),
        ({**OFF, "until": "2026-01-01T00:00:00"}, "until"),
        ({**OFF, "until": "2026-01-01T00:00:00Z"}, "until"),
        ({**OFF, "until": 4102444800}, "until"),
        ({**OFF, "until": "9999-12-31T23:59:59-12:00"}, "until"),
        ({"state": "on", "until": "2099-01-01T00:00:00Z"}, "until"),
    ],
)
def test_a_body_that_does_not_say_all_turns_nothing(http: httpx.Client, body: dict[str, Any], path: str) -> None:
    answer = http.put("/v1/switches/message/never_turned", json=body)
    assert path in [error["path"] for error in problem(answer, 422, "invalid_request")["errors"]]
    assert http.get("/v1/switches/message/never_turned").json()["state"] == "on"


@pytest.mark.parametrize(
    "by", ["zoe@example.com", "+49 170 1234567", "0170-1234567", "(0170) 123 45 67", "491701234567"]
)
def test_nobody_is_named_by_an_address_or_a_number(http: httpx.Client, by: str) -> None:
    refused = problem(http.put("/v1/switches/message/never_turned", json=OFF | {"by": by}), 422, "direct_identifier")
    assert by not in str(refused)
    assert "name a role or a handle" in refused["detail"]


def test_a_reason_holds_no_address_and_may_hold_a_time(http: httpx.Client) -> None:
    refused = http.put("/v1/switches/message/never_turned", json=OFF | {"why": "ask zoe.quill@example.com"})
    assert "zoe" not in str(problem(refused, 422, "direct_identifier"))
    turn(http, "message/of_tomorrow", **OFF | {"why": "since 2026-11-24 08:00:00, see @crm in chat"})


@pytest.mark.parametrize(
    "path",
    [
        "message/Mens-Email", "message/zoe@example.com", f"message/{'x' * 49}", "placement/*", "all/everything",
        "region/nz", "region/UK", "region/XX", "region/EU", "region/US-CALI", "region/*", "mood/good", "model/%20",
    ],
)  # fmt: skip
def test_what_no_bundle_can_have_is_refused_and_not_repeated(http: httpx.Client, path: str) -> None:
    name = path.partition("/")[2]
    for answer in (http.get(f"/v1/switches/{path}"), http.put(f"/v1/switches/{path}", json=OFF)):
        assert name not in str(problem(answer, 422, "invalid_request")["errors"])


@pytest.mark.parametrize("path", ["region/NZ", "region/US-CA", "region/default", "all/*", "all/%2A"])
def test_regions_and_everything_have_switches_of_their_own_form(http: httpx.Client, path: str) -> None:
    shown = http.get(f"/v1/switches/{path}").json()
    assert (shown["state"], shown["known"]) == ("on", True)


@pytest.mark.parametrize("raw", [b"", b"{", b"nope", b"\xff"])
def test_what_is_not_json_is_400(http: httpx.Client, raw: bytes) -> None:
    problem(http.put("/v1/switches/message/never_turned", content=raw), 400, "malformed_json")


def test_a_switch_cannot_be_deleted_from_the_history_of_who_turned_it(http: httpx.Client) -> None:
    problem(http.delete("/v1/switches/message/of_tomorrow"), 405, "method_not_allowed")


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[str, str]]]:
    """A server that asks for keys, and a key for each of three scopes."""
    path: Path = tmp_path_factory.mktemp("keys") / "keys.jsonl"
    keys = {scope: keys_file.add(path, [scope])[1] for scope in ("read", "decide", "admin")}
    with OneServer(BUNDLE, NEXTBEST_KEYS_FILE=str(path)) as running:
        yield running.url, keys


@pytest.mark.parametrize(
    ("scope", "may_read", "may_turn"), [("read", 200, 403), ("decide", 403, 403), ("admin", 200, 200)]
)
def test_readers_see_what_is_off_and_only_admins_turn(
    guarded: tuple[str, dict[str, str]], scope: str, may_read: int, may_turn: int
) -> None:
    url, keys = guarded
    headers = {"authorization": f"Bearer {keys[scope]}"}
    for path in ("/v1/switches", "/v1/switches/message/x"):
        assert httpx.get(url + path, headers=headers).status_code == may_read
    assert httpx.put(f"{url}/v1/switches/message/x", json=OFF, headers=headers).status_code == may_turn


def test_the_history_holds_the_key_that_was_used_whatever_its_user_said(
    guarded: tuple[str, dict[str, str]], http: httpx.Client
) -> None:
    url, keys = guarded
    headers = {"authorization": f"Bearer {keys['admin']}"}
    httpx.put(f"{url}/v1/switches/message/y", json=OFF, headers=headers)
    change = httpx.get(f"{url}/v1/switches", headers=headers).json()["changes"][0]
    assert (change["by"], change["key"][:4]) == (OFF["by"], "key_")
    turn(http, "message/of_tomorrow", **OFF)
    assert http.get("/v1/switches").json()["changes"][0]["key"] == "loopback"


def test_metrics_show_how_much_is_off_and_how_old_that_is(http: httpx.Client) -> None:
    turn(http, "message/of_tomorrow", **OFF)
    lines = dict(line.rsplit(" ", 1) for line in http.get("/metrics").text.splitlines() if "{worker=" in line)
    assert int(lines['nextbest_switches_off{worker="0"}']) >= 1
    assert int(lines['nextbest_control_age_seconds{worker="0"}']) <= 1
