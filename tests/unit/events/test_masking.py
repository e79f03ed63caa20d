"""No direct identifier is stored: not of what is collected, and not of what is put aside."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.events import native
from app.core.events.entry import decode, decode_letter, encode, encode_letter
from app.core.events.event import Arrived, Collected, Edge, Letter, Misfit, Misfits
from app.core.events.masking import email_digest, names_somebody, phone_digest, shown_name, shown_source
from app.core.events.quality import judge_again
from app.core.events.who import who_is_it
from tests.support.event_bundle import HASH_KEY, event_bundle, judged, told

DIRECT = ["ada@example.com", "+49 30 1234567", "555-123-4567", "(555) 123 4567", "192.0.2.17", "2001:db8::17"]


@pytest.mark.parametrize("text", [*DIRECT, "call 555-123-4567 now", "from ada@example.com"])
def test_what_names_somebody_is_seen(text: str) -> None:
    assert names_somebody(text)


@pytest.mark.parametrize(
    "text",
    ["p1", "Home & Garden", "2026-12-01", "1299.90", "-12345678.9", "4711", "123e4567-e89b-12d3-a456-426614174000",
     "https://shop.example.com/p/1", "v1.2.3", "size 10 - 12", "Crème brûlée"],
)  # fmt: skip
def test_what_names_nobody_stays_readable(text: str) -> None:
    assert not names_somebody(text)


@pytest.mark.parametrize("text", DIRECT)
def test_a_property_that_names_somebody_is_stored_as_a_hash(text: str) -> None:
    first = judged(told("product_viewed", {"product_id": "p1", "search_text": text})).result
    again = judged(told("product_viewed", {"product_id": "p2", "search_text": text})).result
    assert isinstance(first, Collected)
    assert isinstance(again, Collected)
    assert first.properties["search_text"] == again.properties["search_text"] != text
    assert text.encode() not in encode(first)


def test_what_the_matrix_hashes_or_drops_is_not_kept_in_clear() -> None:
    result = judged(told("product_viewed", {"product_id": "p1", "session": "summer", "ip_address": "x"}))
    assert isinstance(result.result, Collected)
    assert result.result.properties.keys() == {"product_id", "session"}
    assert b"summer" not in encode(result.result)
    assert result.properties_dropped == 0  # it was declared


@pytest.mark.parametrize("text", DIRECT)
def test_a_letter_holds_no_direct_identifier(text: str) -> None:
    result = judged(
        Arrived(
            "track",
            "product_viewed",
            (("user_id", text), ("email", text)),
            {"price": text, "search_text": text, "session": text, "ip_address": text, "note": text, text: 1},
            source=text,
            message_id=text,
        )
    ).result
    assert isinstance(result, Letter)
    assert text not in repr(result)
    assert text.encode() not in encode_letter(result)


def test_a_letter_keeps_nothing_that_the_bundle_does_not_declare() -> None:
    result = judged(told("product_viewed", {"price": 1, "first_name": "Ada", "nested": {"a": 1}})).result
    assert isinstance(result, Letter)
    assert result.properties == {"price": 1}


def test_a_customer_key_that_names_somebody_is_refused() -> None:
    arrived = native.message({"event": "product_viewed", "customer": "ada@example.com"})
    assert isinstance(arrived, Arrived)
    found = who_is_it(arrived, frozenset())
    assert isinstance(found, Misfit)
    assert found.code is Misfits.DIRECT_IDENTIFIER
    assert "ada" not in found.detail


def test_an_address_is_digested_as_everybody_digests_it() -> None:
    assert email_digest("  Ada@Example.COM ") == email_digest("ada@example.com")
    assert email_digest("ada") is None
    assert phone_digest("+49 (30) 123-4567") == phone_digest("0049301234567")
    assert phone_digest("030 1234567") is None  # whose country nobody knows


def test_names_are_repeated_only_where_they_are_names() -> None:
    assert shown_name("Product Viewed") == "`Product Viewed`"
    assert "ada" not in shown_name("ada@example.com")
    assert shown_source("https://shop.example.com/a?mail=ada@example.com#x") == "https://shop.example.com/a"
    assert shown_source("ada@example.com") == ""


# Judged again


def test_a_letter_is_taken_when_the_bundle_allows_it_now() -> None:
    result = judged(told("product_viewed", {"price": 3}, message_id="m1")).result
    assert isinstance(result, Letter)
    assert isinstance(judge_again(result, event_bundle().events, HASH_KEY), Misfit)
    mended = result._replace(properties={"product_id": "p1", "price": 3})
    taken = judge_again(mended, event_bundle().events, HASH_KEY)
    assert isinstance(taken, Collected)
    usual = judged(told("product_viewed", {"product_id": "p1", "price": 3}, message_id="m1")).result
    assert taken == usual


def test_judging_again_hashes_nothing_twice() -> None:
    kept = {"order_id": "555-123-4567", "revenue": 1}
    usual = judged(told("order_completed", kept)).result
    letter = judged(told("order_completed", kept | {"revenue": "much"})).result
    assert isinstance(letter, Letter)
    taken = judge_again(
        letter._replace(properties={**letter.properties, "revenue": 1}), event_bundle().events, HASH_KEY
    )
    assert isinstance(taken, Collected)
    assert isinstance(usual, Collected)
    assert (taken.properties, taken.once) == (usual.properties, usual.once)


def test_a_hash_of_a_letter_is_the_same_hash_when_it_is_judged_again() -> None:
    told_ = {"product_id": "p1", "session": "summer"}
    usual = judged(told("product_viewed", told_)).result
    letter = judged(told("product_viewed", told_ | {"price": -1})).result
    assert isinstance(usual, Collected)
    assert isinstance(letter, Letter)
    taken = judge_again(letter._replace(properties={**letter.properties, "price": 1}), event_bundle().events, HASH_KEY)
    assert isinstance(taken, Collected)
    assert taken.properties["session"] == usual.properties["session"]


def test_a_text_too_long_for_a_letter_is_left_out_and_not_cut_short() -> None:
    letter = judged(told("product_viewed", {"product_id": "p" * 2000})).result
    assert isinstance(letter, Letter)
    assert letter.properties == {}


def test_a_letter_that_lost_something_is_not_taken_without_it() -> None:
    """Or a refused event would come in by the back door, smaller than it was."""
    for properties in ({"product_id": "p1", "price": [3]}, {"product_id": "p1", "search_text": "x" * 2000}):
        letter = judged(told("product_viewed", properties)).result
        assert isinstance(letter, Letter)
        assert not letter.redrivable
        assert judge_again(letter, event_bundle().events, HASH_KEY) == letter.misfit
    undeclared = judged(told("order_completed", {"order_id": "o1", "voucher": 1})).result
    assert isinstance(undeclared, Letter)
    assert judge_again(undeclared, event_bundle().events, HASH_KEY) == undeclared.misfit


def test_a_letter_of_nobody_is_never_taken() -> None:
    letter = Letter(Misfit(Misfits.MALFORMED, "x"), "", "", 0, None, 1, b"12345678", {})
    assert judge_again(letter, event_bundle().events, HASH_KEY) == letter.misfit


# As bytes

edges = st.lists(st.builds(Edge, st.sampled_from(["user_id", "anonymous_id"]), st.binary(min_size=16, max_size=16)))
values = st.one_of(st.text(max_size=20), st.integers(-(2**53), 2**53), st.floats(allow_nan=False), st.booleans())
properties = st.dictionaries(st.text(max_size=10), values, max_size=5)
eight = st.binary(min_size=8, max_size=8)
times = st.integers(0, 2**45)


@given(
    st.text(max_size=64), st.integers(0, 99), times, times, eight, eight, properties, edges, edges, st.text(max_size=9)
)
def test_an_event_is_read_as_it_was_written(
    customer: str, version: int, occurred: int, waited: int, message: bytes, once: bytes, said: dict[str, Any],
    told_: list[Edge], before: list[Edge], source: str,
) -> None:  # fmt: skip
    event = Collected(
        customer,
        "viewed",
        version,
        occurred,
        occurred + waited,
        message,
        once,
        said,
        tuple(told_),
        tuple(before),
        source,
    )
    assert decode(encode(event)) == event


@given(st.sampled_from(Misfits), st.none() | times, properties, edges)
def test_a_letter_is_read_as_it_was_written(
    code: Misfits, at: int | None, said: dict[str, Any], told_: list[Edge]
) -> None:
    letter = Letter(Misfit(code, "why"), "cus_1", "viewed", 1, at, 7, b"12345678", said, tuple(told_))
    assert decode_letter(encode_letter(letter)) == letter


def test_an_entry_of_another_layout_is_not_guessed_at() -> None:
    import ormsgpack

    for raw in (b"\x00", ormsgpack.packb([2, "x"]), ormsgpack.packb({})):
        with pytest.raises(ValueError, match="layout"):
            decode(raw)


def test_a_usual_event_is_small() -> None:
    event = judged(told("product_viewed", {"product_id": "p_4711", "category": "shoes", "price": 12.5})).result
    assert isinstance(event, Collected)
    assert len(encode(event)) <= 110
