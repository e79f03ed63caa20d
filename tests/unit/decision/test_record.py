"""The record of a decision: small, exact, and silent about what was not to be read."""

from __future__ import annotations

import dataclasses
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from app.core.decision.ids import DecisionId, base_of, id_at, pack_id, parse_id, unpack_id
from app.core.decision.record import base_of_record, bundle_digest_of, decode
from app.core.decision.replay import replay
from app.core.decision.view import view
from policy.bundle import Bundle, Limit
from policy.compile import load
from policy.facts import Facts
from tests.support.contract import contract_bundle
from tests.support.deciding import DAY_MS, HOUR_MS, NOW_MS, Decided, contact, decide, facts_of, granted, kind

STANDARD = Path(__file__).parents[3] / "loadtests" / "standard" / "bundle"
AT_MOST_BYTES = 2048


@cache
def standard() -> Bundle:
    return load(STANDARD)


def scores(message: str) -> float:
    return int(message[1:]) / 23 + 0.01


def everything_known(bundle: Bundle) -> Facts:
    """24 facts (as many as the bundle declares), and 10 contacts of 10 messages."""
    values: dict[str, Any] = {fact.name: 0.123456789012 + fact.index / 100 for fact in bundle.facts}
    values["lifecycle"] = "active"
    placement = bundle.placements["standard"]
    ledger = tuple(
        contact(kind(placement, f"m{number}"), NOW_MS - (10 - number) * DAY_MS, number=2**100 + number * 7919)
        for number in range(10)
    )
    return facts_of(
        values, contacts=ledger, language="de", as_of_ms={bundle.owner: NOW_MS}, general_version=7, ledger_version=10
    )


def decided(bundle: Bundle, facts: Facts) -> Decided:
    return decide(bundle, facts, ["standard"], {"language": "de"}, seed=2**64 - 1, model=scores)


def test_twenty_candidates_explained_with_all_facts_and_ten_contacts_fit_2_kb() -> None:
    bundle = standard()
    made = decided(bundle, everything_known(bundle))
    decision = made.first
    assert len(decision.placement.candidates) == 20
    assert decision.funnel.scored >= 15
    record = decode(made.record, bundle)
    assert len(record.facts.values) >= 21
    assert len(record.facts.contacts) == 10
    assert len(view(record, 0, False)["excluded"]) == 19
    assert len(made.record) <= AT_MOST_BYTES, len(made.record)
    assert len(made.record) > 500, "or something is missing"


def test_a_full_ledger_named_for_every_candidate_fits_2_kb_too() -> None:
    """The worst explanation: twenty candidates, each stopped by a limit that ten contacts fill."""
    base = standard()
    low = tuple(
        dataclasses.replace(limit, at_most=10, match={}) if limit.index == 1 else limit for limit in base.limits
    )
    bundle = dataclasses.replace(base, limits=low)
    facts = everything_known(bundle)
    near = tuple(each._replace(not_before_ms=NOW_MS - HOUR_MS, not_after_ms=NOW_MS) for each in facts.contacts)
    made = decided(bundle, facts._replace(contacts=near))
    assert made.first.funnel.admissible == 0
    assert {why.code for why in made.first.excluded.values()} >= {"limit_reached"}
    assert len(made.record) <= AT_MOST_BYTES, len(made.record)
    assert all(each.same for each in replay(decode(made.record, bundle)))


def test_every_rule_failing_for_want_of_facts_fits_2_kb() -> None:
    bundle = standard()
    made = decided(bundle, everything_known(bundle)._replace(values={"f19": 0.5}))
    assert {why.code for why in made.first.excluded.values()} == {"not_eligible"}
    assert len(made.record) <= AT_MOST_BYTES, len(made.record)


def test_a_record_names_its_bundle_and_its_decisions_without_being_read_whole() -> None:
    bundle = contract_bundle()
    made = decide(bundle, facts_of(), ["weekly", "parcel"], seed=5)
    assert bundle_digest_of(made.record) == bundle.digest
    assert base_of_record(made.record) == base_of(0, NOW_MS, 5)
    assert len(decode(made.record, bundle).decisions) == 2


def test_a_record_over_the_usual_size_is_deflated_and_reads_the_same() -> None:
    bundle = contract_bundle()
    placement = bundle.placements["twice"]
    ledger = tuple(contact(kind(placement, "alpha"), NOW_MS - n * HOUR_MS, number=n) for n in range(300, 0, -1))
    made = decide(bundle, facts_of(contacts=ledger), ["twice"])
    assert made.record[:1] == b"\x00"
    record = decode(made.record, bundle)
    assert [(c.decision, c.not_before_ms) for c in record.facts.contacts] == [
        (c.decision, c.not_before_ms) for c in ledger
    ]
    assert base_of_record(made.record) == base_of(0, NOW_MS, 0)
    assert all(each.same for each in replay(record))


def test_a_record_keeps_only_facts_that_the_decision_may_have_read() -> None:
    bundle = contract_bundle()
    known = {
        "recency": 3,
        "history": 98765.4321,
        "nickname": "the reader",
        "newbie": 1,
        "channel": "Web",
        "balance": 9.0,
    }
    personal = decode(decide(bundle, facts_of(known), ["weekly"]).record, bundle).facts.values
    assert personal == {"recency": 3, "history": 98765.4321, "newbie": 1, "channel": "Web"}, "weekly reads no balance"
    made = decide(bundle, facts_of(known, consent=(granted("marketing"),)), ["weekly"])
    assert decode(made.record, bundle).facts.values == {"newbie": 1, "channel": "Web"}
    assert b"the reader" not in made.record


def test_a_record_keeps_no_contact_that_no_limit_counts() -> None:
    bundle = contract_bundle()
    ledger = (
        contact(kind(bundle.placements["weekly"], "alpha"), NOW_MS - DAY_MS, number=1),
        contact(kind(bundle.placements["once"], "alpha"), NOW_MS - HOUR_MS, number=2),
    )
    record = decode(decide(bundle, facts_of(contacts=ledger), ["once"]).record, bundle)
    assert [int.from_bytes(each.decision, "big") for each in record.facts.contacts] == [2]


def test_a_limit_that_is_reached_is_a_limit_of_the_bundle() -> None:
    bundle = contract_bundle()
    ledger = (contact(kind(bundle.placements["once"], "alpha"), NOW_MS - HOUR_MS, number=2**90),)
    record = decode(decide(bundle, facts_of(contacts=ledger), ["once"]).record, bundle)
    (excluded,) = (record.decisions[0].excluded or {}).values()
    limit: Limit = bundle.limits[excluded.detail[1]]
    assert (limit.id, list(excluded.detail[2])) == ("one_of_once", [(2**90).to_bytes(14, "big")])


# Ids


@pytest.mark.parametrize("parts", [(0, 0, 0, 0), (255, NOW_MS, 2**48 - 1, 7), (4095, 2**44 - 1, 1, 255)])
def test_a_decision_id_carries_shard_time_and_place(parts: tuple[int, int, int, int]) -> None:
    shard, at_ms, chance, place = parts
    text = id_at(base_of(shard, at_ms, chance), place)
    assert parse_id(text) == DecisionId(shard, at_ms, chance, place)
    assert str(parse_id(text)) == text
    assert len(text) == 32
    assert unpack_id(pack_id(text)) == text
    assert len(pack_id(text)) == 14


def test_decisions_of_one_request_share_their_base() -> None:
    base = base_of(7, NOW_MS, 99)
    ids = [parse_id(id_at(base, place)) for place in range(8)]
    assert {each.base for each in ids if each} == {base}


def test_ids_made_later_sort_later_within_a_shard() -> None:
    assert sorted(id_at(base_of(7, NOW_MS + at, 0), 0) for at in (3, 1, 2)) == [
        id_at(base_of(7, NOW_MS + at, 0), 0) for at in (1, 2, 3)
    ]
