"""`nextbest why`: one screen of plain words about what a running server would do, and nothing that changes it."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from click.testing import Result
from redis import Redis
from typer.testing import CliRunner

from app import cli
from tests.support.contract import ATTRIBUTES, Caller, consent
from tests.support.serving import Server


@pytest.fixture(autouse=True)
def a_hundred_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    for name in ("URL", "KEY"):
        monkeypatch.delenv(f"NEXTBEST_{name}", raising=False)


class Asking:
    def __init__(self, url: str) -> None:
        self.url = url

    def __call__(self, *arguments: str) -> Result:
        done = CliRunner().invoke(cli.app, ["why", "--url", self.url, *arguments])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        assert all(len(line) <= 100 for line in done.stdout.splitlines())
        return done


@pytest.fixture
def why(server: Server) -> Asking:
    return Asking(server.url)


def words(done: Result) -> str:
    return " ".join(done.stdout.split())


def marks(done: Result, title: str) -> dict[str, str]:
    """Line → mark, of one part of the screen."""
    part = done.stdout.partition(f"\n{title}")[2].partition("\n\n")[0]
    return {line[4:].strip(): line[2] for line in part.splitlines() if line[2:3] in ("✓", "✗", "·")}


def test_who_would_be_sent_something_learns_what_when_and_why(why: Asking, caller: Caller) -> None:
    done = why(caller.customer(), "weekly")
    assert done.exit_code == 0
    said = words(done)
    assert "would get `alpha`" in said
    assert "the model ranks it first" in said
    assert "To be sent from" in said
    assert "CET" in said or "CEST" in said, "in the customer's own time"
    assert "contact for marketing by email: granted on consent, said by signup_form on" in said
    assert any(line.startswith("alpha") and mark == "✓" for line, mark in marks(done, "messages").items())
    assert any("outranked: by alpha" in line and mark == "✗" for line, mark in marks(done, "messages").items())


def test_nothing_changes_by_asking(why: Asking, caller: Caller, store: Redis) -> None:
    customer = caller.customer()
    before = caller.http.get(f"/v1/customers/{customer}").json()["versions"]
    length = sum(store.xlen(name) for name in store.scan_iter("*:decisions", count=10_000))
    for _ in range(3):
        assert why(customer, "once").exit_code == 0
    assert caller.http.get(f"/v1/customers/{customer}").json()["versions"] == before
    assert sum(store.xlen(name) for name in store.scan_iter("*:decisions", count=10_000)) == length


def test_a_reached_limit_says_how_full_it_is_and_when_there_is_room_again(why: Asking, caller: Caller) -> None:
    customer = caller.customer()
    first = caller.decision(customer, "once")
    done = why(customer, "once")
    assert done.exit_code == 1
    assert "limit_reached: one_of_once: 1 of 1 in rolling 7d; room again by" in words(done)
    until = first["send_window"]["not_after"]
    assert until[:4] in words(done).partition("room again by")[2]
    caller.decision(customer, "daily")
    assert "one_sms_a_day: 1 of 1 in calendar day in customer; room again from" in words(why(customer, "daily"))
    assert "room again" not in words(why(customer, "never")), "a limit of none never has room"


@pytest.mark.parametrize(
    ("known", "sentence", "gate"),
    [
        (
            {"consent": [consent("marketing", "denied")]},
            "does not want to be contacted",
            "contact for marketing by email: denied",
        ),
        ({"consent": []}, "silence permits nothing here", "contact for marketing by email: unknown nothing was said"),
    ],
)
def test_a_closed_gate_says_who_closed_it(
    why: Asking, caller: Caller, known: dict[str, Any], sentence: str, gate: str
) -> None:
    done = why(caller.customer(**known), "weekly")
    assert done.exit_code == 1
    assert sentence in words(done)
    assert any(gate in " ".join(line.split()) for line, mark in marks(done, "the gate").items() if mark == "✗")
    assert set(marks(done, "messages").values()) == {"·"}


def test_a_suppression_is_shown_with_its_source_and_transactional_mail_goes_on(why: Asking, caller: Caller) -> None:
    customer = caller.customer()
    caller.http.put(f"/v1/customers/{customer}/suppressions/email", json={"reason": "complaint", "source": "care"})
    done = why(customer, "weekly")
    assert (done.exit_code, "is suppressed (complaint)" in words(done)) == (1, True)
    assert "✗ suppressed on email: complaint said by care" in words(done)
    receipt = why(customer, "receipt")
    assert receipt.exit_code == 0
    assert "· suppressed on email: complaint" in words(receipt)


def test_without_leave_to_personalise_the_default_comes_and_the_screen_says_so(why: Asking, caller: Caller) -> None:
    done = why(caller.customer(consent=[consent("marketing")]), "weekly")
    assert done.exit_code == 0
    assert "it is the placement's default, which needs nothing personal" in words(done)
    assert "✗ personalisation: unknown nothing was said; only the placement's default" in words(done)


def test_a_message_s_whole_way_stops_where_it_stopped(why: Asking, caller: Caller) -> None:
    customer = caller.customer(attributes=ATTRIBUTES | {"recency": 99})
    done = why(customer, "weekly", "--message", "beta")
    assert done.exit_code == 1, "another message would be sent"
    way = list(marks(done, "the way of beta").values())
    assert way == ["✓"] * 9 + ["✗"] + ["·"] * 8
    assert "✗ its rules hold not_eligible: customer.recency <= 12" in words(done)
    chosen = why(customer, "weekly", "--message", "alpha")
    assert (chosen.exit_code, set(marks(chosen, "the way of alpha").values())) == (0, {"✓"})


def test_a_switch_is_shown_with_who_why_and_until_when(caller: Caller, server: Server, why: Asking) -> None:
    off = {"state": "off", "by": "crm_oncall", "why": "wrong price", "until": "2099-01-01T00:00:00Z"}
    customer = caller.customer()
    try:
        assert caller.http.put("/v1/switches/placement/joint", json=off).status_code == 200
        done = why(customer, "joint")
    finally:
        caller.http.put("/v1/switches/placement/joint", json={"state": "on", "by": "a", "why": "b"})
    assert done.exit_code == 1
    assert "✗ placement joint is switched off by crm_oncall: wrong price, until" in words(done)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("cus_1", "weekley"), "did you mean `weekly`?"),
        (("cus_1", "weekly", "--message", "betta"), "did you mean `beta`?"),
        (("cus_1", "weekly", "--message", "upsell"), "is no candidate of `weekly`, but of `receipt`"),
        (("cus_1", "zzz"), "there are `weekly`"),
    ],
)
def test_an_unknown_name_is_answered_with_near_ones(why: Asking, arguments: tuple[str, ...], said: str) -> None:
    done = why(*arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert said in done.stderr


def test_an_address_for_a_customer_is_refused_and_not_repeated(why: Asking) -> None:
    done = why("somebody@example.com", "weekly")
    assert done.exit_code == 2
    assert "surrogate key" in done.stderr
    assert "somebody" not in done.stderr


def test_a_stranger_is_told_from_somebody_known(why: Asking, caller: Caller) -> None:
    done = why(caller.stranger(), "weekly")
    assert done.exit_code == 1
    assert "nobody knows where they live" in words(done)


def test_no_server_and_a_server_of_another_kind_are_trouble() -> None:
    assert "no server answers" in Asking("http://127.0.0.1:1")("cus_1", "weekly").stderr


def test_a_missing_key_is_asked_for(tmp_path_factory: pytest.TempPathFactory) -> None:
    from app import keys_file
    from tests.support.contract import served_folder

    file = tmp_path_factory.mktemp("keys") / "keys.jsonl"
    _, key = keys_file.add(file, ["decide", "read"])
    with Server(served_folder(tmp_path_factory.mktemp("keyed")), NEXTBEST_KEYS_FILE=str(file)) as keyed:
        asking = Asking(keyed.url)
        done = asking("cus_1", "weekly")
        assert done.exit_code == 2
        assert "NEXTBEST_KEY" in done.stderr
        assert asking("cus_1", "weekly", "--key", key).exit_code == 1
        assert httpx.get(f"{keyed.url}/health/ready").status_code == 200
