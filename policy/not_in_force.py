"""What a bundle may already say and this release does not act on yet. Nothing of it is ignored silently."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from policy.schema import Documents


class Unused(NamedTuple):
    """A part that is accepted and not in force: where it stands, and what it is called."""

    file: str
    path: tuple[str | int, ...]
    what: str

    def __str__(self) -> str:
        return f"{self.file}: {self.what}"


def not_in_force(documents: Documents) -> Iterator[Unused]:
    """Every authored part without effect, in the order of the files."""
    yield from _data(documents)


def _data(documents: Documents) -> Iterator[Unused]:
    attributes = {attribute.id for attribute in documents.attributes.attributes}
    properties = {each.id for event in documents.events.events for each in event.properties}
    for name, handling in documents.data.data.items():
        beyond_hashing = handling.transform in ("truncate", "generalise") or handling.activate or handling.delete
        if name in properties - attributes and beyond_hashing:
            yield Unused("data.yaml", ("data", name), f"handling of `{name}`")
