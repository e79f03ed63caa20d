"""Changes of what YAML means, and not of its bytes: nearly everything that comes out is YAML again, so that what stands
behind the syntax is reached. The bytes themselves are the target `yaml`'s.

Nothing is known here of what a file should hold: values come from a list of what numbers and texts end in, from the
words of the format, and from other places of all files.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy
from random import Random
from typing import Any, NamedTuple

import yaml

from policy.source import YamlMistake, read

#: Ends of ranges, and what stands for nothing.
VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 100, 10**6, 2**31, 2**63, 0.0, 0.5, -0.5, 1e-9, 1e308, "", " ", "a", "a" * 300, [],
    {}, [None], {"a": 1}, "2026-02-30", "9999-12-31T23:59:59Z", "24:00", "23:59", "0d", "7d", "1000000d", "\U0001f600",
)  # fmt: skip


class Spot(NamedTuple):
    """Where a value stands."""

    within: Any  # a mapping or a list
    key: Any

    @property
    def value(self) -> Any:
        return self.within[self.key]


def changed(text: bytes, others: Sequence[bytes], words: Sequence[str], chance: Random) -> bytes | None:
    """One to four changes of a file; None where there is nothing to change. `others`: files of which parts are taken;
    `words`: names and values that the format knows."""
    root = {"": values_of(text)}
    given = [spot.value for other in chance.sample(others, min(3, len(others))) for spot in spots(values_of(other))]
    for _ in range(chance.choice((1, 1, 2, 4))):
        places = list(spots(root))[1:] or list(spots(root))
        if root[""] is None:
            return None
        _change(chance.choice(places), [*given, *(spot.value for spot in places)], words, chance)
    written: str = yaml.safe_dump(root[""], sort_keys=False, allow_unicode=True)
    return written.encode("utf-8", "replace")


def values_of(text: bytes) -> Any:
    """None where it is no YAML, or empty."""
    try:
        return read(text.decode("utf-8-sig")).data() or None
    except (YamlMistake, UnicodeDecodeError):
        return None


def spots(tree: Any) -> Iterator[Spot]:
    """Every value of a tree, what is above first."""
    inner = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in inner:
        yield Spot(tree, key)
        yield from spots(value)


def _change(spot: Spot, given: Sequence[Any], words: Sequence[str], chance: Random) -> None:
    within, key = spot
    match chance.randrange(6):
        case 0:
            within[key] = deepcopy(chance.choice(VALUES))
        case 1:
            within[key] = chance.choice(words)
        case 2:
            within[key] = deepcopy(chance.choice(given))
        case 3 if isinstance(within, list):
            within.insert(key, deepcopy(within[key]))
        case 3:
            within[chance.choice(words)] = deepcopy(chance.choice((within[key], *VALUES)))
        case 4 if isinstance(within, dict) and key:
            within[chance.choice(words)] = within.pop(key)
        case _ if key != "":
            del within[key]
        case _:
            within[key] = None
