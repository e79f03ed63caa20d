"""What SES is taken by, and what its messages say."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from app.core.webhooks.provider import Aside, Delivery, Said, Trust, Untrusted
from app.core.webhooks.providers.ses import EVENTS, PROVIDER, SUBSCRIPTION
from policy.codes import OutcomeType, SuppressionReason
from tests.support.webhooks.credentials import basic
from tests.support.webhooks.payloads import PAYLOADS, payload
from tests.support.webhooks.ses import CERTIFICATE_URL, SAMPLE, TOPIC, certificate, message, signed, signed_message

NOW_S = 1_795_500_000.0
DECISION = "dec_01119bf0c5f4001a2b3c4d5e6f00"
TRUST = Trust(topics=(TOPIC,))
CONFIRMATION = orjson.loads(payload("ses", "subscription_confirmation.json"))


def event(name: str) -> dict[str, Any]:
    """What SES says in a payload, without the envelope."""
    said: dict[str, Any] = orjson.loads(orjson.loads(payload("ses", f"{name}.json"))["Message"])
    return said


def read(said: Any) -> list[Said]:
    """As it comes out of a whole message."""
    return [
        each
        for item in PROVIDER.items(Delivery(orjson.dumps(message(said)), {}, NOW_S))
        for each in PROVIDER.read(item)
    ]


def delivered(body: bytes, **headers: str) -> Delivery:
    return Delivery(body, headers or signed(body, "", NOW_S), NOW_S, certificate=certificate())


def test_a_signed_message_of_a_listed_topic_is_taken() -> None:
    body = signed_message(message({}))
    assert PROVIDER.certificate is not None
    assert PROVIDER.certificate(delivered(body)) == CERTIFICATE_URL
    PROVIDER.verify(delivered(body), TRUST)
    with pytest.raises(Untrusted):
        PROVIDER.verify(delivered(body), Trust(basic=("a:b",)))  # whose list is empty


def test_topics_alone_configure_it() -> None:
    assert TRUST
    assert not Trust()


def test_the_sample_is_proven_by_its_certificate() -> None:
    body = signed_message(orjson.loads(SAMPLE.body))
    PROVIDER.verify(Delivery(body, signed(body, "", NOW_S), NOW_S, certificate=SAMPLE.certificate), SAMPLE.trust)


def test_a_raw_message_has_no_signature_and_needs_credentials() -> None:
    raw = orjson.dumps(event("event_bounce_permanent"))
    header = {"x-amz-sns-rawdelivery": "true"}
    assert PROVIDER.certificate is not None
    assert PROVIDER.certificate(Delivery(raw, header, NOW_S)) is None
    with pytest.raises(Untrusted, match="raw delivery"):
        PROVIDER.verify(Delivery(raw, header, NOW_S), TRUST)
    trust = Trust(basic=("aws:secret",), topics=(TOPIC,))
    for headers in (header, header | basic("aws:wrong")):
        with pytest.raises(Untrusted):
            PROVIDER.verify(Delivery(raw, headers, NOW_S), trust)
    delivery = Delivery(raw, header | basic("aws:secret"), NOW_S)
    PROVIDER.verify(delivery, trust)
    (item,) = PROVIDER.items(delivery)
    assert [each.type for each in PROVIDER.read(item)] == [OutcomeType.BOUNCED_HARD]


def test_credentials_do_not_stand_in_for_a_signature() -> None:
    """Who knows the credentials of the address is still not Amazon; and wrong ones are not passed over."""
    trust = Trust(basic=("aws:secret",), topics=(TOPIC,))
    forged, true = orjson.dumps(message({}, Signature="QUJD")), signed_message(message({}))
    with pytest.raises(Untrusted):
        PROVIDER.verify(delivered(forged, **basic("aws:secret")), trust)
    with pytest.raises(Untrusted):
        PROVIDER.verify(delivered(true, **basic("aws:wrong")), trust)
    PROVIDER.verify(delivered(true, **basic("aws:secret")), trust)
    assert PROVIDER.statuses.challenge  # SNS sends them only after a 401 that asks for them


def test_only_the_subscription_of_a_listed_topic_is_confirmed() -> None:
    assert PROVIDER.follow_up is not None
    for fields, topics, confirmed in (
        (CONFIRMATION, (TOPIC,), True),
        (CONFIRMATION, (TOPIC + "2",), False),
        (CONFIRMATION, (), False),
        (message({}), (TOPIC,), False),
        (orjson.loads(payload("ses", "unsubscribe_confirmation.json")), (TOPIC,), False),
    ):
        visited = PROVIDER.follow_up(Delivery(orjson.dumps(fields), {}, NOW_S), Trust(topics=topics))
        assert (visited is not None) is confirmed
        assert visited is None or visited.startswith("https://sns.us-west-2.amazonaws.com/?Action=ConfirmSubscription&")


def test_nothing_a_refusal_could_lose_is_refused_while_the_store_is_down() -> None:
    """SNS sends nothing again after a 4xx."""
    assert PROVIDER.statuses.store_down == 503


def test_every_type_has_a_payload() -> None:
    said = set()
    for file in (PAYLOADS / "ses").glob("*.json"):
        text = orjson.loads(file.read_bytes())["Message"]
        if text.startswith("{"):
            found = orjson.loads(text)
            said.add(found.get("eventType") or found["notificationType"])
    assert said == {*EVENTS, SUBSCRIPTION}


def test_both_ways_of_telling_are_one_event() -> None:
    """With event publishing and notifications on, each bounce comes twice, under two ids of SNS."""
    published = event("event_bounce_permanent")
    notified = {name: value for name, value in published.items() if name != "eventType"} | {
        "notificationType": "Bounce"
    }
    (one,), (other,) = read(published), read(notified)
    assert one == other
    assert one.event_id is not None


def test_a_message_without_feedback_id_is_known_by_what_it_says() -> None:
    """The door makes an id of mail, type, recipient and SES's own time then: equal for both ways of telling."""
    published = event("event_delivery")
    notified = {name: value for name, value in published.items() if name != "eventType"}
    (one,), (other,) = read(published), read(notified | {"notificationType": "Delivery"})
    assert one == other
    assert one.event_id is None


def test_one_event_says_something_of_each_recipient() -> None:
    said = read(event("notification_bounce_of_two"))
    assert [each.recipient for each in said] == ["jane@example.com", "richard@example.com"]  # and not the third
    assert len({each.event_id for each in said}) == 2
    alone = event("notification_bounce_of_two")
    alone["bounce"]["bouncedRecipients"].pop(0)
    assert read(alone) == said[1:]  # also where SES tells of each by itself
    assert not any("@" in str(each.event_id) for each in said)


def test_a_complaint_stops_everybody_it_may_be_of() -> None:
    """Mailbox providers do not say who complained: SES names all recipients at their domain."""
    complaint = event("event_complaint")
    complaint["complaint"]["complainedRecipients"] = [{"emailAddress": f"{name}@example.com"} for name in ("a", "b")]
    assert [each.type for each in read(complaint)] == [OutcomeType.COMPLAINED] * 2


@pytest.mark.parametrize("name", ["event_open", "event_click"])
def test_nobody_is_credited_with_a_look_at_a_mail_to_several(name: str) -> None:
    look = event(name)
    look["mail"]["destination"] = ["jane@example.com", "mary@example.com"]
    (said,) = read(look)
    assert said.recipient is None


def test_not_spam_is_no_complaint() -> None:
    assert read(event("event_complaint_not_spam"))[0].type is Aside.IGNORED


def test_what_was_not_tried_is_dropped_for_what_the_list_says() -> None:
    for name, reason in (
        ("event_bounce_suppressed", SuppressionReason.HARD_BOUNCE),
        ("event_bounce_on_account_list", SuppressionReason.HARD_BOUNCE),
        ("event_complaint_on_account_list", SuppressionReason.COMPLAINT),
    ):
        (said,) = read(event(name))
        assert (said.type, said.suppressed) == (OutcomeType.DROPPED, reason)


def test_the_time_is_that_of_the_event_and_not_of_the_message() -> None:
    (said,) = read(event("event_bounce_permanent"))
    assert said.at_ms == 1_501_893_662_669
    assert read(event("event_send"))[0].at_ms == 1_476_421_336_645  # the mail's, where nothing else is said


@pytest.mark.parametrize(
    "place",
    [
        {"tags": {"decision_id": [DECISION]}},
        {"headers": [{"name": "X-SES-MESSAGE-TAGS", "value": f"a=b, decision_id={DECISION}"}]},
        {"headers": [{"name": "X-Decision-ID", "value": DECISION}]},
    ],
)
def test_the_decision_is_found_in_tags_and_headers(place: dict[str, Any]) -> None:
    said = event("event_delivery")
    said["mail"] |= place
    assert read(said)[0].decision_id == DECISION


def test_tags_of_the_api_win_over_those_of_the_header() -> None:
    said = event("event_delivery")
    other = DECISION[:-2] + "01"
    said["mail"] |= {
        "tags": {"decision_id": [DECISION]},
        "headers": [{"name": "X-SES-MESSAGE-TAGS", "value": f"decision_id={other}"}],
    }
    assert read(said)[0].decision_id == DECISION


def test_a_clicked_link_may_carry_the_decision() -> None:
    said = event("event_click")
    said["click"]["link"] = f"https://shop.example.com/?did={DECISION}"
    assert read(said)[0].decision_id == DECISION


def test_preferences_say_what_was_left_and_taken_up() -> None:
    assert [(each.type, each.scope) for each in read(event("event_unsubscribed_all"))] == [
        (OutcomeType.UNSUBSCRIBED, "all")
    ]
    assert [(each.type, each.scope) for each in read(event("event_resubscribed_topic"))] == [
        (OutcomeType.RESUBSCRIBED, "ExampleTopicName")
    ]
    unchanged = event("event_unsubscribed_topic")
    unchanged["subscription"]["oldTopicPreferences"] = unchanged["subscription"]["newTopicPreferences"]
    assert [each.type for each in read(unchanged)] == [Aside.IGNORED]
    several = event("event_unsubscribed_topic")
    several["mail"]["destination"] = ["jane@example.com", "mary@example.com"]
    assert [each.type for each in read(several)] == [OutcomeType.UNSUBSCRIBED] * 2


def test_what_is_not_known_is_kept_and_inbound_mail_is_not() -> None:
    assert [each.type for each in read({"eventType": "Teleport", "mail": {}})] == [Aside.UNKNOWN]
    assert [each.type for each in read({"notificationType": "Received", "mail": {}})] == [Aside.IGNORED]
    assert [each.type for each in read("Successfully validated SNS topic for Amazon SES event publishing.")] == [
        Aside.IGNORED
    ]


@pytest.mark.parametrize("name", ["event_bounce_permanent", "event_complaint", "event_delivery", "event_open"])
def test_half_an_event_cannot_be_read(name: str) -> None:
    whole = event(name)
    for missing in (set(whole) - {"eventType"}) - {"open"}:
        with pytest.raises((LookupError, TypeError, ValueError, AttributeError)):
            read({each: value for each, value in whole.items() if each != missing})
