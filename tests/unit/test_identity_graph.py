"""Whose an identity is, by all that was told of it."""

from __future__ import annotations

from app.core.events.entry import decode, encode
from app.core.identity import fallback_key
from app.core.identity_graph import (
    Belongs,
    Claim,
    Pending,
    Shared,
    Unclaimed,
    alias_of,
    claims_of,
    joined,
    own_customer,
    owner_of,
)
from tests.support.identities import HASH_KEY, HOUR_MS, T0_MS, Said, address, visitor

LATE = T0_MS + 1000 * HOUR_MS
A: tuple[tuple[str, str], ...] = (("anonymous_id", "a"),)


def test_a_visitor_belongs_to_the_first_user_once_nobody_earlier_can_be_told_of() -> None:
    claims = {"u_1": T0_MS}
    assert owner_of(claims, T0_MS + HOUR_MS - 1, HOUR_MS) == Pending("u_1", T0_MS + HOUR_MS)
    assert owner_of(claims, T0_MS + HOUR_MS, HOUR_MS) == Belongs("u_1", T0_MS)
    assert owner_of({}, LATE, HOUR_MS) == Unclaimed()


def test_a_second_user_makes_it_shared_from_the_moment_on_in_which_that_is_known() -> None:
    both = {"u_1": T0_MS, "u_2": T0_MS + 1}
    assert owner_of(both, T0_MS, HOUR_MS) == owner_of(both, LATE, HOUR_MS) == Shared(None, T0_MS + 1)


def test_who_had_it_alone_for_longer_than_the_lateness_was_the_first() -> None:
    late = T0_MS + HOUR_MS
    assert owner_of({"u_2": late + 1, "u_1": T0_MS}, LATE, HOUR_MS) == Shared("u_1", late + 1)
    assert owner_of({"u_2": late, "u_1": T0_MS}, LATE, HOUR_MS) == Shared(None, late)


def test_users_who_tell_of_it_at_the_same_moment_share_it() -> None:
    assert owner_of({"u_2": T0_MS, "u_1": T0_MS}, LATE, HOUR_MS) == Shared(None, T0_MS)


def test_claims_of_users_who_are_one_are_one_claim_the_earliest() -> None:
    told = [("u_1", 5), ("u_2", 3), ("u_3", 4)]
    assert joined(told) == dict(told)
    assert joined(told, {"u_1": "u_3", "u_2": "u_3"}) == {"u_3": 3}


def test_a_user_claims_what_was_told_with_it_and_not_its_own_id() -> None:
    entry = Said(T0_MS, "u_1", (*A, ("email_sha256", "ab" * 32))).entry()  # type: ignore[arg-type]  # pairs of texts
    assert [claim.identity.kind for claim in claims_of(entry, HASH_KEY)] == ["anonymous_id", "email_sha256"]
    assert next(claims_of(entry, HASH_KEY)) == Claim(visitor("a"), "u_1", T0_MS)
    other_id = "anna b."  # no customer key can be written so: the customer is a hash of it
    entry = Said(T0_MS, other_id, A).entry()._replace(customer=fallback_key("user_id", other_id, HASH_KEY))  # type: ignore[arg-type]  # pairs of texts
    assert [claim.identity for claim in claims_of(entry, HASH_KEY)] == [visitor("a")]


def test_a_customer_who_was_told_by_a_key_claims_the_user_id_told_with_it() -> None:
    entry = Said(T0_MS, "u_1").entry()._replace(customer="cus_7")
    assert [(claim.identity.kind, claim.customer) for claim in claims_of(entry, HASH_KEY)] == [("user_id", "cus_7")]


def test_what_is_told_without_a_known_customer_claims_nothing() -> None:
    """Two visitors who leave one address are not one person by that."""
    both = (visitor("a"), address("m"))
    entry = Said(T0_MS, "x").entry()._replace(customer=own_customer(both[0]), edges=both, known=False)
    assert list(claims_of(entry, HASH_KEY)) == []


def test_an_alias_of_a_visitor_claims_it_and_one_of_a_user_makes_the_two_one() -> None:
    entry = Said(T0_MS, "u_2", before="u_1").entry()
    found = alias_of(entry)
    assert found is not None
    assert (found.loser, found.winner, found.sure) == ("u_1", "u_2", True)
    assert list(claims_of(entry, HASH_KEY)) == []
    unsure = entry._replace(previous=(*entry.previous, visitor("u_1")))
    found = alias_of(unsure)
    assert found is not None
    assert not found.sure, "it does not say whether it means a user or a visitor"
    assert [claim.identity for claim in claims_of(unsure, HASH_KEY)] == [visitor("u_1")]
    only_visitor = entry._replace(previous=(visitor("u_1"),), previous_customer="")
    assert alias_of(only_visitor) is None
    assert alias_of(entry._replace(known=False)) is None, "nobody known becomes a visitor"
    assert alias_of(Said(T0_MS, "u_1", before="u_1").entry()) is None


def test_who_is_known_is_in_the_stream_and_entries_without_it_are_read_still() -> None:
    entry = Said(T0_MS, "u_2", before="u_1").entry()
    assert decode(encode(entry)) == entry
    assert decode(encode(entry._replace(edges=(), previous=()))).previous_customer == "u_1"
    earlier = entry._replace(known=False, previous_customer="")
    assert decode(encode(earlier)) == earlier
