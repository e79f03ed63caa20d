"""A store and its archive belong together: a mark in both says so.

A command that is run in another folder, or on another machine, would else find no files and say that nobody ever did
anything; an archiver would split the archive, or write over the files of another one.
"""

from __future__ import annotations

import asyncio
import secrets

from app.archiving.folder import Folder
from app.archiving.layout import GROUPS
from app.store.archive_positions import ArchivePositions
from app.store.archive_sources import EVENTS, SOURCES


class WrongArchive(OSError):
    """The folder does not hold this store's archive; the message says what to do."""


async def claim(store: ArchivePositions, folder: Folder) -> None:
    """Begin an archive where the store has none yet; else see that it is this one. Raises WrongArchive, OSError, redis
    errors."""
    mark, ours = await asyncio.to_thread(folder.mark), await store.archive()
    if ours is None and mark is not None and not await asyncio.to_thread(_any_parts, folder):
        ours = await store.archive(mark)  # it was begun, and whoever did so was stopped
    if ours is None and mark is None:
        ours = await store.archive(secrets.token_hex(16))
    if ours is not None and mark is None and not await store.anything_archived(GROUPS):
        await asyncio.to_thread(folder.set_mark, ours)
    await check(store, folder)
    await asyncio.to_thread(folder.move_into, EVENTS.name)


def _any_parts(folder: Folder) -> bool:
    return any(folder.below(source.name).parts() for source in SOURCES)


async def check(store: ArchivePositions, folder: Folder) -> None:
    """See that a folder holds the store's archive. Raises WrongArchive, OSError, redis errors."""
    mark, ours = await asyncio.to_thread(folder.mark), await store.archive()
    if mark == ours:
        return
    if ours is None:
        raise WrongArchive("the folder of NEXTBEST_ARCHIVE holds the archive of another store: name another one")
    raise WrongArchive(
        "this store's archive is not where NEXTBEST_ARCHIVE points to: set it to the archive's folder (the default is "
        "relative to NEXTBEST_DATA), or, if it is lost, say `nextbest archive --forget` and begin another one"
    )
