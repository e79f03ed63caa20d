"""The text of a bundle's file, before its schema is asked: YAML, its values, and where each stands."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from policy.source import YamlMistake, read

COMPLETE = Path(__file__).parents[2] / "unit" / "policy" / "bundles" / "complete"
PATHS_MAX = 50
WORDS = (
    b"- ", b": ", b"? ", b"&a ", b"*a", b"<<: ", b"| ", b">-\n", b"!!int ", b"!!python/object ", b"'", b'"', b"\\x00",
    b"{", b"}", b"[", b"]", b"%YAML 1.2\n", b"---\n", b"...\n", b"\t", b"# ", b"0x1f", b".inf", b"1e999", b"~",
    b"\r\n",
)  # fmt: skip


def seeds() -> Iterator[bytes]:
    for path in sorted(COMPLETE.iterdir()):
        yield path.read_bytes()
    yield b"a: &a [1, 2]\nb: *a\nc: {<<: *a}\n"
    yield b"a: |\n  one\n   two\nb: >-\n  folded\n\n  more\n"


def run(data: bytes) -> None:
    try:
        tree = read(data.decode("utf-8-sig"))
        values = tree.data()
        list(tree.duplicates())
    except UnicodeDecodeError:
        return  # `policy.reading` says so itself
    except YamlMistake as mistake:
        _is_told(mistake)
        return
    lines = len(data.split(b"\n")) + data.count(b"\r") + data.count(b"\xc2\x85") + data.count(b"\xe2\x80")
    for path, text in list(_texts(values, ()))[:PATHS_MAX]:
        for line, column in (tree.place(path), tree.key_place(path), tree.place_in_text(path, len(text) // 2)):
            assert 1 <= line <= lines + 1
            assert column >= 1


def _is_told(mistake: YamlMistake) -> None:
    assert mistake.line >= 1
    assert mistake.column >= 1
    assert mistake.message
    assert mistake.remedy


def _texts(value: Any, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield from _texts(each, (*path, key))
    if isinstance(value, str):
        yield path, value
