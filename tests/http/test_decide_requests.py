"""What `POST /v1/decide` refuses: always a problem that says what and where, never a 5xx, never the value."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from app.core.decision.request import DecideRequest
from app.core.identity import Alias
from app.errors import Problem
from app.http.decide_body import parse, parse_line
from policy.bundle import Handling
from tests.support.contract import Caller, contract_bundle, problem

SOUND = {"customer": "cus_sound", "placements": ["weekly"]}
EMAIL = hashlib.sha256(b"reader@example.com").hexdigest()


def post(caller: Caller, raw: bytes) -> httpx.Response:
    return caller.http.post("/v1/decide", content=raw)


def sound_but(**members: Any) -> bytes:
    return json.dumps(SOUND | members).encode()


def paths(body: dict[str, Any]) -> list[str]:
    return [place["path"] for place in body["errors"]]


# Bytes


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"not json",
        b"'{}'",
        sound_but() + b"}",
        sound_but()[:-1] + b",}",
        b'{"customer": "cus_\\ud800", "placements": ["weekly"]}',
        b'{"customer": "\xff", "placements": ["weekly"]}',
        b"\xef\xbb\xbf" + sound_but(),
        sound_but().decode().encode("utf-16"),
        b"[" * 10_000,
        b'{"context": ' + b'{"a": ' * 5_000 + b"1" + b"}" * 5_001,
        b'{"customer": "c", "placements": ["weekly"], "budget_ms": ' + b"9" * 5_000 + b"}",
    ],
    ids=lambda raw: repr(raw[:24]),
)
def test_what_is_not_json_is_a_400(caller: Caller, raw: bytes) -> None:
    problem(post(caller, raw), 400, "malformed_json")


@pytest.mark.parametrize("raw", [b"null", b"[]", b'"cus_1"', b"5", b"{}"])
def test_json_that_is_no_request_is_a_422(caller: Caller, raw: bytes) -> None:
    problem(post(caller, raw), 422, "invalid_request")


def test_of_a_member_that_stands_twice_the_last_counts(caller: Caller) -> None:
    """RFC 8259 leaves it open; what matters is that the answer says for whom it is."""
    answer = post(caller, b'{"customer": "cus_first", "customer": "cus_last", "placements": ["parcel"]}')
    assert answer.json()["customer"] == "cus_last"


def test_a_body_over_the_limit_is_a_413(caller: Caller) -> None:
    problem(post(caller, b" " * 262_145), 413, "payload_too_large")
    assert post(caller, sound_but() + b" " * 262_000).status_code == 200


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_another_method_is_a_405_that_says_which_is_allowed(caller: Caller, method: str) -> None:
    answer = caller.http.request(method, "/v1/decide")
    problem(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "POST"


# Members


@pytest.mark.parametrize(
    ("members", "path"),
    [
        ({"customer": 5}, "customer"),
        ({"customer": None}, "customer"),
        ({"customer": ["cus_1"]}, "customer"),
        ({"customer": {"user_id": 5}}, "customer"),
        ({"placements": "weekly"}, "placements"),
        ({"placements": [None]}, "placements[0]"),
        ({"placements": ["weekly", 5]}, "placements[1]"),
        ({"placements": {"weekly": 1}}, "placements"),
        ({"context": []}, "context"),
        ({"context": None}, "context"),
        ({"budget_ms": "40"}, "budget_ms"),
        ({"budget_ms": True}, "budget_ms"),
        ({"budget_ms": 40.5}, "budget_ms"),
        ({"budget_ms": []}, "budget_ms"),
        ({"explain": "yes"}, "explain"),
        ({"explain": 1}, "explain"),
        ({"dry_run": "true"}, "dry_run"),
        ({"dry_run": None}, "dry_run"),
        ({"a_member_of_tomorrow": 1}, "a_member_of_tomorrow"),
        ({"idempotency_key": "k"}, "idempotency_key"),
    ],
    ids=str,
)
def test_a_wrong_type_is_a_422_that_names_its_place(caller: Caller, members: dict[str, Any], path: str) -> None:
    body = problem(post(caller, sound_but(**members)), 422, "invalid_request")
    assert paths(body) == [path], body


@pytest.mark.parametrize("missing", ["customer", "placements"])
def test_a_missing_member_is_named(caller: Caller, missing: str) -> None:
    raw = json.dumps({name: value for name, value in SOUND.items() if name != missing}).encode()
    assert paths(problem(post(caller, raw), 422, "invalid_request")) == [missing]


@pytest.mark.parametrize("budget_ms", [4, 2001, 0, -1, 10**30, -(10**30)])
def test_a_budget_outside_5_to_2000_ms_is_refused(caller: Caller, budget_ms: int) -> None:
    body = problem(post(caller, sound_but(budget_ms=budget_ms)), 422, "invalid_budget")
    assert "5 to 2000" in body["detail"]


@pytest.mark.parametrize("budget_ms", [5, 2000])
def test_budgets_of_5_and_of_2000_ms_are_accepted(caller: Caller, budget_ms: int) -> None:
    answer = post(caller, sound_but(budget_ms=budget_ms))
    assert (answer.status_code, answer.json()["budget_ms"]) == (200, budget_ms)


def test_an_unknown_placement_is_named_beside_those_there_are(caller: Caller) -> None:
    detail = problem(post(caller, sound_but(placements=["weekly", "nowhere"])), 422, "unknown_placement")["detail"]
    assert "`nowhere`" in detail
    assert "placements[0]" not in detail
    assert "`second`" in detail


@pytest.mark.parametrize("number", [0, 9])
def test_there_are_one_to_eight_placements(caller: Caller, number: int) -> None:
    names = ["weekly", "second", "push", "unsure", "gaps", "ruled", "fresh", "once", "twice"][:number]
    body = problem(post(caller, sound_but(placements=names)), 422, "invalid_request")
    assert paths(body) == ["placements"]


def test_no_placement_is_asked_for_twice(caller: Caller) -> None:
    body = problem(post(caller, sound_but(placements=["weekly", "push", "weekly"])), 422, "invalid_request")
    assert "twice" in body["detail"]


# Context


def test_every_undeclared_context_attribute_is_named(caller: Caller) -> None:
    body = problem(
        post(caller, sound_but(context={"weather": 1, "trigger": "none", "mood": 2})), 422, "unknown_context"
    )
    assert "`weather`" in body["detail"]
    assert "`mood`" in body["detail"]
    assert "`trigger`" in body["detail"], "what the bundle declares"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("region", "Germany"),
        ("region", "de"),
        ("region", 49),
        ("timezone", "Mars/Olympus"),
        ("timezone", "+02:00"),
        ("timezone", "../../etc/passwd"),
        ("language", "a language"),
        ("trigger", "storm"),
        ("trigger", 1),
        ("items", 2.5),
        ("items", True),
        ("items", "2"),
        ("items", 10**30),
        ("items", 2**63),
        ("basket", "much"),
        ("basket", True),
        ("basket", 10**400),
        ("rating", 5.5),
        ("rating", -1),
        ("gift", "yes"),
        ("gift", 1),
        ("note", "x" * 21),
        ("note", ["x"]),
        ("note", {"x": 1}),
    ],
    ids=str,
)
def test_a_context_value_that_does_not_fit_is_named_and_not_repeated(caller: Caller, name: str, value: Any) -> None:
    body = problem(post(caller, sound_but(context={name: value})), 422, "invalid_request")
    assert paths(body) == [f"context.{name}"]
    if isinstance(value, str) and len(value) > 5:
        assert value not in json.dumps(body)


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity", b"1e999"])
@pytest.mark.parametrize("name", [b"basket", b"rating", b"items"])
def test_what_is_no_finite_number_is_refused(caller: Caller, name: bytes, number: bytes) -> None:
    raw = b'{"customer": "cus_1", "placements": ["weekly"], "context": {"%b": %b}}' % (name, number)
    assert post(caller, raw).json()["code"] in {"invalid_request", "malformed_json"}


def test_values_that_fit_are_accepted_and_null_is_absent(caller: Caller) -> None:
    fits = {
        "region": "US-CA", "timezone": "Europe/Berlin", "language": "pt-BR", "trigger": "browse", "items": -(2**63),
        "basket": 3, "rating": 5.0, "gift": False, "note": "x" * 20,
    }  # fmt: skip
    decision = post(caller, sound_but(context=fits)).json()["decisions"][0]
    assert caller.record(decision["decision_id"])["request"]["context"] == fits
    answer = post(caller, sound_but(context=dict.fromkeys(fits)))
    assert caller.record(answer.json()["decisions"][0]["decision_id"])["request"]["context"] == {}


# Who is meant


@pytest.mark.parametrize(
    "key",
    [
        "reader@example.com",
        "@",
        "+15551234567",
        "+cus",
        "555-123-4567",
        "555_123_4567",
        "(555) 123 4567",
        "555.123.4567",
    ],
)
def test_a_direct_identifier_is_refused_as_a_key_and_not_repeated(caller: Caller, key: str) -> None:
    answer = post(caller, sound_but(customer=key))
    problem(answer, 422, "direct_identifier")
    assert key == "@" or key not in answer.text


@pytest.mark.parametrize("key", ["5551234567", "0", "cus_555-123-4567", "12-34", "A" * 64])
def test_a_key_of_digits_only_is_fine_and_so_is_one_that_begins_with_letters(caller: Caller, key: str) -> None:
    assert post(caller, sound_but(customer=key)).json()["customer"] == key


@pytest.mark.parametrize("key", ["", "A" * 65, "a b", "größe", "a/b", "a\n", "a\u0000"])
def test_other_keys_do_not_fit(caller: Caller, key: str) -> None:
    problem(post(caller, sound_but(customer=key)), 422, "invalid_request")


@pytest.mark.parametrize(
    "alias",
    [
        {},
        {"user_id": "a", "anonymous_id": "b"},
        {"e_mail": "reader"},
        {"email_sha256": "reader@example.com"},
        {"email_sha256": EMAIL[:-1]},
        {"user_id": ""},
        {"user_id": "x" * 257},
    ],
    ids=str,
)
def test_an_alias_that_is_none_is_refused_and_not_repeated(caller: Caller, alias: dict[str, str]) -> None:
    answer = post(caller, sound_but(customer=alias))
    problem(answer, 422, "invalid_request")
    assert "@example.com" not in answer.text


@pytest.mark.parametrize("parse_any", [parse, parse_line])
def test_an_alias_of_a_kind_that_the_bundle_does_not_collect_is_refused_with_what_to_send_instead(
    parse_any: Callable[..., DecideRequest],
) -> None:
    without_phones = dataclasses.replace(contract_bundle(), handling={"phone": Handling(drop=True)})

    def parsed(alias: dict[str, str]) -> DecideRequest:
        given = (None, None) if parse_any is parse else (None,)
        return parse_any(sound_but(customer=alias), without_phones, "req_1", *given, lambda *_: None)

    with pytest.raises(Problem) as refused:
        parsed({"phone_sha256": "ab" * 32})
    assert (refused.value.status, refused.value.code) == (422, "invalid_request")
    assert "the bundle collects no `phone` (data.yaml): name the customer by the key" in refused.value.detail
    assert "abab" not in refused.value.detail
    assert paths(json.loads(refused.value.render())) == ["customer.phone_sha256"]
    assert parsed({"email_sha256": "ab" * 32}).customer == Alias("email_sha256", "ab" * 32)


@pytest.mark.parametrize("kind", ["user_id", "anonymous_id", "email_sha256"])
def test_a_linked_alias_is_decided_as_its_customer(caller: Caller, kind: str) -> None:
    value = EMAIL if kind == "email_sha256" else f"linked by {kind}"
    customer = caller.customer(identities={kind: value})
    alias = {kind: value.upper() if kind == "email_sha256" else value}
    answer = caller.ask(alias).json()
    assert answer["customer"] == customer
    assert answer["decisions"][0]["rung"] == "model"


def test_a_user_id_that_fits_the_key_pattern_and_is_not_linked_is_the_key(caller: Caller) -> None:
    customer = caller.customer()
    answer = caller.ask({"user_id": customer}).json()
    assert (answer["customer"], answer["decisions"][0]["rung"]) == (customer, "model")


@pytest.mark.parametrize(
    "alias",
    [
        {"user_id": "reader@example.com"},
        {"user_id": "+15551234567"},
        {"user_id": "ein Käufer"},
        {"anonymous_id": "cus_000001"},
        {"email_sha256": hashlib.sha256(b"nobody@example.com").hexdigest()},
    ],
    ids=str,
)
def test_any_other_unlinked_alias_is_a_stranger_whose_key_tells_nothing(caller: Caller, alias: dict[str, str]) -> None:
    first, again = caller.ask(alias).json()["customer"], caller.ask(alias).json()["customer"]
    assert first == again
    assert first.startswith("cus_")
    assert len(first) == 36
    assert next(iter(alias.values())) not in first


def test_no_refusal_leaves_a_trace_in_the_store(caller: Caller, server: Any) -> None:
    before = server.store.command("DBSIZE")
    for raw in (b"{", sound_but(customer="reader@example.com"), sound_but(placements=["nowhere"])):
        assert post(caller, raw).is_client_error
    assert server.store.command("DBSIZE") == before
