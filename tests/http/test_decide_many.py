"""Several placements in one request, and asking without consequences."""

from __future__ import annotations

import pytest
from redis import Redis

from app.store.keys import CTL_DELIVERABILITY_TURN, CTL_WATERMARKS, CTL_WORKERS
from tests.support.contract import Caller, said, why_not

EIGHT = ["weekly", "second", "push", "ruled", "once", "seasonal", "receipt", "parcel"]


def calls(store: Redis) -> dict[str, int]:
    """Command → how often the store has run it."""
    return {name.removeprefix("cmdstat_"): each["calls"] for name, each in store.info("commandstats").items()}


OF_WORKERS = {CTL_WORKERS, CTL_WATERMARKS, CTL_DELIVERABILITY_TURN}


def contents(store: Redis) -> dict[bytes, tuple[bytes | None, bool]]:
    """The whole store: key → its value, and whether it will go by itself. Without what workers say of themselves every
    second or two."""
    keys = [key for key in store.scan_iter(count=10_000) if not key.endswith(b":worker") and key not in OF_WORKERS]
    return {key: (store.dump(key), store.ttl(key) > 0) for key in keys}


def test_answers_come_in_the_order_asked_for(caller: Caller) -> None:
    for order in (EIGHT, EIGHT[::-1]):
        assert [decision["placement"] for decision in caller.decisions(caller.customer(), *order)] == order


@pytest.mark.parametrize("number", range(1, 9))
def test_one_to_eight_placements_are_decided_with_ids_of_their_own(caller: Caller, number: int) -> None:
    decisions = caller.decisions(caller.customer(), *EIGHT[:number])
    ids = [decision["decision_id"] for decision in decisions]
    assert len(set(ids)) == number
    assert [caller.record(each)["placement"] for each in ids] == EIGHT[:number]


def test_no_message_is_given_twice_and_the_more_important_placement_gets_it(caller: Caller) -> None:
    customer = caller.customer()
    first, second = caller.decisions(customer, "weekly", "second", explain=True, dry_run=True)
    assert said(first)[3] == "alpha"
    assert said(second)[3] != "alpha"
    assert why_not(second)["alpha"] == "chosen_elsewhere"
    assert {line["message"]: line["detail"] for line in second["excluded"]}["alpha"] == "chosen for weekly"
    turned, _ = caller.decisions(customer, "second", "weekly", dry_run=True)
    assert said(turned)[3] == "alpha"
    sent = [said(decision)[3] for decision in caller.decisions(customer, *EIGHT)]
    named = [message for message in sent if message is not None]
    assert len(named) == len(set(named))


def test_a_placement_is_left_without_a_message_when_the_others_took_them_all(caller: Caller) -> None:
    first, second = caller.decisions(caller.customer(), "once", "thrice", explain=True)
    assert said(first)[3] == "alpha"
    assert said(second)[2:] == ("no_admissible_message", None)
    assert why_not(second) == {"alpha": "chosen_elsewhere"}


def test_a_limit_counts_what_earlier_placements_of_the_same_request_chose(caller: Caller) -> None:
    """`push` and `wordings` share one push a week, and no message."""
    first, second = caller.decisions(caller.customer(), "push", "wordings", explain=True)
    assert said(first)[0] == "send"
    assert said(second)[2] == "no_admissible_message"
    assert why_not(second) == {"lottery": "limit_reached"}
    turned = caller.decisions(caller.customer(), "wordings", "push")
    assert [decision["action"] for decision in turned] == ["send", "suppress"]


def test_a_suppressed_placement_does_not_stop_the_others(caller: Caller) -> None:
    customer = caller.customer(consent=[])
    actions = [decision["action"] for decision in caller.decisions(customer, "weekly", "parcel", "push")]
    assert actions == ["suppress", "send", "suppress"]


@pytest.mark.parametrize("number", [1, 8])
def test_a_request_costs_one_read_and_one_commit_however_many_placements_it_has(
    caller: Caller, store: Redis, number: int
) -> None:
    one = {"hgetall": 1, "zrange": 1, "evalsha": 1, "eval": 0, "time": 2}  # once with the read, once in the script
    found = []
    for _ in range(3):  # what is looked after beside decisions asks the store too, every second or two
        customer = caller.customer()
        before = calls(store)
        caller.decisions(customer, *EIGHT[:number])
        after = calls(store)
        found.append({name: after.get(name, 0) - before.get(name, 0) for name in one})
    assert one in found
    assert all(each["hgetall"] >= 1 and each["evalsha"] >= 1 for each in found)
    assert after["xadd"] - before.get("xadd", 0) == 1, "one record"


def test_a_dry_run_decides_the_same_and_writes_nothing(caller: Caller, store: Redis) -> None:
    customer = caller.customer()
    before = contents(store)
    dry = caller.decisions(customer, *EIGHT, dry_run=True, headers={"Idempotency-Key": "dry"})
    assert contents(store) == before
    wet = caller.decisions(customer, *EIGHT)
    assert contents(store) != before, "a request that is none of the sort writes"
    assert [said(decision) for decision in dry] == [said(decision) for decision in wet]


def test_a_dry_run_is_not_in_the_log(caller: Caller) -> None:
    decision = caller.decision(caller.customer(), dry_run=True)
    answer = caller.http.get(f"/v1/decisions/{decision['decision_id']}")
    assert (answer.status_code, answer.json()["code"]) == (404, "decision_expired")


def test_dry_runs_see_limits_and_use_up_none(caller: Caller) -> None:
    customer = caller.customer()
    assert [caller.decision(customer, "once", dry_run=True)["action"] for _ in range(3)] == ["send"] * 3
    assert caller.decision(customer, "once")["action"] == "send"
    assert caller.decision(customer, "once", dry_run=True)["action"] == "suppress"
