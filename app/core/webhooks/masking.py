"""What may be kept and shown of a provider's words: the words, without whom they name.

Mail servers quote the address in nearly every refusal. It is taken out, and the refusal stays readable. What still
looks as if it named somebody is not kept at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from app.core.events.masking import names_somebody

REASON_LENGTH_MAX = 200
_ADDRESS = re.compile(r"[^\s<>\"'(),;:\[\]]+@[^\s<>\"'(),;:\[\]]+")
_IPV4 = re.compile(r"(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?![\d.])")
_IPV6 = re.compile(
    r"(?<![\w:])(?:[0-9A-Fa-f]{1,4}:){2,7}(?::?[0-9A-Fa-f]{1,4})?(?![\w:])|(?<![\w:])[0-9A-Fa-f]{0,4}::[0-9A-Fa-f:]+"
)
_PLAIN = re.compile(r"[A-Za-z0-9_.:/+=-]{0,64}")
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,47}")
#: Fields that hold whom a mail went to, in any provider's spelling.
_PERSONAL = re.compile(
    r"name|mail|recipient|rcpt|address|phone|user|customer|contact|profile|person|to$|from|sender|(?<![a-z])ip(?![a-z])"
    r"|geo|city|lat|lon|postal|zip|subject|token|signature|secret|key",
    re.IGNORECASE,
)
DEPTH_MAX = 6
ITEMS_MAX = 40


def kept_reason(words: str | None) -> str | None:
    """At most 200 characters of what a provider or a mail server said, on one line, without addresses; None where it
    still looks as if it named somebody."""
    if not words:
        return None
    line = " ".join(words[:2_000].split())
    for pattern in (_ADDRESS, _IPV4, _IPV6):
        line = pattern.sub("…", line)
    line = line[:REASON_LENGTH_MAX]
    return None if not line or names_somebody(unquote(line)) or not line.isprintable() else line


def shown_url(url: str | None) -> str | None:
    """A link that was clicked, as far as it may be shown: without its query where that names somebody, and not at all
    where the rest does."""
    if url is None or len(url) > 2_000:
        return None
    if not _names_somebody(url):
        return url
    rest = url.partition("?")[0].partition("#")[0]
    return None if _names_somebody(rest) else rest


def _names_somebody(url: str) -> bool:
    plain = unquote(unquote(url))
    return any(names_somebody(part) for part in re.split(r"[/?&#=;]", plain.replace("://", "/", 1)) if part)


def masked(said: Any, depth: int = 0) -> Any:
    """The shape of an item, with what names nobody: numbers, and short words without spaces, under names that do not
    speak of a person. Rather too little than too much."""
    if isinstance(said, dict):
        return dict(_masked_pairs(said, depth)) if depth < DEPTH_MAX else "…"
    if isinstance(said, list | tuple):
        return [masked(each, depth + 1) for each in said[:ITEMS_MAX]] if depth < DEPTH_MAX else "…"
    if isinstance(said, str):
        return said if _PLAIN.fullmatch(said) and not names_somebody(said) else f"({len(said)} characters)"
    return said if said is None or isinstance(said, bool | float) or -(2**53) < said < 2**53 else "(a large number)"


def _masked_pairs(said: dict[Any, Any], depth: int) -> Iterator[tuple[str, Any]]:
    for name, value in list(said.items())[:ITEMS_MAX]:
        shown = name if _PLAIN_NAME.fullmatch(name) else "(a name)"
        personal = _PERSONAL.search(shown) is not None and not isinstance(value, dict | list)
        yield shown, "(masked)" if personal and value is not None else masked(value, depth + 1)
