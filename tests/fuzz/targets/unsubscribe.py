"""Unsubscribe links as they come back, and what is posted to them.

Input: token, or which form (a byte), and its text.
"""

from __future__ import annotations

from collections.abc import Iterator

from app.core.unsubscribe import Keyring, Link
from app.http.unsubscribe_form import posted

KEYS = Keyring([("0", bytes(range(64))), ("k2", bytes(range(64, 128)))])
LINK = Link("marketing", "email", "cus_000001", bytes(14))
TOKEN = KEYS.seal(LINK)
MULTIPART = "multipart/form-data; boundary=b"
ONE_CLICK = "List-Unsubscribe=One-Click"
PARTS = b'--b\r\nContent-Disposition: form-data; name="List-Unsubscribe"\r\n\r\nOne-Click\r\n--b--\r\n'
WORDS = (
    b"1.0.", b"1.k2.", b"=", b"_", b"List-Unsubscribe=One-Click", b"action=withdraw", b"&purpose=", b"%00", b"%ff",
    b"--b\r\n", b"Content-Disposition: form-data; name=", b"Content-Transfer-Encoding: base64", b"filename*=utf-8''",
    b"boundary=", b"Content-Type: message/rfc822", b"multipart/", b"charset=rot13", b"\r\n\r\n",
)  # fmt: skip


def seeds() -> Iterator[bytes]:
    yield b"\x00" + TOKEN.encode()
    yield b"\x01" + ONE_CLICK.encode()
    yield b"\x01action=withdraw&purpose=marketing"
    yield b"\x02" + PARTS
    yield b"\x03" + MULTIPART.encode() + b"\n" + PARTS


def run(data: bytes) -> None:
    if not data:
        return
    kind, rest = data[0] % 4, data[1:]
    if kind == 0:
        text = rest.decode("utf-8", "surrogateescape")
        KEYS.knows(text)
        found = KEYS.open(text)
        # AES-SIV is a function of all that it seals: another token that opens would be a forgery.
        assert found is None or KEYS.seal(found) == text
        return
    content_type, body = "application/x-www-form-urlencoded", rest
    if kind == 2:
        content_type = MULTIPART
    elif kind == 3:
        head, _, body = rest.partition(b"\n")
        content_type = head.decode("latin-1")
    wanted = posted(content_type, body)
    assert wanted.action in (None, "one_click", "withdraw", "withdraw_all", "grant")
    assert wanted.purpose != ""
