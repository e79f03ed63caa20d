"""Who a request is about: keys, aliases, and what must never become either."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.identity import (
    KEY,
    KINDS,
    Alias,
    Refusal,
    alias_of,
    fallback_key,
    identity_hash,
    key_refusal,
    resolve_reference,
)

HASH_KEY = b"secret"
DIGEST = "ab" * 32


@pytest.mark.parametrize("key", ["cus_8f3a", "0", "19999", "5551234567", "A-b_9", "x" * 64, "550e8400-e29b-41d4-a716"])
def test_a_surrogate_is_a_customer_key(key: str) -> None:
    assert key_refusal(key) is None


@pytest.mark.parametrize(
    "key",
    [
        "jane@example.com",
        "+4930123456",
        "555-123-4567",
        "555_123_4567",
        "(555) 123-4567",
        "030/123.45.67",
        "555 1234",
        "-5551234",
    ],
)
def test_what_looks_like_an_address_or_a_phone_number_is_no_customer_key(key: str) -> None:
    refusal = key_refusal(key)
    assert refusal is not None
    assert refusal.code == "direct_identifier"
    assert key not in refusal.detail


@pytest.mark.parametrize("key", ["", "x" * 65, "a b", "a/b", "käse", "a\n", "１２３", "a.b"])
def test_a_key_of_other_characters_or_length_is_refused(key: str) -> None:
    refusal = key_refusal(key)
    assert refusal is not None
    assert refusal.code == "invalid_request"


def test_short_numbers_with_separators_are_not_taken_for_phones() -> None:
    assert key_refusal("12-34-56") is None


def test_a_reference_is_a_key_or_exactly_one_alias() -> None:
    assert resolve_reference("cus_1") == "cus_1"
    assert resolve_reference({"user_id": "4711"}) == Alias("user_id", "4711")
    assert isinstance(resolve_reference({}), Refusal)
    assert isinstance(resolve_reference({"user_id": "1", "external": "2"}), Refusal)
    assert isinstance(resolve_reference({"email": "jane@example.com"}), Refusal)


def test_digests_are_compared_without_regard_to_case_and_checked_for_form() -> None:
    assert alias_of("email_sha256", DIGEST.upper()) == Alias("email_sha256", DIGEST)
    assert isinstance(alias_of("email_sha256", "jane@example.com"), Refusal)
    assert isinstance(alias_of("phone_sha256", DIGEST + "0"), Refusal)
    assert isinstance(alias_of("external", ""), Refusal)
    assert isinstance(alias_of("external", "x" * 257), Refusal)


def test_a_user_id_that_may_be_a_key_is_the_key() -> None:
    assert fallback_key("user_id", "cus_8f3a", HASH_KEY) == "cus_8f3a"


@pytest.mark.parametrize("user_id", ["jane@example.com", "555_123_4567", "a user", "x" * 65])
def test_a_user_id_that_may_not_be_a_key_is_hashed(user_id: str) -> None:
    key = fallback_key("user_id", user_id, HASH_KEY)
    assert key == "cus_" + identity_hash("user_id", user_id, HASH_KEY)
    assert len(key) == 36


def test_aliases_of_other_kinds_are_always_hashed() -> None:
    assert fallback_key("anonymous_id", "cus_8f3a", HASH_KEY) != "cus_8f3a"


@given(st.sampled_from(KINDS), st.text(min_size=1, max_size=256), st.binary(min_size=1, max_size=100))
def test_the_key_of_an_unlinked_alias_is_always_a_customer_key(kind: str, value: str, hash_key: bytes) -> None:
    assert KEY.fullmatch(fallback_key(kind, value, hash_key))
    assert key_refusal(fallback_key(kind, value, hash_key)) is None


def test_the_hash_depends_on_the_kind_the_value_and_the_secret() -> None:
    same = identity_hash("user_id", "4711", HASH_KEY)
    assert same == identity_hash("user_id", "4711", HASH_KEY)
    others = {
        identity_hash("external", "4711", HASH_KEY),
        identity_hash("user_id", "4712", HASH_KEY),
        identity_hash("user_id", "4711", b"other"),
        identity_hash("user_id", "4711", b"k" * 65),
        identity_hash("user_id", "4711", b"k" * 66),
    }
    assert len(others) == 5
    assert same not in others
