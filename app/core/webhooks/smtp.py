"""What a mail server's words say: the code in them, and whether it is the address that takes no mail.

Some providers hand on the server's answer and do not say whether a bounce is hard or soft. Basic codes are RFC 5321,
enhanced ones (`class.subject.detail`) RFC 3463 and
https://www.iana.org/assignments/smtp-enhanced-status-codes/smtp-enhanced-status-codes.xhtml.
"""

from __future__ import annotations

import re

#: Servers answer in a line or two; what providers append is not looked at.
LOOKED_AT = 1_000
_BASIC = re.compile(r"(?<![\w.])[45][0-7]\d(?![\w.])")
_ENHANCED = re.compile(r"(?<![\w.])([245])\.(\d{1,3})\.(\d{1,3})(?!\.?\d)")
#: Permanent for this mail, and no fault of the address: its mailbox is full, the mail too large, its content or its
#: sender refused. `5.4.x` is none of them: Microsoft answers 5.4.1 for addresses that do not exist.
_OF_THE_MAIL = frozenset({("2", "2"), ("2", "3"), ("3", "4")})
_SUBJECTS_OF_THE_MAIL = frozenset({"6", "7"})
_FULL = "552"


def smtp_code(text: str | None) -> str | None:
    """The first code in a server's words: `550`, else `5.1.1`; None where there is none."""
    if not text:
        return None
    found = _BASIC.search(text, 0, LOOKED_AT) or _ENHANCED.search(text, 0, LOOKED_AT)
    return None if found is None else found.group()


def refuses_address(text: str | None) -> bool:
    """Whether the words say that the address takes no mail, now and later. False where they do not say so: a stop that
    nobody asked for is for a provider's or a server's clear word, and soft bounces are counted besides."""
    if not text:
        return False
    if (enhanced := _ENHANCED.search(text, 0, LOOKED_AT)) is not None:
        kind, subject, detail = enhanced.groups()
        return kind == "5" and subject not in _SUBJECTS_OF_THE_MAIL and (subject, detail) not in _OF_THE_MAIL
    basic = _BASIC.search(text, 0, LOOKED_AT)
    return basic is not None and basic.group().startswith("5") and basic.group() != _FULL
