"""Amazon SNS: the envelope of a message, and how it is proven to be of a topic that is trusted.

https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html
https://docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html

Rule 1: nothing is ever fetched from an address that came with a message, but a certificate from `sns.<region>` of
Amazon itself (`certificate_url`); the address that confirms a subscription is built here (`confirmation_url`).
Rule 2: a valid signature proves that Amazon sent it, for whomever: anybody may point a topic of theirs at us. Only
topics on the list are believed, and none is on it until somebody wrote it there.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit

from app.core.webhooks.bodies import object_of
from app.core.webhooks.provider import Unreadable, Untrusted

NOTIFICATION = "Notification"
CONFIRMATION = "SubscriptionConfirmation"
#: What is signed, by type, in this order; a name that a message does not have is left out.
SIGNED = {
    NOTIFICATION: ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    CONFIRMATION: ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
    "UnsubscribeConfirmation": ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
}
#: Headers that repeat what the envelope says; they are not signed, so they may only agree.
REPEATED = {"x-amz-sns-message-type": "Type", "x-amz-sns-message-id": "MessageId", "x-amz-sns-topic-arn": "TopicArn"}
RAW_HEADER = "x-amz-sns-rawdelivery"

_REGION = r"[a-z]{2}(?:-[a-z]+)+-\d"
#: Anchored at both ends, with a region's form between the dots: `sns.s3-us-west-2.amazonaws.com` is somebody's bucket
#: (https://github.com/0xdabbad00/validatesns/issues/6).
_HOST = re.compile(rf"sns\.{_REGION}\.amazonaws\.com(?:\.cn)?", re.ASCII)
_PATH = re.compile(r"/SimpleNotificationService-[0-9a-f]{1,64}\.pem", re.ASCII)
_TOPIC = re.compile(rf"arn:(aws|aws-cn|aws-us-gov):sns:({_REGION}):\d{{12}}:[A-Za-z0-9_.-]{{1,256}}", re.ASCII)
_TOKEN = re.compile(r"[A-Za-z0-9_=+/-]{1,1024}", re.ASCII)
URL_LENGTH_MAX = 300


class Envelope(NamedTuple):
    """What SNS wraps around a message. Not yet believed."""

    fields: Mapping[str, Any]

    def text(self, name: str) -> str:
        """The text under a name that every message has. Raises Untrusted."""
        value = self.fields.get(name)
        if not isinstance(value, str) or not value:
            raise Untrusted(f"the SNS message has no `{name}`")
        return value

    @property
    def type(self) -> str:
        return self.text("Type")

    @property
    def topic(self) -> str:
        return self.text("TopicArn")


def is_raw(headers: Mapping[str, str]) -> bool:
    """Whether the message comes without an envelope, and so without a signature ("raw message delivery")."""
    return headers.get(RAW_HEADER, "").strip().lower() == "true"


def envelope_of(body: bytes, headers: Mapping[str, str]) -> Envelope:
    """The envelope of a body. Raises Untrusted: what is none was not sent by SNS."""
    try:
        found = Envelope(object_of(body))
    except Unreadable:
        raise Untrusted("the body is no SNS message") from None
    if found.type not in SIGNED:
        raise Untrusted("this type of SNS message is not known")
    for header, name in REPEATED.items():
        if header in headers and headers[header].strip() != found.text(name):
            raise Untrusted(f"the `{header}` header is not the message's `{name}`")
    return found


def certificate_url(envelope: Envelope) -> str:
    """Where the certificate is that signed the message. Raises Untrusted for any address but that of a certificate at
    `sns.<region>.amazonaws.com`: without userinfo, port, query or fragment, exactly as Amazon writes it."""
    said = envelope.text("SigningCertURL")
    if len(said) <= URL_LENGTH_MAX and said.isascii():
        try:
            parts = urlsplit(said)
        except ValueError:
            raise Untrusted("the certificate's address is not one of Amazon SNS") from None
        rebuilt = f"https://{parts.netloc}{parts.path}"  # nothing that the parser passed over is passed on
        if _HOST.fullmatch(parts.netloc) and _PATH.fullmatch(parts.path) and rebuilt == said:
            return rebuilt
    raise Untrusted("the certificate's address is not one of Amazon SNS")


def is_address_of_sns(url: str) -> bool:
    """Whether an address is Amazon SNS's own: the last look before anything is fetched."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme == "https" and _HOST.fullmatch(parts.netloc) is not None and url.isascii()


def signed_text(envelope: Envelope) -> bytes:
    """What the signature covers: the decoded texts, each after its name. A `null` subject counts as absent. Raises
    Untrusted where something that must be signed is missing."""
    parts = []
    for name in SIGNED[envelope.type]:
        if name == "Subject" and envelope.fields.get(name) is None:
            continue
        # An empty message or subject is one all the same, and is signed.
        value = envelope.fields.get(name)
        if not isinstance(value, str):
            raise Untrusted(f"the SNS message has no `{name}`")
        parts.append(f"{name}\n{value}\n")
    try:
        return "".join(parts).encode()
    except UnicodeEncodeError:
        raise Untrusted("the SNS message holds half a character") from None


def check_topic(envelope: Envelope, topics: Sequence[str]) -> None:
    """The message is of one of the topics. Raises Untrusted."""
    if envelope.topic not in topics:
        raise Untrusted("the topic is not one of those configured: add its ARN to NEXTBEST_WEBHOOK_SES_TOPICS")


def check_envelope(envelope: Envelope, certificate: bytes | None, topics: Sequence[str], now_s: float) -> None:
    """The message is signed by the certificate (PEM), and of a topic on the list. Raises Untrusted. The certificate's
    address and name are looked at where it is fetched."""
    from app.core.webhooks.sns_certificate import SignatureVersion, check_signature  # few deployments need its library

    check_topic(envelope, topics)
    if certificate is None:
        raise Untrusted("there is no certificate to check the signature with")
    version = envelope.text("SignatureVersion")
    if version not in ("1", "2"):
        raise Untrusted("this version of SNS signatures is not known")
    known: SignatureVersion = "1" if version == "1" else "2"
    try:
        signature = b64decode(envelope.text("Signature"), validate=True)
    except ValueError:
        raise Untrusted("the signature is not Base64") from None
    check_signature(certificate, signature, signed_text(envelope), known, now_s)


def confirmation_url(envelope: Envelope) -> str | None:
    """Where the subscription that a believed message offers is confirmed; None where it offers none. Built of the
    topic and the token alone: `SubscribeURL` is never visited."""
    if envelope.type != CONFIRMATION:
        return None
    topic, token = _TOPIC.fullmatch(envelope.topic), envelope.text("Token")
    if topic is None or _TOKEN.fullmatch(token) is None:
        return None
    partition, region = topic.groups()
    suffix = ".cn" if partition == "aws-cn" else ""
    query = urlencode({"Action": "ConfirmSubscription", "TopicArn": envelope.topic, "Token": token})
    return f"https://sns.{region}.amazonaws.com{suffix}/?{query}"
