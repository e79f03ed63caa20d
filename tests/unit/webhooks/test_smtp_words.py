"""What mail servers' answers are read for."""

from __future__ import annotations

import pytest

from app.core.webhooks.smtp import refuses_address, smtp_code


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("550 5.1.1 The email account that you tried to reach does not exist", "550"),
        ("bounced (450 4.2.0 temporarily unavailable. a67bc12345def.22 - gsmtp)", "450"),
        ("smtp;550-5.1.1 no such user", "550"),
        ("status 5.1.10, user unknown", "5.1.10"),
        ("4.7.28 Gmail has detected an unusual rate", "4.7.28"),
        ("Twilio Error 21408", None),
        ("no answer from 10.5.1.1:550", "550"),
        ("connection to 5.1.1.2 timed out", None),
        ("more than 5500 recipients", None),
        ("", None),
        (None, None),
    ],
)
def test_a_code_is_found_where_it_stands(words: str | None, code: str | None) -> None:
    assert smtp_code(words) == code


@pytest.mark.parametrize(
    "words",
    [
        "550 5.1.1 unknown user",
        "550 5.2.1 mailbox disabled",
        "550 5.4.1 Recipient address rejected: Access denied",
        "550 5.5.0 Requested action not taken: mailbox unavailable",
        "550 no such user",
        "553 mailbox name not allowed",
        "5.1.2 bad destination system address",
    ],
)
def test_an_address_is_refused_by_a_clear_word(words: str) -> None:
    assert refuses_address(words)


@pytest.mark.parametrize(
    "words",
    [
        "552 5.2.2 over quota",
        "552 too much mail data",
        "550 5.2.3 message too large",
        "552 5.3.4 message too big for system",
        "550 5.6.0 content rejected",
        "550 5.7.1 blocked by policy",
        "554 5.7.26 unauthenticated sender",
        "450 4.1.1 try again later",
        "421 busy",
        "250 2.1.5 ok",
        "host not found",
        "",
        None,
    ],
)
def test_what_is_said_of_the_mail_or_of_now_stops_nobody(words: str | None) -> None:
    assert not refuses_address(words)


def test_only_the_beginning_is_looked_at() -> None:
    assert smtp_code("x" * 2_000 + " 550 5.1.1") is None
