"""Whom an event is about, by the identities that it came with."""

from __future__ import annotations

from typing import Any, NamedTuple

from app.core.events.event import Arrived, Edge, Misfit, Misfits
from app.core.events.masking import email_digest, phone_digest
from app.core.identity import KINDS, Alias, Refusal, alias_of, identity_hash, key_refusal
from app.core.keeping import MATRIX_NAME, identity_handling
from policy.bundle import Bundle

#: Identities beyond these are a mistake, and would make an entry large.
IDENTITIES_MAX = 8


class Who(NamedTuple):
    """`subject` is a customer key, or the alias of one, which is to be looked up."""

    subject: str | Alias
    aliases: tuple[Alias, ...] = ()  # all that were told; the subject among them, where it is one
    previous: tuple[Alias, ...] = ()


def unwanted_kinds(bundle: Bundle) -> frozenset[str]:
    """Kinds of identity that the PII matrix does not want collected, by both of their names."""
    unwanted = [kind for kind in KINDS if identity_handling(bundle, kind).drop]
    return frozenset((*unwanted, *(MATRIX_NAME[kind] for kind in unwanted)))


def who_is_it(arrived: Arrived, unwanted: frozenset[str]) -> Who | Misfit:
    """Whom it is about: the first identity that can be used; those after it are the same person's."""
    key: str | None = None
    aliases: list[Alias] = []
    for kind, value in arrived.who:
        if kind == "customer":
            found = _key(value)
            if isinstance(found, Misfit):
                return found
            key = key or found
        elif kind not in unwanted:
            alias = _alias(kind, value)
            if isinstance(alias, Misfit):
                return alias
            if alias is not None and alias not in aliases:
                aliases.append(alias)
    if key is None and not aliases:
        return Misfit(Misfits.NO_IDENTITY, "it says of nobody: send a user id or an anonymous id")
    if len(aliases) > IDENTITIES_MAX:
        return Misfit(Misfits.TOO_LARGE, f"at most {IDENTITIES_MAX} identities")
    previous = _previous(arrived, unwanted)
    if isinstance(previous, Misfit):
        return previous
    return Who(aliases[0] if key is None else key, tuple(aliases), previous)


def edge(alias: Alias, hash_key: bytes) -> Edge:
    """What stands for an identity in the stream."""
    return Edge(alias.kind, bytes.fromhex(identity_hash(alias.kind, alias.value, hash_key)))


def _previous(arrived: Arrived, unwanted: frozenset[str]) -> tuple[Alias, ...] | Misfit:
    found = [_alias(kind, value) for kind, value in arrived.previous if kind not in unwanted]
    if arrived.kind == "alias" and not any(isinstance(each, Alias) for each in found):
        return Misfit(Misfits.NO_IDENTITY, "an alias says who that was before (`previousId`)")
    return tuple(each for each in found if isinstance(each, Alias))


def _key(value: Any) -> str | Misfit:
    refusal = key_refusal(value) if isinstance(value, str) else None
    if refusal is not None and refusal.code == "direct_identifier":
        return Misfit(Misfits.DIRECT_IDENTIFIER, refusal.detail)
    if refusal is not None or not isinstance(value, str):
        return Misfit(Misfits.NO_IDENTITY, "a customer key is 1 to 64 letters, digits, `_` or `-`")
    return value


def _alias(kind: str, value: Any) -> Alias | Misfit | None:
    """None of what is absent. `email` and `phone` are the clear text of what is known by its digest: one that cannot be
    understood says nothing, since nobody meant it as an identity."""
    if value is None or value == "":
        return None
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if kind in ("email", "phone"):
        digest = (email_digest if kind == "email" else phone_digest)(text) if isinstance(text, str) else None
        return None if digest is None else Alias("email_sha256" if kind == "email" else "phone_sha256", digest)
    if not isinstance(text, str):
        return Misfit(Misfits.NO_IDENTITY, f"`{kind}` is a text")
    found = alias_of(kind, text)
    return Misfit(Misfits.NO_IDENTITY, found.detail) if isinstance(found, Refusal) else found
