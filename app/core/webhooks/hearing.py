"""What a provider said → what is heard of it: nothing that names a person goes further than this file. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from email.utils import parseaddr
from hashlib import sha256

from app.core.decision.ids import parse_id
from app.core.events.masking import email_digest
from app.core.heard import Heard, message_named
from app.core.identity import key_refusal
from app.core.outcomes import BY_MACHINES, EVERY_CHANNEL, SCOPED, Outcome, link_hash
from app.core.webhooks.machines import is_machine
from app.core.webhooks.masking import kept_reason
from app.core.webhooks.provider import Said, Unfit
from policy.codes import OutcomeType

_CHANNEL = re.compile(r"[a-z0-9_]{1,48}")
_GROUP = re.compile(r"[a-z0-9_-]{1,24}")
_SMTP_CODE = re.compile(r"\d{3}|\d\.\d{1,3}\.\d{1,3}")
#: Providers do not send such, and what they send in its place is nothing to read codes from.
SMTP_CODE_LENGTH_MAX = 11


def hear(provider: str, said: Said, one_of_several: bool, domain_class: Callable[[str], str]) -> Heard:
    """What is heard of one recipient. `one_of_several`: the item names others as well, so that its id is not theirs
    alone; `domain_class(address)` names the class of its domain. Raises Unfit where nothing says whose mail it was."""
    if not isinstance(said.type, OutcomeType):
        raise TypeError("what changes nothing is nobody's")
    address = _address(said.recipient)
    recipient = None if address is None else email_digest(address)
    decision = parse_id(said.decision_id) if said.decision_id else None
    message = message_named(provider, said.message_id)
    if said.customer is not None and (refused := key_refusal(said.customer)) is not None:
        raise Unfit(refused.detail)
    if recipient is None and decision is None and message is None and said.customer is None:
        raise Unfit("it names no recipient, no message and no decision")
    return Heard(
        Outcome(
            said.type,
            said.at_ms,
            said.value,
            f"{provider}:{_event_id(provider, said, recipient, one_of_several)}",
            said.type in BY_MACHINES and (said.machine or is_machine(said.user_agent)),
            _scope(provider, said) if said.type in SCOPED else None,
            kept_reason(said.reason),
            link=None if said.url is None else link_hash(said.url),
            smtp_code=_smtp_code(said.smtp_code),
            suppressed=said.suppressed if said.type is OutcomeType.DROPPED else None,
        ),
        decision,
        message,
        recipient,
        said.customer,
        said.channel,
        provider,
        domain_class(address) if address is not None and recipient is not None else "",
    )


def _address(said: str | None) -> str | None:
    """The address alone: some providers hand on `Jane <jane@example.com>` as it stood in the mail."""
    if said is None:
        return None
    if said.rstrip().endswith(">"):
        said = parseaddr(said)[1]
    return said.strip().lower() or None


def _event_id(provider: str, said: Said, recipient: str | None, one_of_several: bool) -> str:
    """By which a repeat is known. Where the provider has no id for an event, what it says of it stands for it."""
    own = said.event_id
    # Some make ids of addresses, and this one is kept and shown; and of half characters, which nothing can keep.
    if own is not None and ("@" in own or "%40" in own or not _is_whole(own)):
        own = sha256(own.encode("utf-8", "replace")).hexdigest()[:32]
    if own is None:
        at = "" if said.at_ms is None else str(said.at_ms)
        parts = (provider, said.raw_type, said.message_id or "", recipient or "", at, said.url or "")
        return sha256("|".join(parts).encode("utf-8", "replace")).hexdigest()[:32]
    return f"{own}/{(recipient or '')[:16]}" if one_of_several else own


def _is_whole(text: str) -> bool:
    """Whether it can be written down: JSON may hold one half of a surrogate pair (`"\\ud800"`)."""
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def _scope(provider: str, said: Said) -> str | None:
    """What somebody (un)subscribed from: None is the message's channel, `*` all of them. A group or list of a
    provider's lies within its channel and stops all of it, since we do not know what else is sent to that group:
    closed. It is kept apart, so that resubscribing to a group lifts what leaving that group set, and nothing else.
    """
    if said.scope is None or said.scope == "all":
        return None
    if said.scope == EVERY_CHANNEL or (provider == "generic" and _CHANNEL.fullmatch(said.scope)):
        return said.scope
    group = said.scope.strip().lower()
    if not _GROUP.fullmatch(group):
        group = sha256(said.scope.encode("utf-8", "replace")).hexdigest()[:16]
    return f"{said.channel}/{provider}-{group}"


def _smtp_code(said: str | None) -> str | None:
    return said if said is not None and len(said) <= SMTP_CODE_LENGTH_MAX and _SMTP_CODE.fullmatch(said) else None
