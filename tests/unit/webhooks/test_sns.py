"""Messages of SNS are believed if Amazon signed them, of a topic on the list; nothing else is fetched or visited."""

from __future__ import annotations

import datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.webhooks import sns
from app.core.webhooks.provider import Untrusted
from app.core.webhooks.sns_certificate import check_name
from tests.support.webhooks.hostile import HOSTILE
from tests.support.webhooks.payloads import payload
from tests.support.webhooks.ses import CERTIFICATE_URL, TOPIC, certificate, message, private_key, signed_message

NOW_S = datetime.datetime(2026, 11, 24, tzinfo=datetime.UTC).timestamp()
CONFIRMATION = orjson.loads(payload("ses", "subscription_confirmation.json"))


def envelope(**changes: Any) -> sns.Envelope:
    return sns.envelope_of(orjson.dumps(message({}, **changes)), {})


def check(body: bytes, pem: bytes | None = None, topics: tuple[str, ...] = (TOPIC,), now_s: float = NOW_S) -> None:
    sns.check_envelope(sns.envelope_of(body, {}), pem or certificate(), topics, now_s)


@pytest.mark.parametrize("url", HOSTILE)
def test_a_hostile_address_of_a_certificate_is_not_one(url: str) -> None:
    with pytest.raises(Untrusted):
        sns.certificate_url(envelope(SigningCertURL=url))


@pytest.mark.parametrize(
    "url",
    [
        CERTIFICATE_URL,
        "https://sns.us-gov-west-1.amazonaws.com/SimpleNotificationService-0.pem",
        "https://sns.cn-north-1.amazonaws.com.cn/SimpleNotificationService-a1.pem",
        "https://sns.ap-southeast-3.amazonaws.com/SimpleNotificationService-a1.pem",
    ],
)
def test_amazons_own_addresses_are_taken_as_they_are(url: str) -> None:
    assert sns.certificate_url(envelope(SigningCertURL=url)) == url


PIECES = ["https:", "http:", "//", "/", "@", ":", "443", "#", "?", "\\", ".", "..", "%2e", "sns", "us-east-1"]
ENDINGS = ["s3-us-west-2", ".amazonaws.com", ".cn", "example.com", "SimpleNotificationService-", "f3ecfb", ".pem"]
AROUND = [" ", "\t", "\n", "\x00"]


@given(
    st.lists(st.sampled_from(PIECES + ENDINGS + AROUND), max_size=12).map("".join)
    | st.text(max_size=60).map(lambda rest: CERTIFICATE_URL + rest)
)
def test_whatever_is_let_pass_leads_to_amazon(url: str) -> None:
    """However an address is put together: what passes is exactly a scheme, a host of SNS, and a certificate's path."""
    try:
        passed = sns.certificate_url(envelope(SigningCertURL=url or None))
    except Untrusted:
        return
    assert passed == url
    parts = urlsplit(passed)
    host = parts.netloc.removesuffix(".cn").removesuffix(".amazonaws.com")
    assert host.startswith("sns.")
    assert host.count(".") == 1
    assert parts.scheme == "https"
    assert parts.path.startswith("/SimpleNotificationService-")
    assert not parts.query + parts.fragment


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize("changes", [{}, {"Subject": None}, {"Subject": ""}, {"Subject": "Ä ☃"}, {"Message": ""}])
def test_both_versions_of_signatures_hold(version: str, changes: dict[str, Any]) -> None:
    check(signed_message(message({}, **changes), version=version))


def test_a_subject_of_null_counts_as_absent() -> None:
    fields = orjson.loads(signed_message(message({}, Subject=None)))
    check(orjson.dumps(fields | {"Subject": None}))


def test_confirmations_are_signed_over_their_own_fields() -> None:
    check(signed_message(CONFIRMATION))
    check(signed_message(orjson.loads(payload("ses", "unsubscribe_confirmation.json")), version="2"))


SIGNED = ["Message", "MessageId", "Subject", "Timestamp", "TopicArn"]


@pytest.mark.parametrize("name", SIGNED)
def test_no_signed_field_can_be_changed_or_left_out(name: str) -> None:
    fields = orjson.loads(signed_message(message({})))
    changed = fields | {name: fields[name] + "x"}
    left_out = {each: value for each, value in fields.items() if each != name}
    for forged in (changed, left_out, fields | {name: None}, fields | {name: [fields[name]]}):
        with pytest.raises(Untrusted):
            check(orjson.dumps(forged), topics=(TOPIC, TOPIC + "x"))


def test_a_notification_does_not_pass_as_a_confirmation() -> None:
    fields = orjson.loads(signed_message(message({})))
    forged = fields | {"Type": sns.CONFIRMATION, "Token": "t", "SubscribeURL": "https://example.com"}
    with pytest.raises(Untrusted):
        check(orjson.dumps(forged))


def test_each_version_needs_its_own_digest() -> None:
    """A SHA-1 signature does not pass as version 2, nor the other way round."""
    for made, said in (("1", "2"), ("2", "1")):
        fields = orjson.loads(signed_message(message({}), version=made))
        with pytest.raises(Untrusted):
            check(orjson.dumps(fields | {"SignatureVersion": said}))


@pytest.mark.parametrize("version", ["0", "3", "", "1 ", "11", None, 1])
def test_no_other_version_is_known(version: Any) -> None:
    fields = orjson.loads(signed_message(message({})))
    with pytest.raises(Untrusted):
        check(orjson.dumps(fields | {"SignatureVersion": version}))


@pytest.mark.parametrize("signature", ["", "not Base64", "QUJD", "Ä", None])
def test_a_signature_that_is_none_does_not_hold(signature: Any) -> None:
    fields = orjson.loads(signed_message(message({})))
    with pytest.raises(Untrusted):
        check(orjson.dumps(fields | {"Signature": signature}))


def test_another_key_does_not_pass() -> None:
    with pytest.raises(Untrusted):
        check(signed_message(message({}), key=private_key(1)))


@pytest.mark.parametrize("topics", [(), ("arn:aws:sns:us-west-2:999999999999:MyTopic",), (TOPIC + "2",), (TOPIC[:-1],)])
def test_a_topic_that_is_not_on_the_list_is_not_believed(topics: tuple[str, ...]) -> None:
    """Anybody may have Amazon sign what their own topic says."""
    with pytest.raises(Untrusted, match="NEXTBEST_WEBHOOK_SES_TOPICS"):
        check(signed_message(message({})), topics=topics)


@pytest.mark.parametrize(
    ("begins", "ends"),
    [
        (datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC), datetime.datetime(2026, 11, 23, tzinfo=datetime.UTC)),
        (datetime.datetime(2026, 11, 25, tzinfo=datetime.UTC), datetime.datetime(2036, 1, 1, tzinfo=datetime.UTC)),
    ],
)
def test_a_certificate_of_another_time_does_not_hold(begins: datetime.datetime, ends: datetime.datetime) -> None:
    with pytest.raises(Untrusted, match="does not hold now"):
        check(signed_message(message({})), certificate(begins=begins, ends=ends))


def test_what_is_no_certificate_proves_nothing() -> None:
    for pem in (b"<html>", b"", b"-----BEGIN CERTIFICATE-----\nQUJD\n-----END CERTIFICATE-----\n"):
        with pytest.raises(Untrusted):
            sns.check_envelope(envelope(), pem, (TOPIC,), NOW_S)
    with pytest.raises(Untrusted, match="no certificate"):
        sns.check_envelope(envelope(), None, (TOPIC,), NOW_S)


@pytest.mark.parametrize(
    "name",
    [
        "sns.amazonaws.com",
        "sns.us-east-1.amazonaws.com",
        "sns-signing.me-south-1.amazonaws.com",
        "sns.cn-north-1.amazonaws.com.cn",
        "sns-cn-north-1.amazonaws.com.cn",
        "sns-us-gov-west-1.amazonaws.com",
    ],
)
def test_amazons_names_on_certificates_are_known(name: str) -> None:
    check_name(certificate(name=name))


@pytest.mark.parametrize(
    "name",
    [
        "example.com",
        "sns.amazonaws.com.example.com",
        "evil-sns.amazonaws.com",
        "s3.amazonaws.com",
        "*.amazonaws.com",
        "sns-evil.amazonaws.com",
        "sns-us-gov-west-1-x.amazonaws.com",
    ],
)
def test_a_certificate_of_another_name_is_not_amazons(name: str) -> None:
    with pytest.raises(Untrusted):
        check_name(certificate(name=name))


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b'"text"', b"{}", b"{", b'{"Type": 1}', b'{"Type": "Publish"}'])
def test_what_is_no_message_of_sns_is_not_trusted(body: bytes) -> None:
    with pytest.raises(Untrusted):
        sns.envelope_of(body, {})


@pytest.mark.parametrize("header", list(sns.REPEATED))
def test_headers_must_agree_with_the_message(header: str) -> None:
    fields = message({})
    sns.envelope_of(orjson.dumps(fields), {header: fields[sns.REPEATED[header]]})
    with pytest.raises(Untrusted, match=header):
        sns.envelope_of(orjson.dumps(fields), {header: "another"})


def test_a_confirmation_is_visited_at_an_address_of_our_own_making() -> None:
    forged = CONFIRMATION | {"SubscribeURL": "https://example.com/steal?Action=ConfirmSubscription"}
    url = sns.confirmation_url(sns.Envelope(forged))
    assert url is not None
    assert urlsplit(url).netloc == "sns.us-west-2.amazonaws.com"
    assert parse_qs(urlsplit(url).query) == {
        "Action": ["ConfirmSubscription"],
        "TopicArn": [TOPIC],
        "Token": [CONFIRMATION["Token"]],
    }
    assert sns.is_address_of_sns(url)


def test_a_chinese_topic_is_confirmed_in_china() -> None:
    fields = CONFIRMATION | {"TopicArn": "arn:aws-cn:sns:cn-north-1:123456789012:MyTopic"}
    assert str(sns.confirmation_url(sns.Envelope(fields))).startswith("https://sns.cn-north-1.amazonaws.com.cn/?")


@pytest.mark.parametrize(
    "changes",
    [
        {"Type": "UnsubscribeConfirmation"},  # never subscribed again by itself
        {"Type": "Notification"},
        {"TopicArn": "arn:aws:sns:example.com/:123456789012:MyTopic"},
        {"TopicArn": "arn:aws:sns:us-west-2:123456789012:My/Topic"},
        {"TopicArn": "arn:aws:sqs:us-west-2:123456789012:MyTopic"},
        {"Token": "a&Action=Publish"},
        {"Token": "a b"},
    ],
)
def test_nothing_else_is_visited(changes: dict[str, str]) -> None:
    assert sns.confirmation_url(sns.Envelope(CONFIRMATION | changes)) is None


@given(st.text(max_size=80), st.text(max_size=80))
def test_what_is_visited_is_always_sns(topic: str, token: str) -> None:
    fields = CONFIRMATION | {"TopicArn": topic or "x", "Token": token or "x"}
    url = sns.confirmation_url(sns.Envelope(fields))
    assert url is None or sns.is_address_of_sns(url)
