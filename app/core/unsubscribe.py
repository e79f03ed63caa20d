"""Unsubscribe tokens: what a link in a mail says, sealed so that nobody can make one, change one or read one. Pure.

    1.<key id>.<base64url of tag (16 bytes) and sealed text>

The text is the decision's packed id, then purpose, channel and customer key. It is sealed with AES-SIV (RFC 5297), a
keyed function of all of it: the same link is the same token (repeats of an answer carry the same), any other character
and it does not open, and the customer key is not shown to whoever the mail is passed on to. ADR 0028 says why not an
HMAC beside plain text. The check of the tag is the library's, in constant time.

A token has no end: RFC 8058 names none, and laws ask for links that work for 30 to 60 days at least.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from app.core.unsubscribe_keys import DERIVED, key_of, parse_secrets

_VERSION = "1"
_PACKED_ID = 14  # bytes: `app.core.decision.ids.pack_id`
#: Of the tag, a packed id, and at least a character of each name; above it no name can be so long.
_TOKEN = re.compile(r"1\.([A-Za-z0-9]{1,8})\.([A-Za-z0-9_-]{47,280})\Z")


class Link(NamedTuple):
    """What a link is about: no more of `purpose` on `channel` to `customer`, asked for by what `decision` sent."""

    purpose: str
    channel: str
    customer: str
    decision: bytes  # packed, 14 bytes


class Keyring:
    """Seals links with its first key, and opens those of all its keys. Making one takes some microseconds."""

    def __init__(self, keys: Iterable[tuple[str, bytes]]) -> None:
        """`keys`: id and 64 bytes each, the signing one first; at least one."""
        self._ciphers = {key_id: AESSIV(key) for key_id, key in keys}
        self._first = next(iter(self._ciphers))

    def seal(self, link: Link) -> str:
        """The token of a link: under 200 characters where purpose and channel have no more than 40 together."""
        text = b"\x00".join(name.encode() for name in (link.purpose, link.channel, link.customer))
        sealed = self._ciphers[self._first].encrypt(link.decision + text, [_beside(self._first)])
        return f"{_VERSION}.{self._first}.{base64.urlsafe_b64encode(sealed).rstrip(b'=').decode()}"

    def knows(self, token: str) -> bool:
        """Whether a token names a key that is here: one that does not may be good elsewhere."""
        found = _TOKEN.match(token)
        return found is not None and found[1] in self._ciphers

    def open(self, token: str) -> Link | None:
        """What a token says; None where it is not one of ours."""
        found = _TOKEN.match(token)
        cipher = None if found is None else self._ciphers.get(found[1])
        if found is None or cipher is None:
            return None
        sealed = _bytes_of(found[2])
        try:
            text = b"" if sealed is None else cipher.decrypt(sealed, [_beside(found[1])])
        except InvalidTag:
            return None
        names = text[_PACKED_ID:].decode().split("\x00")
        return Link(names[0], names[1], names[2], text[:_PACKED_ID]) if len(names) == 3 else None


@lru_cache(maxsize=8)
def keyring(configured: str | None, hash_key: bytes) -> Keyring | None:
    """The keys of a deployment: the `configured` ones, and the one that is derived from its hash key, which signs where
    none is configured. None while neither is known."""
    keys = [(each.id, key_of(each.secret.encode())) for each in parse_secrets(configured)] if configured else []
    if hash_key:
        keys.append((DERIVED, key_of(hash_key)))
    return Keyring(keys) if keys else None


def _beside(key_id: str) -> bytes:
    """What the tag covers beside the text: neither version nor key can be exchanged."""
    return f"nextbest unsubscribe {_VERSION} {key_id}".encode()


def _bytes_of(text: str) -> bytes | None:
    """Strictly: the last character of base64 has bits that no byte takes, and other spellings are not ours."""
    if len(text) % 4 == 1:
        return None
    raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    return raw if base64.urlsafe_b64encode(raw).rstrip(b"=").decode() == text else None
