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

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from app.copy_log import Copied, NoLog, copy_log, store_address
from app.errors import Problem
from app.records_file import Contents, RecordsFileError, contents
from app.settings import Settings
from app.store.embedded import EmbeddedStoreError
from models.load import SHIPPED
from policy import durations
from policy.bundle import Bundle
from policy.reports import BundleError


class Trouble(Exception):
    """The command cannot do its work; the message says why and what to do."""


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
        with store_address(settings, source.address) as address, _bar("copied") as bar:
            task = bar.add_task("", total=None)
            return copy_log(
                address, path, since_s, source.last, lambda done, of: bar.update(task, completed=done, total=of)
            )
    except (NoLog, EmbeddedStoreError, ValueError) as error:
        raise Trouble(str(error)) from error
    except Problem as problem:
        raise Trouble(problem.detail) from problem
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
    with _bar(doing) as bar:
        task = bar.add_task("", total=records)
        for done, part in parts:
            total.add(part)
            bar.advance(task, done)
    return total


def bundle_in(folder: Path) -> Bundle:
    """The bundle of a folder. Raises `Trouble` with its mistakes."""
    from policy.compile import load

    if not folder.is_dir():
        raise Trouble(f"there is no folder `{folder}`")
    try:
        return load(folder)
    except BundleError as error:
        raise Trouble(f"{folder}: {error}") from error


def registries(settings: Settings, folder: Path) -> list[Path]:
    """Where the models of a bundle are searched, as `serve` does."""
    return [folder / "registry", *([settings.models] if settings.models else []), SHIPPED]


def _seconds(since: str | None) -> int | None:
    try:
        return None if since is None else durations.seconds(since)
    except ValueError as error:
        raise Trouble(f"--since: {error}: write a whole number and a unit, such as `24h` or `7d`") from error


def _bar(doing: str) -> Progress:
    console = Console(stderr=True)
    columns = (TextColumn(doing), BarColumn(), MofNCompleteColumn(), TaskProgressColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
