"""What may not be kept of a text: anything that names a person directly. Such a text becomes a keyed hash of itself, so
that equal ones stay equal and nobody can read them.

Rather too much than too little: an order number that is written like a telephone number becomes a hash as well, which
costs nothing, since only its equality is of use.
"""

from __future__ import annotations

import re
from hashlib import blake2b, sha256

from app.core.identity import attribute_hash, looks_direct

_ADDRESS_OR_NUMBER = re.compile(
    r"\S@\S"  # an e-mail address
    r"|\+\d[\d\s().\-]{6,}"  # telephone numbers: +49 30 1234567, 555-123-4567
    r"|\d{3}\)?[\s.\-]\d{3}[\s.\-]\d{4}"
    r"|(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?![\d.])"  # an IPv4 address
    r"|(?:[0-9A-Fa-f]{1,4}:){4,}|[0-9A-Fa-f]{1,4}::[0-9A-Fa-f]"  # an IPv6 address
)
#: Written like a telephone number, and surely none: a day, a decimal number.
_DAY_OR_NUMBER = re.compile(r"\d{4}-\d\d-\d\d|-?\d+\.\d+")
_EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s]{1,255}")
_SEPARATORS = re.compile(r"[\s().\-/]")
_PHONE = re.compile(r"(?:\+|00)(\d{7,15})")
_SHOWN_NAME = re.compile(r"[A-Za-z_$][A-Za-z0-9_$ .:\-]{0,63}")


def names_somebody(text: str) -> bool:
    """Whether a text looks as if it named a person directly."""
    if text.isalnum():  # most are: words, keys, codes
        return False
    if _DAY_OR_NUMBER.fullmatch(text):
        return False
    return looks_direct(text) or _ADDRESS_OR_NUMBER.search(text) is not None


def kept_text(name: str, text: str, hash_key: bytes) -> str:
    """What is kept of a property's text."""
    return attribute_hash(name, text, hash_key) if names_somebody(text) else text


def email_digest(text: str) -> str | None:
    """SHA-256 of an address as `email_sha256` wants it; None of what is no address."""
    address = text.strip().lower()
    return sha256(address.encode()).hexdigest() if _EMAIL.fullmatch(address) else None


def phone_digest(text: str) -> str | None:
    """SHA-256 of a telephone number written as `+` and digits (E.164). None of one without its country, which would be
    somebody else's elsewhere."""
    found = _PHONE.fullmatch(_SEPARATORS.sub("", text))
    return sha256(f"+{found[1]}".encode()).hexdigest() if found else None


def hash64(kind: str, value: str, hash_key: bytes) -> bytes:
    """8 bytes that stand for a message id, or for what happens only once. That any two of 500 million share theirs by
    chance has a probability of 0.7 %."""
    key = hash_key if len(hash_key) <= 64 else blake2b(hash_key).digest()
    return blake2b(f"{kind}\0{value}".encode(), digest_size=8, key=key).digest()


def shown_source(text: str) -> str:
    """A source as far as it may be kept: a plain name in one word, or the scheme and host of a URL."""
    plain = text.partition("?")[0].partition("#")[0][:64]
    return "" if names_somebody(plain) or not plain.isprintable() or " " in plain else plain


def shown_name(name: str) -> str:
    """The name of an event or a property as far as it may be shown."""
    if _SHOWN_NAME.fullmatch(name) and not names_somebody(name):
        return f"`{name}`"
    return "(a name that is not repeated here)"
