"""JSON as it comes: the fast parser, and a patient one for what other languages write that is no JSON.

Python's own `json` writes NaN and half characters (`"\\ud800"`), and one event with such a thing must not take the
hundred others of its batch with it. The patient parser takes it, and what is wrong is found in the event that has it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import orjson

from app.core.events.event import Arrived, Misfit, Misfits

#: One event, as JSON: what Segment and RudderStack take.
EVENT_BYTES_MAX = 32 * 1024
TOO_LARGE = Misfit(Misfits.TOO_LARGE, f"an event is at most {EVENT_BYTES_MAX // 1024} KiB")
BROKEN = Misfit(Misfits.BAD_TEXT, "it holds half a character")
BOM = b"\xef\xbb\xbf"
#: What the patient parser is given: it takes a tenth of a second for ten megabytes, in which nothing else is answered.
PATIENT_BYTES_MAX = 1024 * 1024


class NotJson(ValueError):
    """The text is no JSON, not even for the patient."""


class Document(NamedTuple):
    """What was parsed. `doubtful`: it may hold half a character somewhere."""

    said: Any
    doubtful: bool = False


def parsed(text: bytes) -> Document:
    """The document of a body. Raises NotJson."""
    text = text.removeprefix(BOM)
    try:
        return Document(orjson.loads(text))
    except ValueError:
        if len(text) > PATIENT_BYTES_MAX:
            raise NotJson from None
    try:
        return Document(json.loads(text.decode()), doubtful=True)
    except (ValueError, RecursionError):  # also of bytes that are no UTF-8
        raise NotJson from None


def parsed_lines(text: bytes) -> Document:
    """Newline-delimited JSON; a line that is none becomes a Misfit in its place. Blank lines are no lines."""
    documents: list[Any] = []
    doubtful = False
    for line in text.removeprefix(BOM).split(b"\n"):
        if not line.strip():
            continue
        try:
            document = parsed(line)
        except NotJson:
            document = Document(Misfit(Misfits.MALFORMED, "the line is no JSON"))
        documents.append(document.said)
        doubtful = doubtful or document.doubtful
    return Document(documents, doubtful)


def soundly(
    read: Callable[[Any], Arrived | Misfit], body_bytes: int, doubtful: bool
) -> Callable[[Any], Arrived | Misfit]:
    """`read` for the items of a body; those that nobody could store, with half a character or too large, do not fit."""
    small = body_bytes <= EVENT_BYTES_MAX
    if small and not doubtful:
        return read

    def checked(item: Any) -> Arrived | Misfit:
        if doubtful and _is_broken(item):
            return BROKEN
        return TOO_LARGE if not small and _is_large(item) else read(item)

    return checked


def _is_broken(item: Any) -> bool:
    if isinstance(item, Misfit):
        return False
    try:
        json.dumps(item, ensure_ascii=False).encode()
    except (UnicodeEncodeError, RecursionError):
        return True
    return False


def _is_large(item: Any) -> bool:
    if not isinstance(item, dict):
        return False
    try:
        return len(orjson.dumps(item)) > EVENT_BYTES_MAX
    except TypeError:  # numbers of hundreds of digits, or nested deeper than anybody needs
        return True
