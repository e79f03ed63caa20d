"""What is posted to an unsubscribe link: a mailbox provider's one click, or a form of our own page. Pure.

RFC 8058 (section 3.2) posts `List-Unsubscribe=One-Click`, as `multipart/form-data` or
`application/x-www-form-urlencoded`. What cannot be read says nothing: then the page is shown, and nothing changes.
"""

from __future__ import annotations

from email.errors import MessageError
from email.parser import BytesParser
from email.policy import HTTP
from typing import Literal, NamedTuple, TypeAlias
from urllib.parse import parse_qsl

FIELDS_MAX = 16
#: What `email` raises of headers that it cannot take apart.
BROKEN = (LookupError, ValueError, TypeError, AttributeError, RecursionError, MessageError)
Action: TypeAlias = Literal["one_click", "withdraw", "withdraw_all", "grant"]
_ACTIONS: dict[str, Action] = {"withdraw": "withdraw", "withdraw_all": "withdraw_all", "grant": "grant"}


class Posted(NamedTuple):
    """What is asked for. `purpose` None: that of the link."""

    action: Action | None = None  # None: nothing that is understood
    purpose: str | None = None


def posted(content_type: str, raw: bytes) -> Posted:
    """What a body asks for, of either form; another or no content type is read as the second."""
    fields = _multipart(content_type, raw) if content_type.lower().startswith("multipart/") else _encoded(raw)
    # Read generously: whoever presses the button must not stay subscribed for a capital letter.
    if any(name.strip().lower() == "list-unsubscribe" and _is_one_click(value) for name, value in fields):
        return Posted("one_click")
    named = dict(reversed(fields))  # the first of a name counts
    return Posted(_ACTIONS.get(named.get("action", "")), named.get("purpose") or None)


def _is_one_click(value: str) -> bool:
    return value.strip().lower() == "one-click"


def _encoded(raw: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(raw.decode(), max_num_fields=FIELDS_MAX)
    except ValueError:  # too many fields, or no UTF-8
        return []


def _multipart(content_type: str, raw: bytes) -> list[tuple[str, str]]:
    """By the standard library's reader of MIME. What is broken is text, or missing, says its documentation; of some
    headers (`Content-Type: a/b; name*`) it raises, and then nothing is said."""
    try:
        return _parts(content_type, raw)
    except BROKEN:
        return []


def _parts(content_type: str, raw: bytes) -> list[tuple[str, str]]:
    head = f"Content-Type: {content_type}\r\n\r\n".encode("latin-1", "replace")
    fields: list[tuple[str, str]] = []
    for part in BytesParser(policy=HTTP).parsebytes(head + raw).walk():
        name = part.get_param("name", header="content-disposition")
        value = part.get_payload(decode=True)
        if isinstance(name, str) and isinstance(value, bytes) and len(fields) < FIELDS_MAX:
            fields.append((name, value.decode(errors="replace")))
    return fields
