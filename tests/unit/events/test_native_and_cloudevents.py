"""Native events and CloudEvents, read as they mean it."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from app.core.events import cloudevents, native
from app.core.events.event import Collected, Letter, Misfit, Misfits
from tests.support.event_bundle import NOW_MS, judged

VIEWED: dict[str, Any] = {"event": "product_viewed", "customer": "cus_1", "properties": {"product_id": "p1"}}
CLOUD: dict[str, Any] = {
    "specversion": "1.0",
    "id": "1",
    "source": "https://shop.example.com/web?user=4711",
    "type": "com.example.product.viewed",
    "subject": "u1",
    "time": "2026-11-30T22:00:00Z",
    "data": {"product_id": "p1"},
}
HEADERS = [
    (b"ce-specversion", b"1.0"),
    (b"ce-id", b"1"),
    (b"ce-source", b"https://shop.example.com/web?user=4711"),
    (b"ce-type", b"com.example.product.viewed"),
    (b"ce-subject", b"u1"),
    (b"ce-time", b"2026-11-30T22:00:00Z"),
]


def collected(arrived: Any) -> Collected:
    result = judged(arrived).result
    assert isinstance(result, Collected), result
    return result


def code_of(message: Any) -> Misfits:
    if isinstance(message, Misfit):
        return message.code
    result = judged(message).result
    assert isinstance(result, Letter), result
    return result.misfit.code


def test_a_native_event_is_about_a_customer() -> None:
    event = collected(native.message(VIEWED | {"at": "2026-11-30T22:00:00Z", "id": "e1", "source": "shop"}))
    assert (event.customer, event.type, event.occurred_at_ms) == ("cus_1", "product_viewed", NOW_MS - 7_200_000)
    assert (event.properties, event.source, event.edges) == ({"product_id": "p1"}, "shop", ())


def test_identities_that_come_together_are_one_persons() -> None:
    event = collected(native.message(VIEWED | {"customer": {"anonymous_id": "8f3a", "user_id": "u1"}}))
    assert (event.customer, {edge.kind for edge in event.edges}) == ("u1", {"user_id", "anonymous_id"})


def test_a_key_and_an_identity_are_linked() -> None:
    event = collected(
        native.message({"event": "identify", "customer": {"customer": "cus_1", "email_sha256": "ab" * 32}})
    )
    assert (event.customer, event.type, [edge.kind for edge in event.edges]) == ("cus_1", "", ["email_sha256"])


def test_two_known_users_become_one_only_by_an_alias() -> None:
    event = collected(native.message({"event": "alias", "customer": "cus_1", "previous": "cus_2"}))
    assert (event.customer, [edge.kind for edge in event.previous]) == ("cus_1", ["user_id"])


@pytest.mark.parametrize(
    "spoilt",
    [
        {"event": None}, {"event": 3}, {"event": ""}, {"properties": []}, {"properties": "x"}, {"customer": 3},
        {"customer": {"name": "x"}}, {"customer": ["cus_1"]}, {"surname": "x"}, {"previous": 3},
    ],
)  # fmt: skip
def test_what_is_no_event_is_put_aside(spoilt: dict[str, Any]) -> None:
    assert code_of(native.message(VIEWED | spoilt)) is Misfits.MALFORMED


@pytest.mark.parametrize("said", [None, [], "x", 3, True])
def test_an_event_is_an_object(said: Any) -> None:
    assert code_of(native.message(said)) is Misfits.MALFORMED


def test_a_native_time_needs_its_zone() -> None:
    assert code_of(native.message(VIEWED | {"at": "2026-11-30T22:00:00"})) is Misfits.BAD_TIME


def test_a_version_that_the_bundle_does_not_have_is_put_aside() -> None:
    assert collected(native.message(VIEWED | {"version": 1})).version == 1
    assert code_of(native.message(VIEWED | {"version": 7})) is Misfits.UNKNOWN_VERSION


def test_versions_are_taken_side_by_side() -> None:
    old = collected(
        native.message({"event": "order_completed", "customer": "cus_1", "version": 1, "properties": {"id": 7}})
    )
    assert (old.version, old.properties) == (1, {"id": 7})
    schema = CLOUD | {"type": "order_completed", "dataschema": "https://schemas.example.com/order_completed/v1"}
    assert collected(cloudevents.structured(schema | {"data": {"id": "7"}})).properties == {"id": 7}
    assert collected(cloudevents.structured(schema | {"dataschema": "/order", "data": {"order_id": "7"}})).version == 2


def test_an_event_may_say_only_so_many_things() -> None:
    wide = {f"p{number}": number for number in range(257)}
    assert code_of(native.message(VIEWED | {"properties": {"product_id": "p1"} | wide})) is Misfits.TOO_LARGE


# CloudEvents


@pytest.mark.parametrize(
    ("content_type", "mode"),
    [
        ("application/cloudevents+json", "structured"),
        ("application/cloudevents+json; charset=UTF-8", "structured"),
        ("Application/CloudEvents", "structured"),
        ("application/cloudevents-batch+json", "batched"),
        ("application/json", None),
        ("", None),
    ],
)
def test_the_content_type_tells_the_mode(content_type: str, mode: str | None) -> None:
    assert cloudevents.mode(content_type, [b"content-type"]) == mode


def test_headers_tell_the_binary_mode_whatever_the_content_type() -> None:
    names = [name for name, _ in HEADERS]
    assert cloudevents.mode("application/json", names) == "binary"
    assert cloudevents.mode("", names) == "binary"
    assert cloudevents.mode("application/cloudevents+json", names) == "structured"
    assert cloudevents.mode("application/json", names[1:]) is None


@pytest.mark.parametrize("content_type", ["application/cloudevents+avro", "application/cloudevents-batch+xml"])
def test_other_formats_are_not_understood(content_type: str) -> None:
    with pytest.raises(cloudevents.UnknownFormat):
        cloudevents.mode(content_type, [])


def test_the_three_modes_say_the_same() -> None:
    structured, binary = collected(cloudevents.structured(CLOUD)), collected(cloudevents.binary(HEADERS, CLOUD["data"]))
    encoded = base64.b64encode(b'{"product_id": "p1"}').decode()
    packed = collected(cloudevents.structured({**CLOUD, "data": None, "data_base64": encoded}))
    assert structured == binary == packed
    assert (structured.customer, structured.type, structured.occurred_at_ms) == (
        "u1",
        "product_viewed",
        NOW_MS - 7_200_000,
    )
    assert structured.source == "https://shop.example.com/web"  # what follows may name somebody


def test_source_and_id_together_are_the_identity() -> None:
    first, again = collected(cloudevents.structured(CLOUD)), collected(cloudevents.structured(CLOUD))
    other = collected(cloudevents.structured(CLOUD | {"source": "https://other.example.com"}))
    assert first.message_id == again.message_id != other.message_id


def test_headers_are_unquoted_and_decoded_once() -> None:
    quoted = [(name, b'"%75%31"' if name == b"ce-subject" else value) for name, value in HEADERS]
    assert collected(cloudevents.binary(quoted, CLOUD["data"])).customer == "u1"
    broken = [(name, b"%ff" if name == b"ce-subject" else value) for name, value in HEADERS]
    assert code_of(cloudevents.binary(broken, CLOUD["data"])) is Misfits.BAD_TEXT


@pytest.mark.parametrize(
    "spoilt",
    [{"specversion": "0.3"}, {"id": ""}, {"id": 3}, {"type": None}, {"source": ""}, {"data": [1]}, {"data": "x"}],
)
def test_what_is_no_cloudevent_is_put_aside(spoilt: dict[str, Any]) -> None:
    assert code_of(cloudevents.structured(CLOUD | spoilt)) is Misfits.MALFORMED


def test_data_that_is_no_json_in_base64_is_put_aside() -> None:
    for encoded in ("%%%", "bm8=", 3):
        assert code_of(cloudevents.structured({**CLOUD, "data": None, "data_base64": encoded})) is Misfits.MALFORMED
