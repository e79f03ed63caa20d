"""`Idempotency-Key`: one key and customer, one decision, the same bytes."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from redis import Redis

from tests.support.contract import Caller, problem
from tests.support.serving import Server

DAY_S = 86_400


def ask(caller: Caller, customer: str, key: str, **more: Any) -> httpx.Response:
    return caller.ask(customer, headers={"Idempotency-Key": key}, **more)


def kept(store: Redis, customer: str) -> list[bytes]:
    return list(store.scan_iter(f"*:i:{customer}:*", count=10_000))


def test_a_repeat_gets_the_same_bytes_and_says_that_it_is_one(caller: Caller) -> None:
    customer = caller.customer()
    first, again = ask(caller, customer, "key-1"), ask(caller, customer, "key-1")
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert (again.status_code, again.content) == (200, first.content)
    assert "server-timing" in again.headers


def test_a_repeat_makes_no_second_contact(caller: Caller) -> None:
    customer = caller.customer()
    assert [ask(caller, customer, "key-1").json()["decisions"][0]["action"] for _ in range(5)] == ["send"] * 5
    assert caller.http.get(f"/v1/customers/{customer}").json()["contacts"] == 1


def test_a_suppressed_answer_is_repeated_too(caller: Caller) -> None:
    customer = caller.stranger()
    assert ask(caller, customer, "key-1").content == ask(caller, customer, "key-1").content


def test_the_same_key_with_another_body_is_refused(caller: Caller) -> None:
    customer = caller.customer()
    ask(caller, customer, "key-1")
    problem(ask(caller, customer, "key-1", explain=True), 422, "idempotency_key_reused")


def test_another_key_is_another_decision(caller: Caller) -> None:
    customer = caller.customer()
    assert ask(caller, customer, "key-1").content != ask(caller, customer, "key-2").content


def test_a_key_belongs_to_its_customer(caller: Caller) -> None:
    first, second = (ask(caller, caller.customer(), "key-1") for _ in range(2))
    assert "idempotency-replayed" not in second.headers
    assert first.json()["customer"] != second.json()["customer"]


def test_an_alias_and_its_customer_share_their_keys(caller: Caller) -> None:
    customer = caller.customer(identities={"user_id": "known as this"})
    first = ask(caller, {"user_id": "known as this"}, "key-1")  # type: ignore[arg-type]  # the helper names a key; the door takes an alias
    assert first.json()["customer"] == customer
    problem(ask(caller, customer, "key-1"), 422, "idempotency_key_reused")


def test_an_answer_is_kept_for_24_hours_and_its_key_only_as_a_hash(caller: Caller, store: Redis) -> None:
    customer = caller.customer()
    ask(caller, customer, "a-key-of-the-caller")
    (name,) = kept(store, customer)
    assert DAY_S - 10 <= store.ttl(name) <= DAY_S
    assert b"a-key-of-the-caller" not in name


def test_a_dry_run_is_neither_kept_nor_repeated(caller: Caller, store: Redis) -> None:
    customer = caller.customer()
    first, again = (ask(caller, customer, "key-1", dry_run=True) for _ in range(2))
    assert "idempotency-replayed" not in again.headers
    assert first.json()["decisions"][0]["decision_id"] != again.json()["decisions"][0]["decision_id"]
    assert kept(store, customer) == []


def test_an_answer_that_asks_to_be_asked_again_is_not_kept(caller: Caller, store: Redis) -> None:
    """A ledger that must be there and is not: `facts_unavailable`, and the next try must be free to do better."""
    customer = caller.customer()
    caller.decision(customer, "once")
    (ledger,) = store.scan_iter(f"*:l:{customer}", count=10_000)
    contents = store.dump(ledger)
    assert contents is not None
    store.delete(ledger)
    broken = ask(caller, customer, "key-1").json()["decisions"][0]
    assert (broken["action"], broken["reason"], broken["retryable"]) == ("suppress", "facts_unavailable", True)
    assert kept(store, customer) == []
    store.restore(ledger, 0, contents)
    assert ask(caller, customer, "key-1").json()["decisions"][0]["action"] == "send"


@pytest.mark.parametrize("key", ["", "a b", "tab\there", "x" * 256, "größe".encode("latin-1"), b"\xff"], ids=repr)
def test_a_key_that_is_not_1_to_255_visible_ascii_characters_is_refused(caller: Caller, key: str | bytes) -> None:
    answer = caller.http.post(
        "/v1/decide",
        json={"customer": "cus_1", "placements": ["parcel"]},
        headers={"Idempotency-Key": key},  # type: ignore[dict-item]  # httpx takes bytes as well
    )
    problem(answer, 422, "invalid_idempotency_key")


@pytest.mark.parametrize("key", ["x", "x" * 255, "!~{}\\\"'/:;"])
def test_a_key_of_visible_ascii_is_accepted(caller: Caller, key: str) -> None:
    assert ask(caller, caller.stranger(), key).status_code == 200


def test_twins_at_the_same_time_get_the_winners_bytes(server: Server, caller: Caller) -> None:
    customer = caller.customer()
    body = json.dumps({"customer": customer, "placements": ["weekly", "push"], "budget_ms": 2000})

    def one(_: int) -> tuple[bytes, bool]:
        headers = {"Idempotency-Key": "twin"}
        answer = httpx.post(f"{server.url}/v1/decide", content=body, headers=headers, timeout=60)
        assert answer.status_code == 200
        return answer.content, "idempotency-replayed" in answer.headers

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(one, range(8)))
    assert len({content for content, _ in answers}) == 1
    assert [replayed for _, replayed in answers].count(False) == 1
    assert caller.http.get(f"/v1/customers/{customer}").json()["contacts"] == 2
