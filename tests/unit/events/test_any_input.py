"""Whatever is sent, every event is collected, passed over or put aside: nothing is lost and nothing breaks."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.events import cloudevents, native, segment
from app.core.events.entry import decode, decode_letter, encode, encode_letter
from app.core.events.event import Arrived, Collected, Letter, Misfit
from app.core.events.json_text import EVENT_BYTES_MAX, NotJson, parsed, parsed_lines, soundly
from app.core.events.quality import Passed, judge_again
from app.core.events.who import who_is_it
from tests.support.event_bundle import HASH_KEY, event_bundle, judged

texts = st.text(st.characters(), max_size=30) | st.sampled_from(
    ["", "product_viewed", "Order Completed", "p1", "a@example.com", "nan"]
)
numbers = st.integers() | st.floats() | st.booleans()
json_values = st.recursive(
    st.none() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
NAMES = {
    "native": ["event", "customer", "at", "id", "properties", "version", "source", "previous"],
    "segment": ["type", "event", "userId", "anonymousId", "previousId", "properties", "traits", "context", "timestamp",
                "originalTimestamp", "sentAt", "messageId", "groupId", "name", "category"],
    "cloudevents": ["specversion", "id", "source", "type", "subject", "time", "data", "data_base64", "userid"],
}  # fmt: skip
GOOD: dict[str, dict[str, Any]] = {
    "native": {"event": "product_viewed", "customer": "cus_1", "properties": {"product_id": "p1"}},
    "segment": {"type": "track", "event": "Product Viewed", "userId": "u1", "properties": {"product_id": "p1"}},
    "cloudevents": {"specversion": "1.0", "id": "1", "source": "s", "type": "product_viewed", "subject": "u1"},
}
READ: dict[str, Callable[[Any], Arrived | Misfit]] = {
    "native": native.message,
    "segment": lambda said: segment.message(said, None, "2026-11-24T00:00:00Z"),
    "cloudevents": cloudevents.structured,
}


def outcome(arrived: Arrived | Misfit) -> Collected | Letter | Passed | Misfit:
    if isinstance(arrived, Misfit):
        return arrived
    who = who_is_it(arrived, frozenset())
    return who if isinstance(who, Misfit) else judged(arrived).result


@pytest.mark.parametrize("kind", NAMES)
@given(st.data())
def test_whatever_is_sent_something_becomes_of_it(kind: str, data: st.DataObject) -> None:
    spoilt = data.draw(st.dictionaries(st.sampled_from(NAMES[kind]) | texts, json_values, max_size=4))
    result = outcome(soundly(READ[kind], EVENT_BYTES_MAX + 1, doubtful=True)(GOOD[kind] | spoilt))
    if isinstance(result, Collected):
        assert decode(encode(result)) == result
    elif isinstance(result, Letter):
        assert decode_letter(encode_letter(result)) == result
        judge_again(result, event_bundle().events, HASH_KEY)


@given(json_values)
def test_whatever_is_sent_in_a_batch_is_a_list_of_messages_or_refused(said: Any) -> None:
    for body in ({"batch": said}, {"batch": [said], "context": said}):
        for item in segment.batch(body) or []:
            outcome(soundly(READ["segment"], EVENT_BYTES_MAX + 1, doubtful=True)(item))


@given(st.binary(max_size=200) | json_values.map(lambda value: json.dumps(value).encode()))
def test_bytes_are_json_or_refused(raw: bytes) -> None:
    try:
        parsed(raw)
    except NotJson:
        with pytest.raises(ValueError):  # noqa: PT011  (whatever Python's own parser says)
            json.loads(raw.removeprefix(b"\xef\xbb\xbf").decode())


def _is_small(value: Any) -> bool:
    return type(value) is not int or abs(value) < 2**99


@given(st.lists(json_values.filter(_is_small), max_size=5), st.sampled_from(["\n", "\n\n", " \n", "\r\n"]))
def test_lines_are_read_each_by_itself(values: list[Any], between: str) -> None:
    raw = between.join(json.dumps(value) for value in values).encode()
    assert [type(each) for each in _plain(parsed_lines(raw).said)] == [type(each) for each in _plain(values)]


def _plain(values: list[Any]) -> list[Any]:
    """Numbers are one kind: what no machine word holds is read as a float."""
    return [float(each) if type(each) is int else each for each in values]
