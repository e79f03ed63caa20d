"""`nextbest customers export`: everything that is held of a customer in one file, the archive included."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redis.asyncio import Redis

from app.command_context import Trouble, with_store
from app.core.identity import key_refusal
from app.http.export import Sources, event_view
from app.http.export import export as exported
from app.settings import Settings
from app.store.bundles import BundleArchive
from app.store.erasure import Tombstones
from app.store.fields import FieldRegistry
from app.store.keys import Keys
from policy.bundle import Bundle
from policy.compile import load

if TYPE_CHECKING:  # imports pyarrow, which is heavy
    from app.archiving.datasets import Dataset


def export(settings: Settings, address: str | None, customer: str, out: Path) -> None:
    """Write the file, readable by its owner only; one that was there is replaced when the new one is whole. Raises
    Trouble."""
    refusal = key_refusal(customer)
    if refusal is not None:
        raise Trouble(refusal.detail)
    aside = out.with_name(out.name + ".part")

    async def work(client: Redis, keys: Keys) -> None:
        await _export(settings, client, keys, customer, aside)

    try:
        with_store(settings, address, work, client_name="nextbest-export", unused="nobody is known here")
        aside.rename(out)
    except OSError as error:
        raise Trouble(f"it cannot be written or read: {error.strerror or type(error).__name__}") from error
    finally:
        aside.unlink(missing_ok=True)


async def _export(settings: Settings, client: Redis, keys: Keys, customer: str, aside: Path) -> None:
    bundle, fields = load(settings.bundle), FieldRegistry(client)
    sources = Sources(client, keys, fields, BundleArchive(client, bundle), bundle)
    names = await Tombstones(client, keys, fields).all_keys_of(customer)
    document = await exported(sources, customer, _archived(settings.archive_address(), bundle, keys, names))
    with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        async for piece in document:
            file.write(piece)


async def _archived(
    address: str | None, bundle: Bundle, keys: Keys, names: tuple[str, ...]
) -> AsyncIterator[tuple[str, AsyncIterator[Any]]]:
    if address is not None:
        from app.archiving.datasets import DECISION_SET, OUTCOME_SET

        hidden = {name for name, handling in bundle.handling.items() if handling.never_shown}
        yield "archived_events", _events(address, keys, names)
        yield "archived_decisions", _rows(address, keys, names, DECISION_SET, hidden)
        yield "archived_outcomes", _rows(address, keys, names, OUTCOME_SET, hidden)


async def _rows(
    address: str, keys: Keys, names: tuple[str, ...], dataset: Dataset, hidden: Collection[str]
) -> AsyncIterator[Any]:
    """What was decided, or happened, as far as the archive holds it."""
    from app.archiving.folder import Folder
    from app.archiving.personal import rows_of

    for row in rows_of(Folder.at(address), keys, names, dataset, hidden):
        yield row


async def _events(address: str, keys: Keys, names: tuple[str, ...]) -> AsyncIterator[Any]:
    """Events in the archive. Those that are in the streams still are in both."""
    from app.archiving.folder import Folder
    from app.archiving.personal import events_of

    for event in events_of(Folder.at(address), keys, names):
        yield event_view(event)
