"""Tokens of unsubscribe links: nobody can make one, change one or read one, and old ones keep working."""

from __future__ import annotations

import base64
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.unsubscribe import Keyring, Link, keyring
from app.core.unsubscribe_keys import key_of, parse_secrets

ONE = "a" * 32
OTHER = "b" * 32
HASH_KEY = b"the deployment's"
LINK = Link("marketing", "email", "cus_8f3a1", bytes.fromhex("0110197a1c2b3c4d5e6f70819200"))
NAMES = st.from_regex(r"[a-z0-9_]{1,48}", fullmatch=True)
LINKS = st.builds(
    Link, NAMES, NAMES, st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True), st.binary(min_size=14, max_size=14)
)


def ring(configured: str | None = None, hash_key: bytes = HASH_KEY) -> Keyring:
    made = keyring(configured, hash_key)
    assert made is not None
    return made


TOKEN = ring().seal(LINK)


@given(LINKS)
def test_a_token_says_what_was_sealed_and_the_same_link_is_the_same_token(link: Link) -> None:
    token = ring().seal(link)
    assert ring().open(token) == link
    assert Keyring([("0", key_of(HASH_KEY))]).seal(link) == token


@given(LINKS)
def test_a_token_fits_a_url_and_a_line_of_a_header(link: Link) -> None:
    token = ring().seal(link)
    assert re.fullmatch(r"[A-Za-z0-9._-]+", token)
    assert len(token) < 300
    if len(link.purpose) + len(link.channel) <= 40:
        assert len(token) < 200


@given(st.integers(0, len(TOKEN) - 1), st.characters(codec="latin-1"))
def test_any_other_character_and_a_token_does_not_open(place: int, other: str) -> None:
    changed = TOKEN[:place] + other + TOKEN[place + 1 :]
    assert (ring().open(changed) is None) == (changed != TOKEN)


def test_no_other_spelling_of_the_same_bytes_opens() -> None:
    """The last character of base64 may hold bits that belong to no byte."""
    others = set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") - {TOKEN[-1]}
    assert [last for last in sorted(others) if ring().open(TOKEN[:-1] + last) is not None] == []


@given(st.integers(0, len(TOKEN) - 1), st.text(max_size=8))
def test_a_token_that_is_cut_or_lengthened_does_not_open(length: int, more: str) -> None:
    assert ring().open(TOKEN[:length]) is None
    assert (ring().open(TOKEN + more) is None) == (more != "")
    assert (ring().open(more + TOKEN) is None) == (more != "")


@given(st.text())
def test_text_is_no_token(text: str) -> None:
    assert ring().open(text) is None


def test_every_single_bit_of_a_token_counts() -> None:
    head, _, sealed = TOKEN.rpartition(".")
    raw = base64.urlsafe_b64decode(sealed + "=" * (-len(sealed) % 4))
    for place in range(len(raw) * 8):
        flipped = bytearray(raw)
        flipped[place // 8] ^= 1 << place % 8
        assert ring().open(f"{head}.{base64.urlsafe_b64encode(flipped).rstrip(b'=').decode()}") is None


def test_nobody_reads_the_customer_or_the_purpose_in_a_token() -> None:
    sealed = base64.urlsafe_b64decode(TOKEN.rpartition(".")[2] + "==")
    assert LINK.decision not in sealed
    assert not [name for name in (b"cus_8f3a1", b"marketing", b"email") if name in sealed]


def test_a_token_of_another_key_does_not_open() -> None:
    assert ring(hash_key=b"of another deployment").open(TOKEN) is None
    assert ring(f"k1:{OTHER}").open(ring(f"k1:{ONE}").seal(LINK)) is None


def test_a_token_cannot_be_passed_off_as_made_with_another_key() -> None:
    both = ring(f"k1:{ONE},k2:{ONE}")
    assert both.open(both.seal(LINK).replace("1.k1.", "1.k2.")) is None


def test_links_outlive_the_change_of_keys_until_their_key_is_taken_away() -> None:
    derived, first = ring(), ring(f"k1:{ONE}")
    then = ring(f"k2:{OTHER},k1:{ONE}")
    assert then.seal(LINK).startswith("1.k2.")
    assert [then.open(each.seal(LINK)) for each in (derived, first, then)] == [LINK] * 3
    assert ring(f"k2:{OTHER}").open(first.seal(LINK)) is None
    assert ring(f"k2:{OTHER}").open(derived.seal(LINK)) == LINK


def test_nodes_with_the_same_hash_key_agree_and_none_has_a_key_before_it_knows_it() -> None:
    assert ring().open(Keyring([("0", key_of(HASH_KEY))]).seal(LINK)) == LINK
    assert keyring(None, b"") is None
    assert ring(f"k1:{ONE}", b"").open(ring(f"k1:{ONE}").seal(LINK)) == LINK


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        (" , ", "empty"),
        (ONE, "`id:secret`"),
        (f":{ONE}", "`id:secret`"),
        (f"0:{ONE}", "not `0`"),
        (f"k-1:{ONE}", "letters or digits"),
        ("k1:short", "32 characters"),
        (f"k1:{ONE},k1:{OTHER}", "twice"),
    ],
)
def test_secrets_that_cannot_be_used_are_refused_with_the_remedy_and_not_repeated(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)) as refused:
        parse_secrets(text)
    assert ONE not in str(refused.value)
    assert "short" not in str(refused.value)


def test_secrets_may_hold_colons_and_stand_apart() -> None:
    assert parse_secrets(f"k1:{ONE}:x , k2:{OTHER}") == (("k1", f"{ONE}:x"), ("k2", OTHER))
