"""The secrets of unsubscribe links, as an operator writes them: `id:secret,id:secret`, the first one signs. Pure.

Links live in mailboxes for years: a key that is no longer the first still opens the links that were made with it. Take
it away only when none of its links shall work any more.
"""

from __future__ import annotations

import hmac
import re
from typing import NamedTuple

#: The key that all nodes derive from the deployment's hash key. It opens links for ever, and signs while no other does.
DERIVED = "0"
SECRET_CHARACTERS_MIN = 32
_ID = re.compile(r"[A-Za-z0-9]{1,8}\Z")


class Secret(NamedTuple):
    """A secret and the id by which links say which one they were made with."""

    id: str
    secret: str


def parse_secrets(text: str) -> tuple[Secret, ...]:
    """The secrets of a setting, the signing one first. Raises ValueError with the remedy; it repeats no secret."""
    found = tuple(Secret(*_pair(each.strip())) for each in text.split(",") if each.strip())
    if not found:
        raise ValueError("`unsubscribe_keys` is empty: write `id:secret`, or leave it away")
    if len({each.id for each in found}) < len(found):
        raise ValueError("`unsubscribe_keys` has an id twice: links say by it which secret they were made with")
    return found


def _pair(text: str) -> tuple[str, str]:
    key_id, colon, secret = text.partition(":")
    if not colon or not _ID.match(key_id) or key_id == DERIVED:
        raise ValueError(
            f"`unsubscribe_keys` holds `id:secret` pairs; an id is 1 to 8 letters or digits, not `{DERIVED}`"
        )
    if len(secret) < SECRET_CHARACTERS_MIN:
        raise ValueError(f"`unsubscribe_keys`: a secret needs {SECRET_CHARACTERS_MIN} characters or more")
    return key_id, secret


def key_of(secret: bytes) -> bytes:
    """The 64 bytes that links are sealed with, of a secret that may serve other things too."""
    return hmac.digest(secret, b"nextbest unsubscribe links, version 1", "sha512")
