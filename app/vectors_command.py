"""`nextbest features vectors`: training rows and model-ready vectors, as of any past instant."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import NamedTuple

from app.archive_commands import Estate, customers_in, folding_bundle_in, instant_ms, with_estate
from app.archiving.history import Replay, Wanted, vectors
from app.archiving.layout import iso
from app.archiving.reading import Snapshot, snapshot
from app.archiving.vectors_file import SUFFIXES, described, written
from app.command_context import Trouble
from app.core.features.plan import FoldPlan
from app.progress_bar import bar
from app.settings import Settings


class Written(NamedTuple):
    """How many rows, and since when the events are whole that they are folded from (0: always, None: nobody knows)."""

    rows: int
    whole_from_ms: int | None


def write_vectors(
    settings: Settings, address_of_store: str | None, at: str | None, customers: Path | None, out: Path
) -> Written:
    """Write the features of the settings' bundle: of the customers in a file, or of all, at the instant `at`, or at
    those in the file. Raises Trouble."""
    bundle = folding_bundle_in(settings.bundle)
    if out.suffix not in SUFFIXES:
        raise Trouble(f"`{out.name}` ends in none of {', '.join(SUFFIXES)}, which say what to write")
    names, instants = (None, None) if customers is None else customers_in(customers)
    if (at is None) == (instants is None):
        raise Trouble("name an instant with `--at`, or one in every line of the file of `--customers`")
    at_ms = instant_ms(at or "") if instants is None else max(max(each) for each in instants.values())
    wanted = Wanted(at_ms, names, instants)

    async def work(estate: Estate) -> Written:
        now_ms = await estate.store.now_ms()
        if at_ms > now_ms:
            raise Trouble("the instant is in the future: nothing has arrived by then")
        seen = await snapshot(estate.store, estate.folder)
        return await asyncio.to_thread(_write, seen)

    def _write(seen: Snapshot) -> Written:
        with bar("hours") as shown:
            task = shown.add_task("", total=None)
            replay = Replay(FoldPlan.of(bundle), seen, wanted.at_ms, lambda number: shown.advance(task, number))
            shown.update(task, total=replay.hours)
            rows = vectors(replay, wanted)
            number = written(out, bundle, described(bundle, seen.whole_from_ms), rows)
        return Written(number, seen.whole_from_ms)

    return with_estate(settings, address_of_store, work)


def whole_in_words(whole_from_ms: int | None) -> str:
    """What is missing of the events, for whoever uses the rows."""
    if whole_from_ms is None:
        return "nobody knows whether events are missing: no archiver has run yet"
    return f"events before {iso(whole_from_ms)} are not archived: features that reach back further lack them"
