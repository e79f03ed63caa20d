"""Reads a bundle's folder: each file is parsed and validated by itself, and what does not fit is set aside, so that
the rest can still be checked against the other files."""

from __future__ import annotations

from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path as FilePath
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from policy import wording
from policy.reports import Mistake
from policy.schema import FILES, REQUIRED, BundleFile, Documents
from policy.schema.offers import MessagesFile, PlacementsFile
from policy.schema.types import Authored
from policy.source import Tree, YamlMistake, read


@dataclass(slots=True)
class Reading:
    """A folder as far as it could be read.

    `documents` lacks what did not fit. `set_aside` names the ids that were left out, by collection; `incomplete`
    the files of which nothing is known: neither may be taken for names that do not exist.
    """

    documents: Documents
    trees: dict[str, Tree] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)
    set_aside: dict[str, set[str]] = field(default_factory=dict)
    incomplete: set[str] = field(default_factory=set)


def read_folder(folder: FilePath) -> Reading:
    """Reads every file of a bundle. Mistakes are collected, not raised."""
    reading = Reading(_placeholder())
    if not folder.is_dir():
        remedy = "name a folder that holds bundle.yaml"
        reading.incomplete.update(FILES)
        reading.mistakes.append(Mistake(folder.name, 1, "missing_file", "there is no such folder", remedy))
        return reading
    documents = {}
    for file, model in FILES.items():
        document = _read_file(folder / file, model, reading)
        if document is not None:
            documents[file.removesuffix(".yaml")] = document
    reading.documents = reading.documents.model_copy(update=documents)
    _refuse_strange_files(folder, reading)
    return reading


def _placeholder() -> Documents:
    """Stands in for required files that cannot be used, so that the others can still be checked."""
    return Documents(
        bundle=BundleFile(name="unknown", owner="unknown", currency="XXX"),
        placements=PlacementsFile.model_construct(placements=[]),
        messages=MessagesFile.model_construct(messages=[]),
    )


def _refuse_strange_files(folder: FilePath, reading: Reading) -> None:
    for path in sorted(folder.iterdir()):
        if path.suffix in (".yaml", ".yml") and path.name not in FILES:
            close = get_close_matches(path.stem, [name.removesuffix(".yaml") for name in FILES], n=1)
            remedy = f"did you mean `{close[0]}.yaml`?" if close else "one of " + ", ".join(FILES)
            message = "a bundle has no file of this name"
            reading.mistakes.append(Mistake(path.name, 1, "unknown_file", message, remedy))


def _read_file(path: FilePath, model: type[Authored], reading: Reading) -> Authored | None:
    """The validated file; None where it is absent or nothing of it can be used."""
    if not path.is_file():
        if path.name in REQUIRED:
            reading.incomplete.add(path.name)
            remedy = f"add {path.name}; docs/bundles.md shows one"
            reading.mistakes.append(Mistake(path.name, 1, "missing_file", "this file is required", remedy))
        return None
    tree = _parse(path, reading)
    document = _Validation(path.name, model, tree, reading).run() if tree else None
    if document is None:
        reading.incomplete.add(path.name)
    return document


def _parse(path: FilePath, reading: Reading) -> Tree | None:
    try:
        tree = reading.trees[path.name] = read(path.read_bytes().decode("utf-8-sig"))
    except UnicodeDecodeError:
        message, remedy = "not YAML: unreadable characters", "save the file as UTF-8 text"
        reading.mistakes.append(Mistake(path.name, 1, "yaml_syntax", message, remedy))
        return None
    except YamlMistake as found:
        reading.mistakes.append(
            Mistake(path.name, found.line, found.code, found.message, found.remedy, column=found.column)
        )
        return None
    for key, line, column in tree.duplicates():
        message, remedy = f"`{key}` stands here a second time", "remove one of the two"
        reading.mistakes.append(Mistake(path.name, line, "duplicate_key", message, remedy, column=column))
    return tree


class _Validation:
    """Validates one file again and again, each time without what did not fit, until the rest does.

    A check of a whole item runs only when its fields fit; an unknown field alone is removed from its item, so that
    the item's other mistakes are found in the same run.
    """

    def __init__(self, file: str, model: type[Authored], tree: Tree, reading: Reading) -> None:
        self._file, self._model, self._tree, self._reading = file, model, tree, reading
        data = tree.data()
        self._data = (
            {key: value for key, value in data.items() if value is not None} if isinstance(data, dict) else data
        )
        # An item keeps its authored position when items before it have been removed.
        self._origin = {key: list(range(len(value))) for key, value in _collections(self._data).items()}

    def run(self) -> Authored | None:
        while True:
            try:
                return self._model.model_validate(self._data)
            except ValidationError as refusal:
                if not self._set_aside(refusal.errors(include_url=False, include_input=True)):
                    return None

    def _set_aside(self, errors: list[ErrorDetails]) -> bool:
        """Reports the errors and removes their causes; False where nothing can be removed."""
        places = [self._report(error) for error in errors]
        if not all(places):
            return False
        extra = [error["loc"] for error in errors if error["type"] == "extra_forbidden"]
        for loc in extra:
            del _at(self._data, loc[:-1])[_key(_at(self._data, loc[:-1]), loc[-1])]
        items = {error["loc"][:2] for error in errors if error["type"] != "extra_forbidden"}
        if any(len(loc) < 2 for loc in items):
            return False
        for collection, step in sorted(items, key=_by_number, reverse=True):
            self._remove(str(collection), step)
        return True

    def _remove(self, collection: str, step: str | int) -> None:
        """Takes one item out of its collection and remembers its id; a part that is no collection goes as a whole."""
        items = self._data.get(collection)
        key = _key(items, step)
        if isinstance(items, dict) and isinstance(step, str) and not isinstance(items.get(step), dict):
            del self._data[collection]
            self._reading.incomplete.add(self._file)
            return
        if items is None:  # gone already, with another of its mistakes
            return
        name = items[key].get("id") if isinstance(items, list) and isinstance(items[key], dict) else key
        self._reading.set_aside.setdefault(collection, set()).add(str(name))
        del items[key]
        if isinstance(step, int):
            del self._origin[collection][step]

    def _report(self, error: ErrorDetails) -> bool:
        """Adds a mistake; False where it was already known, which means that removing its cause did not help."""
        loc = error["loc"]
        path = list(loc)
        if len(loc) > 1 and isinstance(loc[1], int):
            path[1] = self._origin[str(loc[0])][loc[1]]
        key_is_wrong = error["type"] == "extra_forbidden" or path[-1:] == ["[key]"]
        if path[-1:] == ["[key]"]:
            path.pop()
        line, column = self._tree.key_place(path) if key_is_wrong else self._tree.place(path)
        code, message, remedy = wording.of(error, self._model)
        mistake = Mistake(self._file, line, code, message, remedy, column=column)
        if mistake in self._reading.mistakes:
            return False
        self._reading.mistakes.append(mistake)
        return True


def _by_number(loc: tuple[str | int, ...]) -> tuple[str, int, str]:
    """The order of items: by their number, the tenth after the second; what goes by its name comes before."""
    collection, step = loc
    return str(collection), step if isinstance(step, int) else -1, str(step)


def _collections(data: Any) -> dict[str, Any]:
    if not isinstance(data, dict):
        return {}
    return {key: value for key, value in data.items() if isinstance(value, list | dict)}


def _key(items: Any, step: str | int) -> Any:
    """The key in the authored value of a step in pydantic's path: the nth entry of a mapping is counted."""
    return list(items)[step] if isinstance(items, dict) and isinstance(step, int) else step


def _at(data: Any, path: tuple[str | int, ...]) -> Any:
    for step in path:
        if not _stands_alone(data, step):
            data = data[_key(data, step)]
    return data


def _stands_alone(data: Any, step: str | int) -> bool:
    """Whether the entry of pydantic's list is the mapping itself: one item may stand where a list of them may."""
    if not isinstance(data, dict) or not isinstance(step, int):
        return False
    values = list(data.values())
    return step >= len(values) or not isinstance(values[step], dict)
