"""The certificates that Amazon SNS signs with: whose they are, when they hold, and what they have signed. Pure.

https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html

Of what that page asks for, one thing is done in another way: the chain above a certificate is not walked. The file at
the address holds the certificate alone. What lies between it and Amazon's roots would have to be fetched from another
address, and nothing but SNS is ever asked; or be shipped here, and Amazon takes its issuers in turn
(https://aws.amazon.com/blogs/security/amazon-introduces-dynamic-intermediate-certificate-authorities/): every message
would be refused on the day of the next one. Its place is taken by where a certificate comes from, which is Amazon's own
host over TLS whose chain *is* walked, or a file that the operator put there; and by its name, its dates, and its key.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import Literal, TypeAlias

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.x509.oid import NameOID

from app.core.webhooks.provider import Untrusted
from app.core.webhooks.signatures import WRONG_SIGNATURE

SignatureVersion: TypeAlias = Literal["1", "2"]

KEY_BITS_MIN = 2048
#: Amazon's own name; that of regions which have to be switched on (`sns-signing.<region>`); that of China and GovCloud
#: (`sns-<region>`). `SnsHostProvider.signingCertCommonName` of AWS's SDK for Java lists them by region:
#: https://github.com/aws/aws-sdk-java-v2/tree/master/services-custom/sns-message-manager
_REGION = r"[a-z]{2}(?:-[a-z]+)+-\d"
_NAME = re.compile(rf"sns(?:-signing)?(?:[.-]{_REGION})?\.amazonaws\.com(?:\.cn)?", re.ASCII)


def check_signature(pem: bytes, signature: bytes, signed: bytes, version: SignatureVersion, now_s: float) -> None:
    """`signature` is the certificate's over `signed`: RSA, PKCS #1 v1.5, with SHA-1 (version 1) or SHA-256 (2), and
    the certificate holds now. Raises Untrusted."""
    certificate = certificate_of(pem)
    now = datetime.fromtimestamp(now_s, UTC)
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        raise Untrusted("the certificate does not hold now: it is of another time, or the clock is wrong")
    try:
        # SHA-1 is what topics sign with until `SignatureVersion` is set to 2: docs/webhooks.md advises it.
        digest = SHA1() if version == "1" else SHA256()  # noqa: S303  # it is what the vendor signs with
        _key_of(certificate).verify(signature, signed, PKCS1v15(), digest)
    except InvalidSignature:
        raise Untrusted(WRONG_SIGNATURE) from None


def check_name(pem: bytes) -> None:
    """The certificate is of Amazon SNS by its subject. Raises Untrusted."""
    names = certificate_of(pem).subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if len(names) != 1 or _NAME.fullmatch(str(names[0].value)) is None:
        raise Untrusted("the certificate is not one of Amazon SNS")


@lru_cache(maxsize=64)
def certificate_of(pem: bytes) -> x509.Certificate:
    """Raises Untrusted where the bytes are no certificate."""
    try:
        return x509.load_pem_x509_certificate(pem)
    except (ValueError, UnsupportedAlgorithm):
        raise Untrusted("the certificate cannot be read") from None


def _key_of(certificate: x509.Certificate) -> RSAPublicKey:
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        raise Untrusted("the certificate's key cannot be read") from None
    if not isinstance(key, RSAPublicKey) or key.key_size < KEY_BITS_MIN:
        raise Untrusted("the certificate's key is not RSA of 2048 bits or more")
    return key
