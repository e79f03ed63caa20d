"""Decision ids: text, parts and fourteen bytes are one and the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.decision.ids import DecisionId, base_of, id_at, pack_id, parse_id, reserved_at_ms, unpack_id

IDS = st.builds(
    DecisionId,
    st.integers(0, 0xFFF),
    st.integers(0, 0xFFFFFFFFFFF),
    st.integers(0, 0xFFFFFFFFFFFF),
    st.integers(0, 0xFF),
)


@given(IDS)
def test_an_id_is_the_same_as_text_as_parts_and_as_bytes(made: DecisionId) -> None:
    text = str(made)
    assert text == id_at(base_of(made.shard, made.at_ms, made.chance), made.place) == f"dec_{made.base}{made.place:02x}"
    assert parse_id(text) == made
    assert made.packed == pack_id(text)
    assert unpack_id(made.packed) == text
    assert reserved_at_ms(made.packed) == made.at_ms


@pytest.mark.parametrize(
    "text",
    ["", "dec_", "dec_" + "0" * 27, "dec_" + "0" * 29, "dec_" + "0" * 27 + "G", "DEC_" + "0" * 28, "dec_" + "A" * 28,
     "dec_" + "0" * 28 + "\n", " dec_" + "0" * 28, "dec_" + "٣" * 28],
)  # fmt: skip
def test_what_is_no_id_of_ours_is_none(text: str) -> None:
    assert parse_id(text) is None
