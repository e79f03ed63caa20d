"""Commands as bytes: the request half of RESP 2 (https://redis.io/docs/latest/develop/reference/protocol-spec/).

A command is an array of bulk strings. `pack` encodes any command; where the first words never change, encode them
once with `command_prefix` and append `bulk` for each word that does (0.2 µs a command instead of 0.5).
"""

from __future__ import annotations

from hiredis import pack_command

Word = bytes | str | int  # what a command is made of; text goes out as UTF-8


def pack(*words: Word) -> bytes:
    """One command, ready to be sent: `pack("HGETALL", key)`."""
    packed: bytes = pack_command(words)  # type: ignore[arg-type]  # its stub says one word, it takes many
    return packed


def bulk(word: bytes) -> bytes:
    """One word of a command, to follow a `command_prefix`."""
    return b"$%d\r\n%b\r\n" % (len(word), word)


def command_prefix(words_total: int, *constant: Word) -> bytes:
    """The head of a command of `words_total` words that always begins with `constant`.

    `command_prefix(2, "HGETALL") + bulk(key)` equals `pack("HGETALL", key)`.
    """
    if not 0 < len(constant) <= words_total:
        raise ValueError(f"{len(constant)} constant words do not fit a command of {words_total}")
    body = pack(*constant).split(b"\r\n", 1)[1]
    return b"*%d\r\n%b" % (words_total, body)
