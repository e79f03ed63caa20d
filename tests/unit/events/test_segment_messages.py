"""What the four clients send, read as they mean it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.core.events import segment
from app.core.events.event import Arrived, Collected, Letter, Misfit, Misfits
from app.core.events.quality import Receipt
from tests.support.event_bundle import NOW_MS, judged

VIEWED: dict[str, Any] = {
    "type": "track",
    "event": "Product Viewed",
    "userId": "u1",
    "anonymousId": None,
    "properties": {"product_id": "p1"},
    "messageId": "c4c59fd2-90d1-4a40-a2c5-2f1b4e6d7a01",
    "integrations": {},
    "context": {"library": {"name": "analytics-python", "version": "2.4.0"}},
}
NOW = datetime.fromtimestamp(NOW_MS / 1000, UTC)


def collected(message: dict[str, Any], sent_at: str | None = None) -> Collected:
    result = judged(segment.message(message, None, sent_at)).result
    assert isinstance(result, Collected), result
    return result


def ago(**parts: float) -> str:
    return (NOW - timedelta(**parts)).isoformat()


def kinds(event: Collected) -> set[str]:
    return {edge.kind for edge in event.edges}


def test_a_user_id_that_may_be_a_key_is_the_customer() -> None:
    event = collected(VIEWED)
    assert (event.customer, event.type, event.properties) == ("u1", "product_viewed", {"product_id": "p1"})
    assert (event.edges, event.source, event.occurred_at_ms) == ((), "analytics-python", NOW_MS)


def test_an_anonymous_visitor_has_a_key_of_their_own() -> None:
    event = collected(VIEWED | {"userId": None, "anonymousId": "8f3a"})
    assert event.customer.startswith("cus_")
    assert event.edges == ()


def test_a_number_is_a_user_id_as_its_digits() -> None:
    assert collected(VIEWED | {"userId": 4711}).customer == "4711"


def test_both_ids_together_link_the_visitor_to_the_user() -> None:
    event = collected(VIEWED | {"anonymousId": "8f3a"})
    assert (event.customer, kinds(event)) == ("u1", {"user_id", "anonymous_id"})


@pytest.mark.parametrize("where", ["root", "context"])
def test_the_address_in_traits_becomes_an_identity_and_is_kept_nowhere(where: str) -> None:
    traits = {"email": " Ada@Example.com ", "plan": "gold"}
    place: dict[str, Any] = {"traits": traits} if where == "root" else {"context": {"traits": traits}}
    event = collected({"type": "identify", "userId": "u1", **place})
    assert (event.type, kinds(event), event.properties) == ("", {"user_id", "email_sha256"}, {})
    same = collected({"type": "identify", "userId": "u2", "traits": {"email": "ada@example.com"}})
    assert set(event.edges) & set(same.edges)  # the address, however it was written


def test_what_the_bundle_does_not_collect_is_no_identity() -> None:
    result = judged(
        segment.message({"type": "identify", "userId": "u1", "traits": {"phone": "+49 30 1234567"}}, None, None)
    )
    assert not isinstance(result.result, Collected)


def test_an_identify_that_links_nobody_is_passed_over() -> None:
    assert not isinstance(judged(segment.message({"type": "identify", "userId": "u1"}, None, None)).result, Collected)


def test_an_alias_says_who_that_was_before_under_each_kind_it_may_be_of() -> None:
    event = collected({"type": "alias", "previousId": "8f3a", "userId": "u1"})
    assert [edge.kind for edge in event.previous] == ["user_id", "anonymous_id"]
    assert event.customer == "u1"


def test_an_alias_without_a_previous_id_is_about_nobody() -> None:
    from app.core.events.who import who_is_it

    arrived = segment.message({"type": "alias", "userId": "u1"}, None, None)
    assert isinstance(arrived, Arrived)
    found = who_is_it(arrived, frozenset())
    assert isinstance(found, Misfit)
    assert found.code is Misfits.NO_IDENTITY


def test_a_page_view_that_links_nobody_is_passed_over_unless_it_is_declared() -> None:
    page = {"type": "page", "userId": "u1", "name": "Home"}
    assert not isinstance(judged(segment.message(page, None, None)).result, Collected)
    assert kinds(collected(page | {"anonymousId": "8f3a"})) == {"user_id", "anonymous_id"}


def test_what_stands_once_for_a_batch_holds_for_every_message() -> None:
    items = segment.batch(
        {"batch": [VIEWED, 3], "context": {"traits": {"email": "ada@example.com"}, "ip": "192.0.2.1"}}
    )
    assert items is not None
    event = collected(items[0])
    assert (event.source, kinds(event)) == ("analytics-python", {"user_id", "email_sha256"})
    assert items[1] == 3


@pytest.mark.parametrize("body", [{}, {"batch": None}, {"batch": {}}, {"batch": "x"}])
def test_a_batch_needs_a_list(body: dict[str, Any]) -> None:
    assert segment.batch(body) is None


@pytest.mark.parametrize(
    "item", [None, 3, "x", [], {}, {"type": "delete"}, {"type": 3}, {"type": "track", "event": None}]
)
def test_what_is_no_message_is_put_aside(item: Any) -> None:
    misfit = segment.message(item, None, None)
    assert isinstance(misfit, Misfit)
    assert misfit.code is Misfits.MALFORMED


# Times: https://segment.com/docs/connections/spec/common/#timestamps


def test_a_clock_that_is_wrong_is_corrected_by_when_the_batch_was_sent() -> None:
    """The client's clock is ten years slow; the event happened a minute before it was sent."""
    late = collected(VIEWED | {"timestamp": "2016-12-01T00:00:00Z"}, sent_at="2016-12-01T00:01:00Z")
    assert late.occurred_at_ms == NOW_MS - 60_000


def test_a_message_knows_better_than_its_batch_when_it_was_sent() -> None:
    message = VIEWED | {"timestamp": ago(hours=2), "sentAt": ago(hours=1)}
    assert collected(message, sent_at=ago(seconds=0)).occurred_at_ms == NOW_MS - 3_600_000


def test_without_a_time_of_sending_the_clock_is_believed() -> None:
    assert collected(VIEWED | {"timestamp": ago(hours=2)}).occurred_at_ms == NOW_MS - 7_200_000
    unreadable = collected(VIEWED | {"timestamp": ago(hours=2)}, sent_at="yesterday")
    assert unreadable.occurred_at_ms == NOW_MS - 7_200_000


@pytest.mark.parametrize("absent", [None, ""])
def test_without_a_time_it_happened_when_it_was_received(absent: str | None) -> None:
    assert collected(VIEWED | {"timestamp": absent}, sent_at=ago(hours=5)).occurred_at_ms == NOW_MS


def test_rudderstack_tells_the_time_of_the_call_elsewhere() -> None:
    call = collected(VIEWED | {"originalTimestamp": ago(hours=1)}, sent_at=ago(seconds=0))
    said = collected(VIEWED | {"originalTimestamp": ago(hours=1), "timestamp": ago(hours=3)}, sent_at=ago(seconds=0))
    assert (call.occurred_at_ms, said.occurred_at_ms) == (NOW_MS - 3_600_000, NOW_MS - 10_800_000)


def test_a_time_without_zone_is_utc() -> None:
    assert collected(VIEWED | {"timestamp": "2026-11-30T22:00:00"}).occurred_at_ms == NOW_MS - 7_200_000


@pytest.mark.parametrize(
    ("timestamp", "code"),
    [
        ("yesterday", Misfits.BAD_TIME),
        (1_796_083_200, Misfits.BAD_TIME),
        (True, Misfits.BAD_TIME),
        ("9999-12-31T23:59:59Z", Misfits.AHEAD),
        ("0001-01-01T00:00:00Z", Misfits.TOO_OLD),
        ("0001-01-01T00:00:00+14:00", Misfits.TOO_OLD),
        ("2027-12-01T00:00:00Z", Misfits.AHEAD),
        ("2026-13-01T00:00:00Z", Misfits.BAD_TIME),
        ("2026-11-30T22:00:00Z" + " " * 100, Misfits.BAD_TIME),
    ],
)
def test_a_time_that_cannot_be_is_put_aside_with_the_reason(timestamp: Any, code: Misfits) -> None:
    result = judged(segment.message(VIEWED | {"timestamp": timestamp}, None, None)).result
    assert isinstance(result, Letter)
    assert result.misfit.code is code


# Repeats


def test_a_repeat_has_the_same_message_id_and_another_sender_another_one() -> None:
    first, again = collected(VIEWED), collected(VIEWED, sent_at=ago(seconds=1))
    other = judged(segment.message(VIEWED, None, None), Receipt(NOW_MS, "key_other", b"01234567")).result
    assert isinstance(other, Collected)
    assert first.message_id == again.message_id != other.message_id
    assert len(first.message_id) == 8


def test_messages_without_an_id_are_never_repeats() -> None:
    message = VIEWED | {"messageId": None}
    ids = {
        judged(segment.message(message, None, None), Receipt(NOW_MS, "key_shop", nonce), index).result.message_id  # type: ignore[union-attr]  # it is collected
        for nonce in (b"01234567", b"12345678")
        for index in (0, 1)
    }
    assert len(ids) == 4


def test_what_happens_once_is_known_by_its_property() -> None:
    order = VIEWED | {"event": "Order Completed", "properties": {"order_id": 77, "revenue": 1}}
    reload = order | {"messageId": "another", "properties": {"order_id": "77"}}
    other = order | {"properties": {"order_id": "78"}}
    first, second, third = map(collected, (order, reload, other))
    assert first.once == second.once != third.once
    assert first.message_id != second.message_id
    assert collected(VIEWED).once == b""


LANDED = "dec_0110197a1c2b3c4d5e6f70819200"


def bought_on(url: Any, **properties: Any) -> dict[str, Any]:
    page = {"path": "/done", "url": url}
    more = {"event": "basket_bought", "properties": {"revenue": 80.0, **properties}}
    return VIEWED | more | {"context": {"library": {"name": "analytics.js"}, "page": page}}


def test_the_page_on_which_it_happened_names_the_decision_whose_mail_led_there() -> None:
    event = collected(bought_on(f"https://shop.example.com/done?utm_source=x&did={LANDED}#top"))
    assert event.properties == {"revenue": 80.0, "decision_id": LANDED}


def test_what_an_event_says_itself_counts_more_than_its_page() -> None:
    own = LANDED[:-1] + "1"
    event = collected(bought_on(f"https://shop.example.com/?did={LANDED}", decision_id=own))
    assert event.properties["decision_id"] == own


@pytest.mark.parametrize("url", [None, 7, "", "https://shop.example.com/?did=jane@example.com", "did=", "/?did=dec_1"])
def test_of_any_other_page_nothing_is_kept(url: Any) -> None:
    assert collected(bought_on(url)).properties == {"revenue": 80.0}


def test_the_page_says_nothing_to_an_event_that_declares_no_decision() -> None:
    page = {"page": {"url": f"https://shop.example.com/?did={LANDED}"}}
    assert collected(VIEWED | {"context": page}).properties == {"product_id": "p1"}
