"""Who a request is about: customer keys, and aliases of them. Pure.

A customer key is a surrogate. What looks like a direct identifier is refused as a key, and an alias is never stored in
clear: only a keyed hash of it, which nobody without the deployment's hash key can compare with a list of addresses.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import blake2b
from typing import Literal, NamedTuple, TypeAlias, get_args

Kind: TypeAlias = Literal["user_id", "anonymous_id", "email_sha256", "phone_sha256", "external"]
KINDS: tuple[Kind, ...] = get_args(Kind)
#: These carry a digest that others compute too, so that its form is checked: SHA-256, hexadecimal.
DIGEST_KINDS = frozenset({"email_sha256", "phone_sha256"})
ALIAS_LENGTH_MAX = 256

KEY = re.compile(r"[A-Za-z0-9_-]{1,64}")
SHA256_HEX = re.compile(r"[0-9A-Fa-f]{64}")
#: Digits with separators, such as 555-123-4567 or (555) 123 4567. All-digit keys are fine: most are row numbers.
PHONE_LIKE = re.compile(r"[\s().\-_/]*(?:\d[\s().\-_/]*){7,}")


class Alias(NamedTuple):
    """Another name of a customer."""

    kind: Kind
    value: str


class Refusal(NamedTuple):
    """Why a key or an alias cannot be used: a problem code, and a detail that does not repeat the input."""

    code: Literal["direct_identifier", "invalid_request"]
    detail: str


def key_refusal(key: str) -> Refusal | None:
    """Why `key` cannot be a customer key; None when it can."""
    if looks_direct(key):
        return Refusal(
            "direct_identifier",
            "the customer key looks like an e-mail address or a phone number: send a surrogate key, "
            "or the address as `email_sha256`",
        )
    if not KEY.fullmatch(key):
        return Refusal("invalid_request", "a customer key is 1 to 64 letters, digits, `_` or `-`")
    return None


def looks_direct(key: str) -> bool:
    """Whether a key looks like an e-mail address or a phone number."""
    if "@" in key or key.startswith("+"):
        return True
    # The all-digit test also keeps the common key from meeting the expression.
    return not key.isdigit() and not key[:1].isalpha() and PHONE_LIKE.fullmatch(key) is not None


def resolve_reference(customer: str | Mapping[str, str]) -> str | Alias | Refusal:
    """What a request's `customer` refers to: a customer key, an alias that is to be looked up, or nothing usable."""
    if isinstance(customer, str):
        return key_refusal(customer) or customer
    if len(customer) != 1:
        return Refusal("invalid_request", "name the customer by exactly one of " + _listed(KINDS))
    (kind, value), *_ = customer.items()
    return alias_of(kind, value)


def alias_of(kind: str, value: str) -> Alias | Refusal:
    """An alias in its canonical form (digests in lower case), or why it is none."""
    if kind not in KINDS:
        return Refusal("invalid_request", "an identity is one of " + _listed(KINDS))
    if kind in DIGEST_KINDS:
        if not SHA256_HEX.fullmatch(value):
            return Refusal("invalid_request", f"`{kind}` is a SHA-256 digest, 64 hexadecimal characters")
        value = value.lower()
    elif not 1 <= len(value) <= ALIAS_LENGTH_MAX:
        return Refusal("invalid_request", f"`{kind}` is 1 to {ALIAS_LENGTH_MAX} characters")
    return Alias(kind, value)


def identity_hash(kind: str, value: str, hash_key: bytes) -> str:
    """What stands for an alias in the store: keyed BLAKE2b, 128 bits, 32 hexadecimal characters.

    A key longer than BLAKE2b's 64 bytes is digested first, as HMAC does.
    """
    key = hash_key if len(hash_key) <= 64 else blake2b(hash_key).digest()
    return blake2b(f"{kind}\0{value}".encode(), digest_size=16, key=key).hexdigest()


def customer_hash(customer: str, hash_key: bytes) -> str:
    """What stands for a customer key where nobody may be named: as for an alias, of a kind that no alias has."""
    return identity_hash("customer", customer, hash_key)


def attribute_hash(name: str, value: str, hash_key: bytes) -> str:
    """What stands for an attribute that the bundle wants hashed: as for an alias, of a kind that no alias has."""
    return identity_hash(f"attribute\0{name}", value, hash_key)


def fallback_key(kind: str, value: str, hash_key: bytes) -> str:
    """The customer key of an alias that is not linked: a `user_id` that may be a key is the key; any other becomes
    `cus_` and its keyed hash, so that the same unknown person is the same customer every time."""
    if kind == "user_id" and key_refusal(value) is None:
        return value
    return key_of_hash(identity_hash(kind, value, hash_key))


def key_of_hash(keyed_hash: str) -> str:
    """The customer key that stands for somebody of whom nothing but the hash of an alias is known."""
    return "cus_" + keyed_hash


def _listed(words: tuple[str, ...]) -> str:
    return ", ".join(f"`{word}`" for word in words)
