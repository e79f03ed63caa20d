"""Reads YAML with the line and column of every node, so that each mistake can be shown where it was written.

Scalars follow the YAML 1.2 core schema: only `true` and `false` are booleans (a country code `NO` and the field `on`
stay text), `08:00` is text, and times stay text for the schema to judge. A key that stands twice is a mistake.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, ClassVar, TypeAlias

import yaml

Path: TypeAlias = Sequence[str | int]
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_NULL = re.compile(r"^(~|null|Null|NULL|)$")
_BOOL = re.compile(r"^(true|True|TRUE|false|False|FALSE)$")
_INT = re.compile(r"^[-+]?[0-9]+$")
_FLOAT = re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$")
_SCALARS = {"null": _NULL, "bool": _BOOL, "int": _INT, "float": _FLOAT}
#: Whole numbers have 64 bits everywhere behind this file.
_INT_LENGTH_MAX = 19
#: Bundles need some ten levels. The library composes a file by recursion in C: some 10,000 levels end the process.
DEPTH_MAX = 64
#: Of one file, with its aliases written out: a dozen lines of aliases of aliases stand for billions.
VALUES_MAX = 200_000


class _CoreLoader(_Loader):  # type: ignore[misc]  # libyaml's, or the one in Python: no type for mypy
    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}  # none of YAML 1.1


for _tag, _pattern in _SCALARS.items():
    _CoreLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", _pattern, None)


class YamlMistake(Exception):
    """A file that is not YAML as bundles use it. Line and column count from 1."""

    def __init__(self, line: int, column: int, code: str, message: str, remedy: str) -> None:
        super().__init__(message)
        self.line, self.column, self.code, self.message, self.remedy = line, column, code, message, remedy


@dataclass(frozen=True, slots=True)
class Tree:
    """One file: its values, and where each stands."""

    root: yaml.Node | None
    text: str

    def data(self) -> Any:
        """The file as plain values; an empty file is an empty mapping."""
        return {} if self.root is None else _value(self.root)

    def duplicates(self) -> Iterator[tuple[str, int, int]]:
        """(key, line, column) of every key that stands a second time in its mapping."""
        return iter(()) if self.root is None else _duplicates(self.root)

    def place(self, path: Path) -> tuple[int, int]:
        """(line, column) of the node at a path, or of the nearest node above it that exists.

        A number steps to the nth entry of a list or mapping; a word to a key, or in a list to the entry with that
        `id`. A mapping or list is shown at its key.
        """
        mark = None if self.root is None else self.root.start_mark
        node = self.root
        for step in path:
            found = _child(node, step)
            if found is None:
                break
            key, node = found
            mark = node.start_mark if key is None or isinstance(node, yaml.ScalarNode) else key.start_mark
        return (1, 1) if mark is None else (mark.line + 1, mark.column + 1)

    def key_place(self, path: Path) -> tuple[int, int]:
        """(line, column) of the key that a path ends with."""
        node = self.root
        for step in path[:-1]:
            found = _child(node, step)
            node = found[1] if found else None
        found = _child(node, path[-1]) if path else None
        return self.place(path) if found is None or found[0] is None else _place_of(found[0])

    def place_in_text(self, path: Path, offset: int) -> tuple[int, int]:
        """(line, column) of a character of the text at a path, also where that text is folded over several lines.

        Folding changes white space only, so the character is found by counting the others.
        """
        node = self.root
        for step in path:
            found = _child(node, step)
            if found is None:
                return self.place(path)
            node = found[1]
        if not isinstance(node, yaml.ScalarNode):
            return self.place(path)
        starts = [0, *accumulate(len(line) for line in self.text.splitlines(keepends=True))]
        begin = starts[node.start_mark.line] + node.start_mark.column
        if node.style in ("|", ">"):
            begin = starts[node.start_mark.line + 1]  # the header (`|`, `>-`) is no part of the text
        elif node.style:
            begin += 1  # the quote
        wanted = sum(not character.isspace() for character in node.value[:offset])
        position = _nth_visible(self.text, begin, wanted)
        line = bisect_right(starts, position) - 1
        return line + 1, position - starts[line] + 1


def read(text: str) -> Tree:
    """Parses one file. Raises YamlMistake."""
    loader = _CoreLoader(text)
    try:
        _refuse_depth(text)
        tree = Tree(loader.get_single_node(), text)
        if tree.root is not None:
            _weigh(tree.root, {})
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise YamlMistake(
            line, column, "yaml_syntax", f"not YAML: {error.problem}", _syntax_remedy(text, line)
        ) from error
    except yaml.YAMLError as error:
        raise YamlMistake(
            1, 1, "yaml_syntax", "not YAML: unreadable characters", "save the file as UTF-8 text"
        ) from error
    finally:
        loader.dispose()
    return tree


def _syntax_remedy(text: str, line: int) -> str:
    lines = text.splitlines()
    if line <= len(lines) and "\t" in lines[line - 1]:
        return "indent with spaces, not with tabs"
    return "check indentation, brackets and quotes here and on the line above"


def _refuse_depth(text: str) -> None:
    """By the events of the file, which take no recursion."""
    loader = _CoreLoader(text)
    depth = 0
    try:
        while loader.check_event():
            event = loader.get_event()
            if isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
            elif isinstance(event, yaml.CollectionStartEvent):
                depth += 1
                if depth > DEPTH_MAX:
                    raise _too_much(event.start_mark, f"nested more than {DEPTH_MAX} deep")
    finally:
        loader.dispose()


def _weigh(node: yaml.Node, known: dict[int, tuple[int, int] | None]) -> tuple[int, int]:
    """How many values a node stands for with its aliases written out, and how deep they lie in it.

    `known` holds what was weighed, by identity; None: what is being weighed. Raises YamlMistake for an alias inside its
    own anchor, which would never end, for what is too much, and for a scalar that is not what its tag says.
    """
    if id(node) in known:
        weight = known[id(node)]
        if weight is None:
            raise _too_much(node.start_mark, "an anchor holds itself")
        return weight
    known[id(node)] = None
    values, depth = 1, 0
    if isinstance(node, yaml.ScalarNode):
        _check_scalar(node)
    else:
        for entry in node.value:
            for child in entry if isinstance(entry, tuple) else (entry,):
                more, below = _weigh(child, known)
                values, depth = values + more, max(depth, below + 1)
    if values > VALUES_MAX or depth > DEPTH_MAX:
        what = f"nested more than {DEPTH_MAX} deep" if depth > DEPTH_MAX else f"more than {VALUES_MAX:,} values"
        raise _too_much(node.start_mark, f"{what}, with its aliases written out")
    known[id(node)] = values, depth
    return values, depth


def _too_much(mark: Any, message: str) -> YamlMistake:
    return YamlMistake(mark.line + 1, mark.column + 1, "yaml_syntax", message, "write it out, flat and once")


def _check_scalar(node: yaml.ScalarNode) -> None:
    """Raises YamlMistake where a tag that somebody wrote (`!!int x`) does not fit the text, or a number is too long."""
    kind = node.tag.rpartition(":")[2]
    pattern = _SCALARS.get(kind)
    if pattern is None or (pattern.match(node.value) and not (kind == "int" and len(node.value) > _INT_LENGTH_MAX)):
        return
    line, column = _place_of(node)
    expected = "a whole number of 64 bits" if kind == "int" else f"a {kind}"
    raise YamlMistake(line, column, "yaml_syntax", f"this is not {expected}", "correct it, or quote it as text")


def _nth_visible(text: str, begin: int, wanted: int) -> int:
    """Index of the character after `wanted` visible ones."""
    for position in range(begin, len(text)):
        if not text[position].isspace():
            if wanted == 0:
                return position
            wanted -= 1
    return len(text)


def _place_of(node: yaml.Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _child(node: yaml.Node | None, step: str | int) -> tuple[yaml.Node | None, yaml.Node] | None:
    """(key node, value node) one step down, or None."""
    if isinstance(node, yaml.MappingNode):
        for position, (key, value) in enumerate(node.value):
            if step in (position, key.value):
                return key, value
    elif isinstance(node, yaml.SequenceNode):
        for position, item in enumerate(node.value):
            if step == position or (isinstance(step, str) and _id_of(item) == step):
                return None, item
    return None


def _id_of(node: yaml.Node) -> str | None:
    found = _child(node, "id") if isinstance(node, yaml.MappingNode) else None
    return found[1].value if found else None


def _value(node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return {_key(key): _value(value) for key, value in node.value}
    if isinstance(node, yaml.SequenceNode):
        return [_value(item) for item in node.value]
    kind = node.tag.rpartition(":")[2]
    if kind == "null":
        return None
    if kind == "bool":
        return node.value.lower() == "true"
    if kind == "int":
        return int(node.value)
    return float(node.value) if kind == "float" else node.value


def _key(node: yaml.Node) -> str:
    """Keys are names, whatever they look like."""
    return node.value if isinstance(node, yaml.ScalarNode) else "?"


def _duplicates(node: yaml.Node) -> Iterator[tuple[str, int, int]]:
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if _key(key) in seen:
                yield (_key(key), *_place_of(key))
            seen.add(_key(key))
            yield from _duplicates(value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _duplicates(item)
