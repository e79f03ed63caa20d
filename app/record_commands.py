"""What `nextbest records`, `replay` and `simulate` do between the command line and the work: where records come from,
how far it has got, and what can go wrong on the way.

Counts go to standard output, progress and trouble to standard error, so that either can be kept.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

from app.command_context import Trouble, in_words
from app.copy_log import Copied, copy_log, store_address
from app.progress_bar import bar
from app.records_file import Contents, RecordsFileError, contents
from app.settings import Settings
from models.load import SHIPPED
from policy import durations


class Source(NamedTuple):
    """Where records come from: a file, or the decision log of a store."""

    file: Path | None
    from_log: bool
    address: str | None  # of the store; None: NEXTBEST_REDIS_URL, or the data folder's own
    since: str | None = None
    last: int | None = None


class Addable(Protocol):
    def add(self, other: Any) -> None: ...


Total = TypeVar("Total", bound=Addable)


def copy(settings: Settings, source: Source, path: Path) -> Copied:
    """Copy the log into a file. Raises `Trouble`."""
    since_s = _seconds(source.since)
    try:
        with in_words(), store_address(settings, source.address) as address, bar("copied") as shown:
            task = shown.add_task("", total=None)
            return copy_log(
                address, path, since_s, source.last, lambda done, of: shown.update(task, completed=done, total=of)
            )
    except OSError as error:
        raise Trouble(f"`{path}` cannot be written: {error.strerror}") from error


@contextmanager
def records(settings: Settings, source: Source) -> Iterator[tuple[Path, Contents]]:
    """The file that holds the records, and what it holds; a copy of the log is gone afterwards. Raises `Trouble`."""
    if (source.file is not None) == source.from_log:
        raise Trouble("name either a records file or `--from-log`")
    with tempfile.TemporaryDirectory(prefix="nextbest-records-") as folder:
        path = source.file or Path(folder) / "records"
        if source.file is None:
            copy(settings, source, path)
        try:
            found = contents(path, source.last)
        except RecordsFileError as error:
            raise Trouble(str(error)) from error
        if not found.records:
            raise Trouble("there are no records: nothing was decided")
        yield path, found


def added(parts: Iterable[tuple[int, Total]], total: Total, records: int, doing: str) -> Total:
    """Add up the parts, showing how far it has got."""
    with bar(doing) as shown:
        task = shown.add_task("", total=records)
        for done, part in parts:
            total.add(part)
            shown.advance(task, done)
    return total


def registries(settings: Settings, folder: Path) -> list[Path]:
    """Where the models of a bundle are searched, as `serve` does."""
    return [folder / "registry", *([settings.models] if settings.models else []), SHIPPED]


def _seconds(since: str | None) -> int | None:
    try:
        return None if since is None else durations.seconds(since)
    except ValueError as error:
        raise Trouble(f"--since: {error}: write a whole number and a unit, such as `24h` or `7d`") from error
