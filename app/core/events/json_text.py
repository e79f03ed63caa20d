"""JSON as it comes: the fast parser, and a patient one for what other languages write that is no JSON.

Python's own `json` writes NaN and half characters (`"\\ud800"`), and one event with such a thing must not take the
hundred others of its batch with it. The patient parser takes it, and what is wrong is found in the event that has it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import orjson

from app.core.events.event import Misfit, Misfits

BOM = b"\xef\xbb\xbf"
#: What the patient parser is given: it takes a tenth of a second for ten megabytes, in which nothing else is answered.
PATIENT_BYTES_MAX = 1024 * 1024


class NotJson(ValueError):
    """The text is no JSON, not even for the patient."""


def parsed(text: bytes) -> tuple[Any, bool]:
    """The document, and whether it needs to be looked through for half characters. Raises NotJson."""
    text = text.removeprefix(BOM)
    try:
        return orjson.loads(text), False
    except ValueError:
        if len(text) > PATIENT_BYTES_MAX:
            raise NotJson from None
    try:
        return json.loads(text.decode()), True
    except (ValueError, RecursionError):  # also of bytes that are no UTF-8
        raise NotJson from None


def parsed_lines(text: bytes) -> tuple[list[Any], bool]:
    """Newline-delimited JSON; a line that is none becomes a Misfit in its place. Blank lines are no lines."""
    documents: list[Any] = []
    doubtful = False
    for line in text.removeprefix(BOM).split(b"\n"):
        if not line.strip():
            continue
        try:
            document, doubt = parsed(line)
        except NotJson:
            document, doubt = Misfit(Misfits.MALFORMED, "the line is no JSON"), False
        documents.append(document)
        doubtful = doubtful or doubt
    return documents, doubtful


def without_half_characters(items: Iterable[Any]) -> list[Any]:
    """The items, with a Misfit in the place of those that hold half a character: nobody could store them."""
    return [Misfit(Misfits.BAD_TEXT, "it holds half a character") if _is_broken(item) else item for item in items]


def _is_broken(item: Any) -> bool:
    if isinstance(item, Misfit):
        return False
    try:
        json.dumps(item, ensure_ascii=False).encode()
    except (UnicodeEncodeError, RecursionError):
        return True
    return False
