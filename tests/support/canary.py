"""A person who does not exist and a key that does, and how to find them in what a product wrote: as they are, in parts,
in other cases, and in the encodings and digests that people take for hiding places."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple
from urllib.parse import quote


class Canary(NamedTuple):
    """What is put in (`word`), and the parts of it by which it would be known."""

    kind: str
    word: str
    parts: tuple[str, ...]


PERSON = (
    Canary("email", "Quincy.Canary@example.com", ("quincy.canary", "canary@example")),
    Canary("phone", "+49-30-555-0142", ("555-0142", "5550142")),
    Canary("name and street", "Quincy Canarybird, 17 Plumage Crescent", ("canarybird", "plumage")),
    Canary("ip", "203.0.113.201", ("203.0.113.201", "203.0.113.")),
)

#: What callers wrote into fields that the bundle declares as free text.
FREE = Canary("free text", "Marginalia Quokkabird", ("quokkabird",))


def key_canary(key: str) -> Canary:
    """A key of the API."""
    return Canary("key", key, (key.removeprefix("nbk_"),))


class Search:
    """Looks for canaries in bytes."""

    def __init__(self, canaries: Iterable[Canary]) -> None:
        self._folded: dict[bytes, str] = {}  # found in what was made lower case
        self._exact: dict[bytes, str] = {}
        for canary in canaries:
            for part in canary.parts:
                for how, form in _spellings(part):
                    self._folded[form.lower()] = f"{canary.kind} ({how})"
            for whole in {canary.word, canary.word.lower()}:
                for form in _base64s(whole.encode()):
                    self._exact[form] = f"{canary.kind} (base64)"
                for name in ("md5", "sha1", "sha256"):
                    digest = hashlib.new(name, whole.encode()).digest()
                    self._exact[digest] = f"{canary.kind} ({name})"
                    self._folded[digest.hex().encode()] = f"{canary.kind} ({name}, hex)"

    def found_in(self, content: bytes) -> set[str]:
        """Which canaries, and how they are hidden."""
        folded = content.lower()
        return {what for form, what in self._folded.items() if form in folded} | {
            what for form, what in self._exact.items() if form in content
        }

    def leaks(self, written: Mapping[str, bytes]) -> dict[str, set[str]]:
        """Where which was found; empty where none was."""
        return {place: found for place, content in written.items() if (found := self.found_in(content))}


def _spellings(part: str) -> Iterator[tuple[str, bytes]]:
    raw = part.encode()
    yield "in a URL", quote(part, safe="").encode()
    yield "as it is", raw  # after the one before, which is the same for most
    yield "in a URL, whole", b"".join(b"%%%02x" % byte for byte in raw)
    yield "UTF-16", part.encode("utf-16-le")
    for spelling in {part, part.title(), part.upper()}:
        yield "hex", spelling.encode().hex().encode()


def _base64s(raw: bytes) -> Iterator[bytes]:
    """The inner part of the word's base64 at each of its three alignments."""
    for shift in range(3):
        text = base64.b64encode(b"\0" * shift + raw)
        inner = text[4 if shift else 0 : -4]
        yield inner
        yield inner.translate(bytes.maketrans(b"+/", b"-_"))
