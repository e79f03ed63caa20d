"""How fast history passes: `python -m loadtests.features.archive_bench`.

A generated shop (as in `loadtests.features.bench`) is written as an archive of one group, hour by hour, and folded
again by the code of `nextbest features vectors`. CPU time of this process, the best of several rounds.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count, islice
from pathlib import Path

from app.archiving.columns import SCHEMA, Passed, rows_of
from app.archiving.folder import Folder
from app.archiving.history import Replay, Wanted, vectors
from app.archiving.layout import GROUPS, Part, group_of
from app.archiving.reading import Snapshot
from app.archiving.rows import by_hour
from app.archiving.states import States
from app.core.events.entry import encode
from app.core.events.event import Collected, Event
from app.core.features.fold import fold
from app.core.features.plan import FoldPlan
from app.store.archive_known import Known
from app.store.archive_positions import Entry
from app.store.keys import Keys
from loadtests.features.bench import CUSTOMERS, NOW_MS, TWELVE, TWELVE_MORE, history, least_s, plan_of

SHARDS = 256
DAY_MS = 86_400_000
#: All came in within a day: files of some thousand rows, as a group has them at 10 events a second of all groups.
FIRST_MS = NOW_MS - NOW_MS % DAY_MS
ROUNDS = 3


def entries(events: list[tuple[int, Event]], keys: Keys) -> dict[int, list[Entry]]:
    """Events as they lie in the streams, all of them of one group: what one core works on."""
    read: dict[int, list[Entry]] = {}
    names = names_of(keys)
    for number, (customer, event) in enumerate(events):
        name, at_ms, message_id = names[customer], event.occurred_at_ms, number.to_bytes(8, "big")
        told = Collected(name, event.type, 1, at_ms, at_ms, message_id, b"", event.properties)
        at = f"{FIRST_MS + number * DAY_MS // len(events)}-{number}".encode()
        read.setdefault(keys.shard_of(name), []).append(Entry(at, encode(told)))
    return read


def names_of(keys: Keys) -> list[str]:
    """Customers of the first group."""
    names = (f"cus_{number:07d}" for number in count())
    return list(islice((name for name in names if group_of(keys.shard_of(name)) == 0), CUSTOMERS))


@contextmanager
def archive(events: list[tuple[int, Event]]) -> Iterator[tuple[Snapshot, float, int]]:
    """The archive; CPU seconds that writing it took; its bytes."""
    keys = Keys(SHARDS)
    read = entries(events, keys)
    with tempfile.TemporaryDirectory() as root:
        folder = Folder.at(root)

        def write() -> None:
            for hour_ms, rows in by_hour(read, SCHEMA, rows_of).items():
                folder.stage(Part(hour_ms, 0, 0, 0).path, rows.table(), 0).publish()

        seconds = least_s(write, 1)
        size = sum(path.stat().st_size for path in Path(root).rglob("*.parquet"))
        ends = {shard: each[-1].id for shard, each in read.items()}
        known = {group: Known(1, ends, None, 0) for group in range(GROUPS)}
        hours = {0: {part.hour_ms: size for part, size in folder.sizes().items()}}
        yield Snapshot(folder, SHARDS, known, {}, hours, {}), seconds, size


def report(title: str, plan: FoldPlan, seen: Snapshot, number: int) -> None:
    kept: list[tuple[Passed, Event]] = []

    def read() -> None:
        kept.clear()
        for rows in Replay(plan, seen).slices(None):
            kept.extend(rows)

    def folded() -> None:
        states = States(plan)
        for row, event in kept:
            fold(plan, states.get(row.customer), event)

    def whole() -> None:
        for _ in vectors(Replay(plan, seen), Wanted(NOW_MS + 86_400_000)):
            pass

    read_s, folded_s, whole_s = least_s(read, ROUNDS), least_s(folded, ROUNDS), least_s(whole, ROUNDS)
    print(title)
    for what, seconds in (("read and decode", read_s), ("fold alone", folded_s), ("read, fold, vectors", whole_s)):
        print(f"  {what:<20} {number / seconds:8,.0f} events/s a core   {seconds / number * 1e6:5.1f} µs")


def main() -> None:
    rng = random.Random(1)
    events = history(rng)
    with archive(events) as (seen, seconds, size):
        number = len(events)
        print(f"{number:,} events in {len(seen.hours[0]):,} files")
        print(f"  {'write':<20} {number / seconds:8,.0f} events/s a core   {size / number:5.0f} bytes an event")
        report("12 features over 3 events", plan_of(TWELVE), seen, number)
        report("24 features over 3 events", plan_of(TWELVE + TWELVE_MORE), seen, number)


if __name__ == "__main__":
    main()
