"""Ledger members: what is written is read back, what is not understood is never taken for less than it is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis

from app.store.fields import FieldRegistry
from app.store.ledger import LedgerCodec, kind_names
from app.store.profile import UnknownField
from policy.facts import Contact
from tests.support.contract import contract_bundle

KINDS = sorted(kind_names(contract_bundle()))
PACKED = bytes(range(14))


def codec(*more: str) -> LedgerCodec:
    known = FieldRegistry(Redis())
    known.learn((name, b"k%d" % number) for number, name in enumerate([*KINDS, *more]))
    return LedgerCodec(known)


def read(codec_: LedgerCodec, member: bytes, at_ms: int = 1000) -> Contact:
    (contact,) = codec_.decode([member, b"%d" % at_ms])
    return contact


@given(
    packed=st.binary(min_size=14, max_size=14),
    which=st.integers(0, len(KINDS) - 1),
    at_ms=st.integers(0, 2**44 - 1),
    length_ms=st.integers(0, 400 * 86_400_000),
    confirmed=st.booleans(),
    engaged=st.booleans(),
)
def test_what_is_written_is_read_back(
    packed: bytes, which: int, at_ms: int, length_ms: int, confirmed: bool, engaged: bool
) -> None:
    store = codec()
    kind = read(store, PACKED + b"k%d,0" % which).kind
    contact = Contact(packed, kind, at_ms, at_ms + length_ms, confirmed, engaged)
    member = store.encode(contact)
    assert read(store, member, at_ms) == contact
    assert len(member) <= 64


def test_a_member_without_letters_is_what_earlier_releases_wrote() -> None:
    store = codec()
    contact = read(store, PACKED + b"k0,3600000")
    assert (contact.not_before_ms, contact.not_after_ms) == (1000, 3_601_000)
    assert (contact.confirmed, contact.engaged) == (False, False)
    assert store.encode(contact) == PACKED + b"k0,3600000"


@pytest.mark.parametrize(
    ("letters", "confirmed", "engaged"), [(b"s", True, False), (b"e", False, True), (b"se", True, True)]
)
def test_letters_say_that_it_was_sent_and_that_somebody_looked(letters: bytes, confirmed: bool, engaged: bool) -> None:
    store = codec()
    contact = read(store, PACKED + b"k0,0," + letters)
    assert (contact.confirmed, contact.engaged) == (confirmed, engaged)
    assert store.encode(contact) == PACKED + b"k0,0," + letters


def test_letters_of_later_releases_are_passed_over() -> None:
    contact = read(codec(), PACKED + b"k0,0,sxz")
    assert (contact.confirmed, contact.engaged) == (True, False)


@pytest.mark.parametrize("end", [b"", b"k0", b"k0,", b"k0,x", b"k0,1s"])
def test_a_broken_member_is_an_error_and_not_fewer_contacts(end: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        read(codec(), PACKED + end)


@pytest.mark.parametrize("end", [b"k999,0", b"k999,0,s"])
def test_a_kind_that_nobody_knows_is_an_error_and_not_fewer_contacts(end: bytes) -> None:
    with pytest.raises(UnknownField):
        read(codec(), PACKED + end)


def test_one_kind_is_one_object_whatever_became_of_the_contact() -> None:
    """Which limits count a contact is looked up by that object."""
    store = codec()
    assert read(store, PACKED + b"k1,0").kind is read(store, PACKED + b"k1,3600000,se").kind
