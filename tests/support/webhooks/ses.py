"""Messages of SNS, signed with keys that are made here: the secret of a sample is the private key, as PEM."""

from __future__ import annotations

import datetime
from base64 import b64encode
from functools import cache
from typing import Any

import orjson
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import NameOID

from app.core.webhooks.provider import Trust
from tests.support.webhooks import Sample
from tests.support.webhooks.payloads import payload

TOPIC = "arn:aws:sns:us-west-2:123456789012:MyTopic"
CERTIFICATE_URL = "https://sns.us-west-2.amazonaws.com/SimpleNotificationService-f3ecfb7224c7233fe7bb5f59f96de52f.pem"
SIGNED_ALWAYS = ("Message", "MessageId", "SubscribeURL", "Subject", "Timestamp", "Token", "TopicArn", "Type")
BEGINS, ENDS = datetime.datetime(2016, 1, 1, tzinfo=datetime.UTC), datetime.datetime(2056, 1, 1, tzinfo=datetime.UTC)


@cache
def private_key(which: int = 0) -> str:
    """A private key as PEM; the same for the same number, since making one takes a tenth of a second."""
    key = generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@cache
def _loaded(key: str) -> RSAPrivateKey:
    loaded = load_pem_private_key(key.encode(), None)
    assert isinstance(loaded, RSAPrivateKey)
    return loaded


@cache
def certificate(
    key: str | None = None,
    name: str = "sns.amazonaws.com",
    begins: datetime.datetime = BEGINS,
    ends: datetime.datetime = ENDS,
) -> bytes:
    """A certificate for a key, signed by itself."""
    private = _loaded(key or private_key())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(private.public_key())
        .serial_number(1)
        .not_valid_before(begins)
        .not_valid_after(ends)
        .sign(private, SHA256())
    )
    return made.public_bytes(Encoding.PEM)


def message(said: Any, **changes: Any) -> dict[str, Any]:
    """A notification that carries what SES says, not yet signed. A change to None leaves a field out."""
    text = said if isinstance(said, str) else orjson.dumps(said).decode() + "\n"
    fields = orjson.loads(payload("ses", "event_bounce_permanent.json")) | {"Message": text} | changes
    return {name: value for name, value in fields.items() if value is not None}


def signed_message(fields: dict[str, Any], key: str | None = None, version: str = "1") -> bytes:
    """The body of a message, signed as Amazon does: written from its recipe, apart from the code under test."""
    notifies = fields["Type"] == "Notification"
    names = [each for each in SIGNED_ALWAYS if each in fields and (notifies or each != "Subject")]
    if notifies:
        names = [each for each in names if each not in ("SubscribeURL", "Token")]
    text = "".join(f"{name}\n{fields[name]}\n" for name in names if fields[name] is not None)
    digest = SHA1() if version == "1" else SHA256()  # what the vendor signs with
    signature = _loaded(key or private_key()).sign(text.encode(), PKCS1v15(), digest)
    signs = {"Signature": b64encode(signature).decode(), "SignatureVersion": version}
    return orjson.dumps(fields | signs)


SAMPLE = Sample(
    body=payload("ses", "notification_bounce_of_two.json"),
    trust=Trust(secrets=(private_key(),), topics=(TOPIC,)),
    other_secret=private_key(1),
    certificate=certificate(),
)


def signed_body(body: bytes, secret: str, now_s: float) -> bytes:
    """The signature is inside, over the fields and not over the bytes."""
    del now_s  # no time is checked but the certificate's
    return signed_message(orjson.loads(body), secret)


def signed(body: bytes, secret: str, now_s: float) -> dict[str, str]:
    del secret, now_s
    fields = orjson.loads(body)
    return {
        "content-type": "text/plain; charset=UTF-8",
        "x-amz-sns-message-type": fields["Type"],
        "x-amz-sns-message-id": fields["MessageId"],
        "x-amz-sns-topic-arn": fields["TopicArn"],
    }
