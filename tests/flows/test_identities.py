"""Visitors who become known: what is decided for either key before and after, and what may not happen."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from app.core.events.entry import decode
from app.core.events.event import Collected
from app.core.features.streams import CARRY
from app.core.identity import Alias
from app.core.identity_graph import own_customer, shared_customer
from app.core.keeping import keeping
from app.flows.link_identities import Identities
from app.flows.merge import Merges
from app.store.claims import CROWD, ClaimStore
from app.store.history import Merged
from app.store.keys import CTL_CLAIMS_DUE
from app.store.merge import MergeStore
from policy.bundle import Bundle
from policy.codes import SuppressionReason
from policy.feature_rules import feature_rules
from tests.flows.conftest import Flow
from tests.flows.test_merge import KNOWN, Dies, Mortal, customers, first, merges_of, reader, sends, store_of
from tests.support.folding import documents_of
from tests.support.identities import HOUR_MS, T0_MS, Said, address, complete_until, visitor

A: Any = (("anonymous_id", "a"),)
COUNTED = "views: {on: viewed, count: 1, window: 1h}"


def process(flow: Flow, merges: Merges | None = None) -> Identities:
    """What one worker process has."""
    services = flow.services
    store = ClaimStore(services.client, services.keys, services.hash_key, keeping(services.bundle))
    return Identities(store, merges or merges_of(flow), HOUR_MS)


def folding_bundle(flow: Flow) -> Bundle:
    """The bundle of these tests, with a feature."""
    return replace(flow.services.bundle, features=tuple(feature_rules(documents_of(COUNTED))))


async def told(flow: Flow, *said: Said, until_ms: int = T0_MS + 10**10) -> None:
    """The worker has applied these, and everything that was received until then."""
    one = process(flow)
    await one.apply([each.entry(flow.services.hash_key) for each in said])
    await complete_until(flow.services.client, flow.services.keys, until_ms)
    await one.settle()
    await one.settle()  # what follows from merges that were done


def own(flow: Flow, name: str = "a") -> str:
    return own_customer(visitor(name, flow.services.hash_key))


async def who(flow: Flow, name: str = "a") -> str:
    """Whom a decision for a visitor is for."""
    return str((await flow.decide(Alias("anonymous_id", name), "weekly")).customer)  # type: ignore[arg-type]  # the helper names a key; the flow takes an alias


async def test_a_visitor_is_the_user_after_the_lateness_and_not_before(flow: Flow) -> None:
    await told(flow, Said(T0_MS, "u_1", A), until_ms=T0_MS + HOUR_MS - 1)
    assert await who(flow) == own(flow)
    await told(flow, until_ms=T0_MS + HOUR_MS)
    assert await who(flow) == "u_1"
    assert first(await flow.decide(own(flow), "weekly"))["decision_id"]
    assert (await flow.decide(own(flow), "weekly")).customer == "u_1", "the old key answers"
    change = (await reader(flow).history("u_1"))[0]
    assert (change.what, change.who) == (Merged(own(flow)), "identity")
    assert change.why == f"anonymous_id {own(flow)[4:12]} first told with u_1 2026-12-01T00:00:00.000Z"


async def test_an_earlier_user_who_is_told_of_late_is_the_one(flow: Flow) -> None:
    """Both are one visitor's, of whom the earlier is told an hour late: then it is shared. Told alone, it is theirs."""
    await told(flow, Said(T0_MS + 9, "u_1", A), until_ms=T0_MS + 10)
    await told(flow, Said(T0_MS, "u_1", A), Said(T0_MS + 9, "u_2", (("anonymous_id", "b"),)))
    assert (await who(flow), await who(flow, "b")) == ("u_1", "u_2")


async def test_a_merge_of_a_visitor_with_contacts_opens_no_limit(flow: Flow) -> None:
    await flow.know("u_1", **KNOWN)
    await flow.know(own(flow), **KNOWN)
    assert await sends(flow, own(flow), "twice")
    assert await sends(flow, "u_1", "twice")
    await told(flow, Said(T0_MS, "u_1", A))
    assert not await sends(flow, "u_1", "twice")
    assert not await sends(flow, own(flow), "twice")
    assert await flow.services.client.zcard(flow.services.keys.of("u_1").ledger) == 2


async def test_decisions_for_a_visitor_that_are_under_way_while_it_becomes_a_user_count(flow: Flow) -> None:
    """A contact that the user's limits do not know of would open them."""
    for customer in ("u_1", own(flow)):
        await flow.know(customer, **KNOWN)
    asking = [flow.decide(own(flow), "thrice") for _ in range(8)]
    *answers, _ = await asyncio.gather(*asking, told(flow, Said(T0_MS, "u_1", A)), return_exceptions=False)
    sent = sum(first(each)["action"] == "send" for each in answers)  # type: ignore[arg-type]  # `gather` says that it may be an exception
    while await sends(flow, "u_1", "thrice"):
        sent += 1
    assert sent == 3
    assert await flow.services.client.zcard(flow.services.keys.of("u_1").ledger) == 3
    assert await flow.services.client.zcard(flow.services.keys.of(own(flow)).ledger) == 0


async def test_a_refusal_of_the_visitor_holds_for_the_user(flow: Flow) -> None:
    await flow.know("u_1", **KNOWN)
    await customers(flow).suppress(own(flow), "*", SuppressionReason.MANUAL, "desk", None)
    await told(flow, Said(T0_MS, "u_1", A))
    assert first(await flow.decide("u_1", "weekly"))["reason"] == "suppressed:manual"


async def test_a_second_user_within_the_lateness_leaves_the_visitor_nobody_s(flow: Flow) -> None:
    await told(flow, Said(T0_MS, "u_1", A), Said(T0_MS + HOUR_MS, "u_2", A))
    assert await who(flow) == own(flow)
    assert (await flow.decide(own(flow), "weekly")).customer == own(flow)


async def test_a_second_user_later_on_merges_nothing_more_and_what_was_merged_stays(flow: Flow) -> None:
    await told(flow, Said(T0_MS, "u_1", A))
    assert await who(flow) == "u_1"
    await told(flow, Said(T0_MS + 9 * HOUR_MS, "u_2", A))
    shared = shared_customer(visitor("a", flow.services.hash_key))
    assert await who(flow) == shared, "whoever is there now, it is not known"
    assert (await flow.decide(own(flow), "weekly")).customer == "u_1"


async def test_it_makes_no_difference_that_settling_was_late(flow: Flow) -> None:
    """Nobody settled for hours: as if somebody had, one after the other."""
    await told(flow, Said(T0_MS + 9 * HOUR_MS, "u_2", A), Said(T0_MS, "u_1", A))
    assert await who(flow) == shared_customer(visitor("a", flow.services.hash_key))
    assert (await flow.decide(own(flow), "weekly")).customer == "u_1"


async def test_users_who_turn_out_to_be_one_get_their_shared_visitor_back(flow: Flow) -> None:
    await told(flow, Said(T0_MS, "u_1", A), Said(T0_MS, "u_2", A))
    await told(flow, Said(T0_MS + 9 * HOUR_MS, "u_2", before="u_1"))
    assert await who(flow) == "u_2"
    assert (await flow.decide("u_1", "weekly")).customer == "u_2"


async def test_so_do_users_whom_somebody_merged_by_hand(flow: Flow) -> None:
    await told(flow, Said(T0_MS, "u_1", A), Said(T0_MS + 9 * HOUR_MS, "u_2", A))
    await merges_of(flow).merge("u_1", "u_2", "desk", "ticket 7")
    await told(flow)
    assert await who(flow) == "u_2"


async def test_who_was_erased_becomes_nobody_and_nobody_becomes_them(flow: Flow) -> None:
    await customers(flow).suppress("u_1", "*", SuppressionReason.ERASED, "desk", None)
    await told(flow, Said(T0_MS, "u_1", A), Said(T0_MS, "u_2", before="u_1"))
    assert await who(flow) == own(flow)
    assert (await flow.decide("u_1", "weekly")).customer == "u_1"
    assert await flow.services.client.zcount(CTL_CLAIMS_DUE, 0, T0_MS + HOUR_MS) == 0


async def test_aliases_in_a_circle_end(flow: Flow) -> None:
    circle = [Said(T0_MS, "u_2", before="u_1"), Said(T0_MS, "u_3", before="u_2"), Said(T0_MS, "u_1", before="u_3")]
    await told(flow, *circle)
    assert len({(await flow.decide(user, "weekly")).customer for user in ("u_1", "u_2", "u_3")}) == 1


@pytest.mark.parametrize("known", [True, False])
async def test_an_alias_that_may_mean_a_visitor_makes_users_one_only_if_there_was_such_a_user(
    flow: Flow, known: bool
) -> None:
    """Segment's `previousId` does not say which it is. On one device two people may sign up with such an alias each."""
    entries = [
        Said(T0_MS, user, before="x").entry(flow.services.hash_key)._replace(
            previous=(*Said(T0_MS, user, before="x").entry(flow.services.hash_key).previous,
                      visitor("x", flow.services.hash_key))
        )
        for user in ("u_1", "u_2")
    ]  # fmt: skip
    one = process(flow)
    await one.apply(entries)
    await complete_until(flow.services.client, flow.services.keys, T0_MS)
    await one.settle()
    if known:
        await flow.know("x", region="DE")  # what came of it late
    await complete_until(flow.services.client, flow.services.keys, T0_MS + 10**10)
    await one.settle()
    await one.settle()
    people = {(await flow.decide(user, "weekly")).customer for user in ("x", "u_1", "u_2")}
    assert len(people) == (1 if known else 3)
    assert await flow.services.client.zcount(CTL_CLAIMS_DUE, 0, T0_MS + 10**9) == 0


async def test_an_address_is_linked_and_nobody_is_made_up_for_it(flow: Flow) -> None:
    key = flow.services.hash_key
    mail = address("m", key)
    entry = Said(T0_MS, "u_1").entry(key)
    one = process(flow)
    await one.apply([entry._replace(edges=(*entry.edges, mail))])
    await complete_until(flow.services.client, flow.services.keys, T0_MS + HOUR_MS)
    await one.settle()
    assert await flow.services.client.get(f"id:email_sha256:{mail.hash.hex()}") == b"u_1"
    assert await flow.services.client.exists(flow.services.keys.profile(own_customer(mail))) == 0
    # One of its events was on its way while it was linked.
    await flow.know(own_customer(mail), region="DE")
    await complete_until(flow.services.client, flow.services.keys, T0_MS + 2 * HOUR_MS)
    await one.settle()
    assert (await flow.decide(own_customer(mail), "weekly")).customer == "u_1"


async def test_a_user_id_that_is_everybody_s_does_not_make_everybody_one(flow: Flow) -> None:
    """Some client sends `null` as a text."""
    aliases = flow.services.keys.aliases("null")
    await flow.services.client.sadd(aliases, *(f"id:external:{number:032x}" for number in range(CROWD)))
    await told(flow, *(Said(T0_MS, "null", (("anonymous_id", name),)) for name in ("a", "b")))
    assert [await who(flow, name) for name in ("a", "b")] == [own(flow, "a"), own(flow, "b")]
    assert await flow.services.client.scard(aliases) == CROWD + 1


async def test_what_somebody_linked_by_hand_stays(flow: Flow) -> None:
    await flow.know("cus_hand", region="DE", identities={"anonymous_id": "a"})
    await told(flow, Said(T0_MS, "u_1", A))
    assert await who(flow) == "cus_hand"
    assert (await flow.decide(own(flow), "weekly")).customer == own(flow), "and nothing becomes the user's"


async def test_a_user_id_that_was_linked_later_is_the_same_user(flow: Flow) -> None:
    """An import gives the user a key of its own after the first events: both are told with one visitor."""
    await told(flow, Said(T0_MS, "u_1", A), until_ms=T0_MS)
    await flow.know("cus_8", region="DE", identities={"user_id": "u_1"})
    entry = Said(T0_MS + 5, "u_1", A).entry(flow.services.hash_key)._replace(customer="cus_8")
    one = process(flow)
    await one.apply([entry])
    await complete_until(flow.services.client, flow.services.keys, T0_MS + 10**10)
    await one.settle()
    assert await who(flow) == "cus_8"


async def test_whoever_dies_while_settling_leaves_it_to_the_others(flow: Flow) -> None:
    """At every step of the merge, and once more while everybody else does the same."""
    steps = 0
    for at in range(1, 30):
        mortal = Mortal(store_of(flow), at, after=at % 2 == 0)
        name = f"v{at}"
        dying, living = process(flow, Merges(mortal)), process(flow)  # type: ignore[arg-type]  # a stand-in that dies on the way
        await flow.know(own(flow, name), **KNOWN)
        await dying.apply([Said(T0_MS, f"user_{at}", (("anonymous_id", name),)).entry(flow.services.hash_key)])
        await complete_until(flow.services.client, flow.services.keys, T0_MS + 10**10)
        await dying.settle()
        await asyncio.gather(living.settle(), process(flow).settle())
        assert await who(flow, name) == f"user_{at}"
        assert first(await flow.decide(f"user_{at}", "weekly"))["action"] == "send", "it waits for nothing"
        steps = max(steps, mortal.steps)
        if mortal.steps < at:
            break
    assert steps >= 9


async def entries_of(flow: Flow, stream: bytes) -> list[Collected]:
    held: Any = await flow.services.client.xrange(stream)
    return [decode(entry[b"e"]) for _, entry in held]


@pytest.mark.parametrize("folds", [True, False])
async def test_what_was_folded_of_the_loser_is_sent_for_if_anything_is_folded(flow: Flow, folds: bool) -> None:
    services = flow.services
    bundle = folding_bundle(flow) if folds else services.bundle
    steps = MergeStore(services.client, services.keys, services.fields, bundle, on_disk_within_ms=0)
    await Merges(steps).merge("u_1", "u_2", "desk", "")
    stream = services.keys.events(services.keys.shard_of("u_1"))
    found = await entries_of(flow, stream)
    assert [(each.customer, each.type, each.properties) for each in found] == (
        [("u_1", CARRY, {"to": "u_2"})] if folds else []
    )


async def test_it_is_sent_for_as_one_thing_however_often_and_never_before_the_loser_is_gone(flow: Flow) -> None:
    services = flow.services
    steps = MergeStore(services.client, services.keys, services.fields, folding_bundle(flow), on_disk_within_ms=0)
    stream = services.keys.events(services.keys.shard_of("u_1"))
    dies_before_the_pointer = Merges(Mortal(steps, 5, after=False))  # type: ignore[arg-type]  # a stand-in that dies on the way
    with pytest.raises(Dies):
        await dies_before_the_pointer.merge("u_1", "u_2", "desk", "")
    assert await services.client.xlen(stream) == 0
    for at in range(6, 12):
        await Merges(Mortal(steps, at, after=True)).finish_what_was_left(0)  # type: ignore[arg-type]  # a stand-in that dies on the way
    await Merges(steps).merge("u_1", "u_2", "desk", "")
    found = await entries_of(flow, stream)
    assert len(found) > 1
    assert len({each.message_id for each in found}) == 1
