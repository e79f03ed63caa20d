"""What `nextbest features …` do between the command line and the work: which store and archive, which instant, how far
it has got, and what can go wrong on the way."""

from __future__ import annotations

import csv
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from redis.asyncio import Redis

from app.archiving.belonging import WrongArchive
from app.archiving.folder import Folder
from app.command_context import Trouble, bundle_in, with_store
from app.settings import Settings
from app.store.archive_positions import ArchivePositions
from app.store.keys import Keys
from policy.bundle import Bundle

Result = TypeVar("Result")


class Estate(NamedTuple):
    """The store, and where its archive is: in a folder that is empty, where there is none."""

    store: ArchivePositions
    folder: Folder


def with_estate(
    settings: Settings, address_of_store: str | None, work: Callable[[Estate], Coroutine[Any, Any, Result]]
) -> Result:
    """Run with the deployment's store and archive. Raises Trouble."""

    async def run(client: Redis, keys: Keys) -> Result:
        address = settings.archive_address() or str(settings.data.absolute() / "no-archive")
        return await work(Estate(ArchivePositions(client, keys), Folder.at(address)))

    try:
        return with_store(
            settings,
            address_of_store,
            run,
            client_name="nextbest-features",
            unused="nothing was collected here",
        )
    except WrongArchive as error:
        raise Trouble(str(error)) from error
    except OSError as error:
        raise Trouble(f"a file cannot be read or written: {error.strerror or error}") from error


def folding_bundle_in(folder: Path) -> Bundle:
    """The bundle of a folder, which declares features. Raises Trouble."""
    bundle = bundle_in(folder)
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
