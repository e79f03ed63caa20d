"""What the archive holds of some customers, for exports."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import pyarrow as pa

from app.archiving.columns import SCHEMA, collected
from app.archiving.folder import Folder
from app.archiving.layout import group_of, standing
from app.core.events.event import Collected
from app.store.keys import Keys

_TIMES = ("occurred_at", "received_at", "appended_at")


def events_of(folder: Folder, keys: Keys, customers: Collection[str]) -> Iterator[Collected]:
    """Events of these customers, hour by hour, repeats included. Raises OSError."""
    groups = sorted({group_of(keys.shard_of(customer)) for customer in customers})
    for group in groups:
        for hour in folder.hour_folders(group):
            for part in standing(folder.parts(hour)):
                table = folder.table(part.path, filters=[("customer", "in", list(customers))])
                for name in _TIMES:
                    place = table.schema.get_field_index(name)
                    table = table.set_column(place, name, table[name].cast(pa.int64()))
                yield from map(collected, table.select(SCHEMA.names).to_pylist())
