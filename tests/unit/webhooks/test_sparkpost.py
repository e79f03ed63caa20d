"""What SparkPost is taken by, and what its events say."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from app.core.webhooks.provider import Aside, Delivery, Said, Trust, Unreadable, Untrusted
from app.core.webhooks.providers.sparkpost import BOUNCES, EVENTS, PROVIDER
from policy.codes import OutcomeType
from tests.support.webhooks.credentials import basic
from tests.support.webhooks.payloads import PAYLOADS, payload
from tests.support.webhooks.sparkpost import SAMPLE

DECISION = "dec_01119bf0c5f4001a2b3c4d5e6f00"
TOKEN = "d41d8cd98f00b204e9800998ecf8427e"


def item(name: str, **changes: Any) -> Any:
    """The one event of a payload."""
    (found,) = orjson.loads(payload("sparkpost", f"{name}.json"))
    (event,) = found["msys"].values()
    event |= changes
    return found


def read(name: str, **changes: Any) -> Said:
    (said,) = PROVIDER.read(item(name, **changes))
    return said


def trusted(trust: Trust, **headers: str) -> bool:
    try:
        PROVIDER.verify(Delivery(b"[]", headers, 0), trust)
    except Untrusted:
        return False
    return True


def test_basic_credentials_prove_it() -> None:
    assert trusted(SAMPLE.trust, **basic(SAMPLE.trust.basic[0]))
    assert not trusted(SAMPLE.trust, **basic(SAMPLE.other_secret))
    assert not trusted(SAMPLE.trust)
    assert not trusted(Trust(), **basic(":"))
    assert PROVIDER.statuses.challenge


def test_a_token_proves_it_as_bearer_or_in_the_old_header() -> None:
    trust = Trust(secrets=("old", TOKEN))
    assert trusted(trust, authorization=f"Bearer {TOKEN}")
    assert trusted(trust, **{"x-messagesystems-webhook-token": TOKEN})
    assert not trusted(trust, authorization="Bearer wrong")
    assert not trusted(trust, **{"x-messagesystems-webhook-token": "wrong"})
    assert not trusted(trust, **{"x-messagesystems-webhook-token": ""})
    assert not trusted(SAMPLE.trust, **{"x-messagesystems-webhook-token": TOKEN})  # where no token is configured


def test_a_right_token_does_not_mend_wrong_credentials() -> None:
    trust = Trust(secrets=(TOKEN,), basic=("a:b",))
    assert not trusted(trust, **basic("a:wrong"), **{"x-messagesystems-webhook-token": TOKEN})


@pytest.mark.parametrize("kind", sorted(EVENTS))
def test_the_class_around_an_event_is_not_looked_at(kind: str) -> None:
    """`message_event`, `track_event` …: whatever SparkPost puts an event into, its type says what it is."""
    (event,) = item("bounce", type=kind)["msys"].values()
    assert PROVIDER.read({"msys": {"class_of_tomorrow_event": event}}) == PROVIDER.read({"msys": {"x": event}})


def test_every_kind_of_outcome_has_a_payload() -> None:
    kinds = set()
    for file in (PAYLOADS / "sparkpost").glob("*.json"):
        for each in orjson.loads(file.read_bytes()):
            kinds |= {event["type"] for event in each["msys"].values()}
    assert kinds >= {kind for kind, outcome in EVENTS.items() if isinstance(outcome, OutcomeType)}


def test_a_ping_says_nothing() -> None:
    (ping,) = PROVIDER.items(Delivery(payload("sparkpost", "ping.json"), {}, 0))
    assert [said.type for said in PROVIDER.read(ping)] == [Aside.IGNORED]


def test_the_first_open_counts_once() -> None:
    """SparkPost tells the first look twice, as `initial_open` and as `open`."""
    assert read("initial_open").type is Aside.IGNORED
    assert read("open").type is OutcomeType.OPENED


HARD, SOFT, DROPPED = OutcomeType.BOUNCED_HARD, OutcomeType.BOUNCED_SOFT, OutcomeType.DROPPED
CLASSES: dict[OutcomeType | Aside, list[int]] = {
    HARD: [10, 30, 90],
    SOFT: [1, 20, 21, 22, 23, 24, 40, 70, 100, 999],
    DROPPED: [25, 50, 51, 52, 53, 54],
    Aside.IGNORED: [60, 80],
}


@pytest.mark.parametrize("kind", sorted(BOUNCES))
@pytest.mark.parametrize("number", [0, 1])
def test_the_class_of_a_bounce_says_what_it_is(kind: str, number: int) -> None:
    for outcome, classes in CLASSES.items():
        for each in classes:
            assert read("bounce", type=kind, bounce_class=each if number else str(each)).type is outcome


def test_a_bounce_that_says_no_class_is_soft() -> None:
    assert read("bounce", bounce_class=None).type is SOFT


def test_numbers_come_as_text_and_some_times_in_words() -> None:
    assert read("open", timestamp="1460989507").at_ms == 1_460_989_507_000
    assert read("open", timestamp=1460989507).at_ms == 1_460_989_507_000
    assert read("generation_failure").at_ms == 1_539_300_285_000
    for broken in ("soon", "-1", "1e400", [1]):
        with pytest.raises((TypeError, ValueError)):
            read("open", timestamp=broken)


def test_a_machine_is_known_by_what_sparkpost_says_of_it() -> None:
    assert read("open_prefetched").machine
    assert read("open_by_proxy").machine  # there the flag is a text
    assert not read("open").machine
    assert not read("open", user_agent_parsed=None).machine
    assert not read("open", user_agent_parsed={"is_proxy": "false"}).machine


def test_a_mail_is_named_by_its_transmission_and_recipient() -> None:
    """A transmission may go to thousands: its id alone would mix them up."""
    one, again = read("delivery"), read("click")
    assert one.message_id == again.message_id  # whatever the letters' case
    assert one.message_id != read("delivery", raw_rcpt_to="another@example.com").message_id
    assert "@" not in str(one.message_id)
    assert read("delivery", transmission_id=None).message_id == "000443ee14578172be22"


def test_the_recipient_keeps_its_case() -> None:
    assert read("delivery").recipient == "Recipient@example.com"
    assert read("delivery", raw_rcpt_to=None).recipient == "recipient@example.com"


def test_the_decision_rides_in_the_metadata() -> None:
    assert read("open", rcpt_meta={"decision_id": DECISION}).decision_id == DECISION
    assert read("open", rcpt_meta={"decision_id": "another"}).decision_id is None
    assert read("click", target_link_url=f"https://shop.example.com/?did={DECISION}").decision_id == DECISION


def test_an_event_without_an_id_is_known_by_what_it_says() -> None:
    assert read("open", event_id=None).event_id is None


@pytest.mark.parametrize("body", [b"", b"{}", b"null", b"x", b'{"msys": {}}'])
def test_what_is_no_batch_is_unreadable(body: bytes) -> None:
    with pytest.raises(Unreadable):
        PROVIDER.items(Delivery(body, {}, 0))


@pytest.mark.parametrize("broken", [None, {}, 1, "x", [], {"msys": {"x": None}}, {"msys": 1}, {"msys": {"x": []}}])
def test_an_item_that_is_none_cannot_be_read(broken: Any) -> None:
    with pytest.raises((LookupError, TypeError, ValueError, AttributeError)):
        PROVIDER.read(broken)
