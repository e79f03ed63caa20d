"""Commands as bytes."""

from __future__ import annotations

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.store.resp import bulk, command_prefix, pack

WORDS = st.lists(st.binary(max_size=40) | st.text("aZ9 ü€\r\n", max_size=40) | st.integers(), min_size=1, max_size=12)


def as_bytes(word: bytes | str | int) -> bytes:
    return word if isinstance(word, bytes) else str(word).encode()


@given(WORDS)
def test_a_packed_command_holds_its_words_whatever_bytes_they_are(words: list[bytes | str | int]) -> None:
    reader = hiredis.Reader()
    reader.feed(pack(*words))
    assert reader.gets() == [as_bytes(word) for word in words]


@given(WORDS, st.lists(st.binary(max_size=40), max_size=6))
def test_a_prefix_and_its_words_are_the_packed_command(constant: list[bytes | str | int], rest: list[bytes]) -> None:
    prefix = command_prefix(len(constant) + len(rest), *constant)
    assert prefix + b"".join(bulk(word) for word in rest) == pack(*constant, *rest)


def test_a_prefix_longer_than_its_command_is_refused() -> None:
    with pytest.raises(ValueError, match="2 constant words do not fit a command of 1"):
        command_prefix(1, "SCRIPT", "LOAD")
