"""What Brevo is taken by, and what its events say."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from app.core.webhooks.provider import Aside, Delivery, Said, Trust, Unreadable, Untrusted
from app.core.webhooks.providers.brevo import EVENTS, PROVIDER
from policy.codes import OutcomeType, SuppressionReason
from tests.support.webhooks.brevo import SAMPLE
from tests.support.webhooks.credentials import basic
from tests.support.webhooks.payloads import PAYLOADS, payload

DECISION = "dec_01119bf0c5f4001a2b3c4d5e6f00"


def read(name: str, **changes: Any) -> Said:
    (said,) = PROVIDER.read(orjson.loads(payload("brevo", f"{name}.json")) | changes)
    return said


def trusted(trust: Trust, **headers: str) -> bool:
    try:
        PROVIDER.verify(Delivery(b"{}", headers, 0), trust)
    except Untrusted:
        return False
    return True


def test_credentials_or_a_token_prove_it() -> None:
    assert trusted(SAMPLE.trust, **basic(SAMPLE.trust.basic[0]))
    assert not trusted(SAMPLE.trust, **basic(SAMPLE.other_secret))
    assert not trusted(SAMPLE.trust)
    assert trusted(Trust(secrets=("old", "token")), authorization="Bearer token")
    assert not trusted(Trust(secrets=("token",)), authorization="Bearer wrong")
    assert not trusted(SAMPLE.trust, authorization="Bearer correct horse")


def test_while_the_store_is_down_it_is_told_to_come_again() -> None:
    """Any 5xx, and any 4xx but 429, makes Brevo throw the event away for good."""
    assert PROVIDER.statuses.store_down == 429


def test_a_batch_is_taken_in_either_form() -> None:
    one, other = (
        PROVIDER.items(Delivery(payload("brevo", f"batch_as_{form}.json"), {}, 0)) for form in ("list", "object")
    )
    assert list(one) == list(other)
    (single,) = PROVIDER.items(Delivery(payload("brevo", "delivered.json"), {}, 0))
    assert single == one[0] | {name: single[name] for name in single}


@pytest.mark.parametrize("body", [b"", b"1", b'"x"', b"null", b"{"])
def test_what_is_neither_is_unreadable(body: bytes) -> None:
    with pytest.raises(Unreadable):
        PROVIDER.items(Delivery(body, {}, 0))


def test_every_event_of_payloads_has_one() -> None:
    told = set()
    for file in (PAYLOADS / "brevo").glob("*.json"):
        found = orjson.loads(file.read_bytes())
        told |= {found["event"]} if "event" in found else set()
    other_spellings = {name for name in EVENTS if name != name.lower()} | {"sent", "invalid"}  # of subscriptions
    assert told >= {kind for kind, said in EVENTS.items() if isinstance(said, OutcomeType)} - other_spellings


@pytest.mark.parametrize(
    ("subscribed", "told"),
    [
        ("hardBounce", "hard_bounce"),
        ("softBounce", "soft_bounce"),
        ("uniqueOpened", "unique_opened"),
        ("sent", "request"),
        ("proxyOpen", "proxy_open"),
        ("uniqueProxyOpen", "unique_proxy_open"),
        ("unsubscribe", "unsubscribed"),
    ],
)
def test_names_of_subscriptions_mean_the_same(subscribed: str, told: str) -> None:
    one, other = read("opened", event=subscribed), read("opened", event=told)
    assert (one.type, one.machine, one.scope) == (other.type, other.machine, other.scope)


def test_the_first_open_and_the_later_ones_are_opens() -> None:
    assert read("unique_opened").type is read("opened").type is OutcomeType.OPENED


def test_an_open_by_a_proxy_is_a_machines() -> None:
    assert read("proxy_open").machine
    assert read("unique_proxy_open").machine
    assert not read("opened").machine


def test_only_the_time_in_utc_is_believed() -> None:
    """`ts`, `ts_event` and `date` follow the account's zone: an event that says no more has no time."""
    assert read("delivered").at_ms == 1_604_933_654_000
    assert read("delivered", ts_epoch=None).at_ms is None
    assert read("complaint").at_ms is None
    assert read("error").at_ms == 1_604_933_623_000  # seconds, as the documentation's examples have it
    for broken in ("soon", [1], -1, 1e300):
        with pytest.raises((TypeError, ValueError)):
            read("delivered", ts_epoch=broken)


def test_its_id_is_no_events() -> None:
    assert read("delivered").event_id is None  # `id` is the webhook's


@pytest.mark.parametrize(
    "custom",
    [
        DECISION,
        f"did:{DECISION}",
        f'{{"decision_id": "{DECISION}", "meta": "data"}}',
        f"a:b|decision_id:{DECISION}|c:d",
        f"decision_id:{DECISION}",
    ],
)
def test_the_decision_rides_in_the_header_in_any_form(custom: str) -> None:
    assert read("opened", **{"X-Mailin-custom": custom}).decision_id == DECISION


@pytest.mark.parametrize("custom", ["", "some_custom_header", "decision_id", "decision_id:x", "{", "[1]", None, 7])
def test_other_headers_are_the_senders_own(custom: Any) -> None:
    assert read("opened", **{"X-Mailin-custom": custom}).decision_id is None


def test_the_decision_may_ride_in_tags() -> None:
    assert read("opened", tags=["a", f"did:{DECISION}"]).decision_id == DECISION
    assert read("opened", tags=None, tag=f'["a","did:{DECISION}"]').decision_id == DECISION
    assert read("opened", tags=None, tag=f"did:{DECISION}").decision_id == DECISION
    assert read("click", link=f"https://shop.example.com/?did={DECISION}").decision_id == DECISION


def test_a_block_copies_the_suppression_that_it_names() -> None:
    assert read("blocked_unsubscribed").suppressed is SuppressionReason.UNSUBSCRIBED
    assert read("blocked").suppressed is None
    assert read("soft_bounce", reason="unsubscribed user").suppressed is None  # it was tried


def test_an_unsubscription_is_of_everything() -> None:
    assert read("unsubscribed").scope == read("marketing_unsubscribe").scope == "all"


def test_what_is_not_known_is_kept_and_contacts_are_not_looked_at() -> None:
    assert read("unknown_event").type is Aside.UNKNOWN
    assert read("marketing_list_addition").type is Aside.IGNORED


@pytest.mark.parametrize("broken", [None, 1, "x", [], {"event": ["open"]}, {"event": "opened", "email": ["a"]}])
def test_an_item_that_is_none_cannot_be_read(broken: Any) -> None:
    with pytest.raises((LookupError, TypeError, ValueError, AttributeError)):
        PROVIDER.read(broken)
