"""What `nextbest features …` do between the command line and the work: which store and archive, which instant, how far
it has got, and what can go wrong on the way."""

from __future__ import annotations

import asyncio
import csv
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from redis.exceptions import RedisError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from app.archiving.belonging import WrongArchive
from app.archiving.folder import Folder
from app.copy_log import NoLog, store_address
from app.errors import Problem
from app.settings import Settings
from app.store.archive_positions import ArchivePositions
from app.store.clients import open_client
from app.store.embedded import EmbeddedStoreError
from app.store.keys import Keys
from app.store.whole_log import shards_of
from policy.bundle import Bundle
from policy.compile import load
from policy.reports import BundleError

Result = TypeVar("Result")


class Trouble(Exception):
    """The command cannot do its work; the message says why and what to do."""


class Estate(NamedTuple):
    """The store, and where its archive is: in a folder that is empty, where there is none."""

    store: ArchivePositions
    folder: Folder


@asynccontextmanager
async def _estate(settings: Settings, url: str) -> AsyncIterator[Estate]:
    async with open_client(url, client_name="nextbest-features") as client:
        shards = await shards_of(client)
        if shards is None:
            raise NoLog("this store was never used by a server: nothing was collected here")
        address = settings.archive_address() or str(settings.data.absolute() / "no-archive")
        yield Estate(ArchivePositions(client, Keys(shards)), Folder.at(address))


def with_estate(
    settings: Settings, address_of_store: str | None, work: Callable[[Estate], Coroutine[Any, Any, Result]]
) -> Result:
    """Run with the deployment's store and archive. Raises Trouble."""

    async def run(url: str) -> Result:
        async with _estate(settings, url) as estate:
            return await work(estate)

    try:
        with store_address(settings, address_of_store) as url:
            return asyncio.run(run(url))
    except (NoLog, EmbeddedStoreError, ValueError) as error:
        raise Trouble(str(error)) from error
    except Problem as problem:
        raise Trouble(problem.detail) from problem
    except RedisError as error:
        raise Trouble(f"the store failed (`{type(error).__name__}`): run it again") from error
    except WrongArchive as error:
        raise Trouble(str(error)) from error
    except OSError as error:
        raise Trouble(f"a file cannot be read or written: {error.strerror or error}") from error


def bundle_in(folder: Path) -> Bundle:
    """The bundle of a folder, which declares features. Raises Trouble."""
    if not folder.is_dir():
        raise Trouble(f"there is no folder `{folder}`")
    try:
        bundle = load(folder)
    except BundleError as error:
        raise Trouble(f"{folder}: {error}") from error
    if not bundle.features:
        raise Trouble(f"the bundle `{folder}` declares no features: see docs/features.md")
    return bundle


def instant_ms(text: str) -> int:
    """`2026-12-01T00:00:00Z` as Unix ms; without a zone it is UTC. Raises Trouble."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise Trouble(f"`{text}` is no instant: write one such as 2026-12-01T00:00:00Z") from None
    return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)


def customers_in(file: Path) -> tuple[list[str], dict[str, list[int]] | None]:
    """The customers of a file, one a line; and, where every line is `customer,instant`, the instants of each. A first
    line `customer` or `customer,at` is a heading. Raises Trouble."""
    try:
        with file.open(newline="", encoding="utf-8") as lines:
            rows = [[cell.strip() for cell in row] for row in csv.reader(lines) if row and row[0].strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise Trouble(f"`{file}` cannot be read: write one customer a line, or `customer,instant`") from error
    if rows and rows[0][0] == "customer":
        rows = rows[1:]
    if not rows:
        raise Trouble(f"`{file}` names no customer")
    lengths = {len(row) for row in rows}
    if lengths == {1}:
        return sorted({row[0] for row in rows}), None
    if lengths != {2}:
        raise Trouble(f"`{file}`: every line is one customer, or every line is `customer,instant`")
    instants: dict[str, list[int]] = {}
    for customer, at in rows:
        instants.setdefault(customer, []).append(instant_ms(at))
    return sorted(instants), instants


def bar(doing: str) -> Progress:
    """A progress bar on standard error, where that is a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn(doing), BarColumn(), MofNCompleteColumn(), TaskProgressColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
