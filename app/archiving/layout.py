"""Where the rows of the archive lie, and which of its files count.

    day=2026-12-01/hour=09/group=03/part-000000000012.parquet                 one batch of the group, the 12th
    day=2026-12-01/hour=09/group=03/part-000000000012-000000000019.parquet    the batches 12 to 19 of that hour, in one

Rule 1: a row lies in the hour (UTC) in which it was appended to its stream, so that where it lies is a function of its
position there: an hour that is over gets no more rows, and a batch that is written twice is written to the same files.
Rule 2: of files in one folder, one that lies within the batches of another does not count. So whoever makes one file of
many writes the wide one first and deletes the others then, and may be stopped at any instant.
Rule 3: what is being written lies in `.staging/group-NN/` and is moved when it is whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import NamedTuple

#: Shards are archived in so many groups: few enough that files have a size, enough that erasing somebody rewrites
#: little. Fixed for the life of an archive.
GROUPS = 16
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
STAGING = ".staging"

_PATH = re.compile(
    r"day=(\d{4}-\d\d-\d\d)/hour=(\d\d)/group=(\d\d)/part-(\d{12})(?:-(\d{12}))?\.parquet"
)  # relative to the archive's own folder


class Part(NamedTuple):
    """One file: the batches `first` to `last` of a group, as far as they lie in one hour."""

    hour_ms: int  # when the hour begins, Unix ms
    group: int
    first: int
    last: int

    @property
    def path(self) -> str:
        """Relative to the archive's folder."""
        name = f"part-{self.first:012d}" if self.first == self.last else f"part-{self.first:012d}-{self.last:012d}"
        return f"{hour_folder(self.hour_ms, self.group)}/{name}.parquet"

    def covers(self, other: Part) -> bool:
        """Whether everything that the other one holds is in this one."""
        within = self.first <= other.first and other.last <= self.last
        return within and (self.hour_ms, self.group) == (other.hour_ms, other.group) and self != other


def group_of(shard: int) -> int:
    return shard % GROUPS


def shards_of_group(group: int, shards: int) -> range:
    """The shards of a group, in a deployment of `shards`."""
    return range(group, shards, GROUPS)


def hour_of(at_ms: int) -> int:
    """When the hour of an instant begins."""
    return at_ms - at_ms % HOUR_MS


def hour_folder(hour_ms: int, group: int) -> str:
    at = datetime.fromtimestamp(hour_ms / 1000, UTC)
    return f"day={at:%Y-%m-%d}/hour={at:%H}/group={group:02d}"


def day_of(folder: str) -> int | None:
    """When the day of a folder `day=…` begins; None: it is no such folder."""
    name, _, day = folder.partition("=")
    try:
        return round(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp() * 1000) if name == "day" else None
    except ValueError:
        return None


def iso(at_ms: int) -> str:
    """An instant for people and files."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse(path: str) -> Part | None:
    """What a path below the archive's folder names; None: something else."""
    found = _PATH.fullmatch(path)
    if found is None:
        return None
    day, hour, group, first, last = found.groups()
    begins = datetime.fromisoformat(f"{day}T{hour}:00:00+00:00")
    return Part(round(begins.timestamp() * 1000), int(group), int(first), int(last or first))


def standing(parts: Iterable[Part]) -> list[Part]:
    """The files that count, in the order in which their rows were appended."""
    held: list[Part] = []
    for part in sorted(parts, key=lambda each: (each.hour_ms, each.group, each.first, -each.last)):
        if not (held and held[-1].covers(part)):
            held.append(part)
    return held
