"""What proofs of providers are checked with. Every comparison takes the same time wherever the difference lies.

Each `check_…` returns nothing where the proof holds, and raises Untrusted with what is missing or wrong, never with
what was sent. Several secrets are accepted at once, so that they can be rotated without a gap: any one proves it.
"""

from __future__ import annotations

import hmac
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from typing import Literal, TypeAlias

from app.core.webhooks.provider import Untrusted

Digest: TypeAlias = Literal["sha1", "sha256"]

#: How far a signed time may lie ahead: clocks that are set by the network differ by seconds.
AHEAD_S_MAX = 300
WRONG_SIGNATURE = "the signature is not made with a configured secret, or the body was changed"


def required(headers: Mapping[str, str], name: str) -> str:
    """The header `name` (lower case). Raises Untrusted where it is missing, empty, or not ASCII: no provider
    sends such a thing, and comparing in constant time takes ASCII only."""
    value = headers.get(name, "").strip()
    if not value:
        raise Untrusted(f"there is no `{name}` header")
    if not value.isascii():
        raise Untrusted(f"the `{name}` header is not ASCII")
    return value


def check_hmac_hex(given: str, signed: bytes, secrets: Iterable[str | bytes], digest: Digest = "sha256") -> None:
    """`given` is the hexadecimal HMAC of `signed`. Raises Untrusted."""
    _check_any(given.strip().lower(), (hmac_of(secret, signed, digest).hex() for secret in secrets))


def check_hmac_base64(given: str, signed: bytes, secrets: Iterable[str | bytes], digest: Digest = "sha256") -> None:
    """`given` is the Base64 HMAC of `signed`, with its padding. Raises Untrusted."""
    _check_any(given.strip(), (b64encode(hmac_of(secret, signed, digest)).decode() for secret in secrets))


def check_same(given: str, expected: Iterable[str], what: str = "the token is not one of those configured") -> None:
    """`given`, a whole header or token, is one of `expected`. Raises Untrusted with `what`."""
    if not is_one_of(given, expected):
        raise Untrusted(what)


def check_basic(headers: Mapping[str, str], basic: Iterable[str]) -> None:
    """The request carries one of the credentials `user:password`, as HTTP Basic. Raises Untrusted."""
    scheme, _, credentials = required(headers, "authorization").partition(" ")
    if scheme.lower() != "basic":
        raise Untrusted("send the configured credentials as HTTP Basic")
    try:
        given = b64decode(credentials.strip(), validate=True)
    except ValueError:
        raise Untrusted("the credentials are not Base64") from None
    if not _any_same(given, (each.encode() for each in basic)):
        raise Untrusted("the credentials are not those configured")


def check_bearer(headers: Mapping[str, str], tokens: Iterable[str]) -> None:
    """The request carries one of the tokens as `Authorization: Bearer …`. Raises Untrusted."""
    scheme, _, token = required(headers, "authorization").partition(" ")
    if scheme.lower() != "bearer":
        raise Untrusted("send the configured token as `Authorization: Bearer …`")
    check_same(token.strip(), tokens)


def check_recent(signed_s: float, now_s: float, past_s: float, ahead_s: float = AHEAD_S_MAX) -> None:
    """A signed time (Unix s) is not older than `past_s` and not more than `ahead_s` ahead. Raises Untrusted."""
    if now_s - signed_s > past_s:
        raise Untrusted("the signature is too old: send it signed anew, or set the clock")
    if signed_s - now_s > ahead_s:
        raise Untrusted("the signature lies in the future: set the clock")


def signed_time_s(text: str) -> int:
    """Unix s as signed, which are digits and nothing else. Raises Untrusted."""
    if not (text.isascii() and text.isdecimal() and len(text) <= 12):
        raise Untrusted("the time of the signature is not in Unix seconds")
    return int(text)


def hmac_of(secret: str | bytes, signed: bytes, digest: Digest = "sha256") -> bytes:
    """The HMAC of `signed`; a `str` secret counts in UTF-8."""
    return hmac.digest(secret if isinstance(secret, bytes) else secret.encode(), signed, digest)


def is_one_of(given: str, expected: Iterable[str]) -> bool:
    """Whether a text is one of those expected, in constant time for each."""
    return _any_same(given.encode("utf-8", "surrogatepass"), (each.encode() for each in expected))


def _check_any(given: str, expected: Iterable[str]) -> None:
    if not is_one_of(given, expected):
        raise Untrusted(WRONG_SIGNATURE)


def _any_same(given: bytes, expected: Iterable[bytes]) -> bool:
    """All are compared, so that the time does not tell which of the secrets it is."""
    same = False
    for each in expected:
        same = hmac.compare_digest(given, each) or same
    return same
