"""Forms are decoded as Python's own parser does, or not at all, and in a tenth of its time."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.core.webhooks.forms import FIELDS_MAX, fields_of
from app.core.webhooks.provider import Unreadable

PIECES = [
    b"%",
    b"=",
    b"&",
    b"+",
    b"%3D",
    b"%20",
    b"%C3%A4",
    b"%c3",
    b"\n",
    b"\r\n",
    b" ",
    b"a",
    b"4",
    b"_",
    b"\xff",
    b"\x00",
]


@given(st.lists(st.sampled_from(PIECES), max_size=10).map(b"".join) | st.binary(max_size=30))
@example(b"a=%\n")
@example(b"a=%=3D")
@example(b"a=%%41")
@example(b"a=b ")
@example(b"a=b%")
@example(b"a=b%4")
def test_a_form_is_read_as_it_is_or_not_at_all(body: bytes) -> None:
    try:
        fields = fields_of(body)
    except Unreadable:
        return
    assert fields == parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=True, errors="strict")


@given(st.lists(st.tuples(st.text(max_size=8), st.text(max_size=30)), min_size=1, max_size=FIELDS_MAX))
def test_what_a_client_writes_is_read(fields: list[tuple[str, str]]) -> None:
    assert fields_of(urlencode(fields).encode()) == fields


@pytest.mark.parametrize(
    "body", [b"", b"a", b"a&b", b"a=1&", b"a=%", b"a=%4", b"a=%zz", b"a=%ff", b"&".join([b"a=1"] * 17)]
)
def test_what_is_no_form_is_unreadable(body: bytes) -> None:
    with pytest.raises(Unreadable):
        fields_of(body)
