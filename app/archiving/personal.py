"""What the archive holds of some customers, for exports."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Collection, Iterator
from datetime import datetime
from typing import Any

import orjson
import pyarrow as pa

from app.archiving.columns import SCHEMA, collected
from app.archiving.datasets import EVENT_SET, Dataset
from app.archiving.folder import Folder
from app.archiving.layout import group_of, iso, standing
from app.core.events.event import Collected
from app.store.keys import Keys

_TIMES = ("occurred_at", "received_at", "appended_at")


def events_of(folder: Folder, keys: Keys, customers: Collection[str]) -> Iterator[Collected]:
    """Events of these customers, hour by hour, repeats included. Raises OSError."""
    for table in _tables(folder, keys, customers, EVENT_SET):
        whole = table.select(SCHEMA.names)
        for place, name in enumerate(SCHEMA.names):
            if name in _TIMES:
                whole = whole.set_column(place, name, whole[name].cast(pa.int64()))
        yield from map(collected, whole.to_pylist())


def rows_of(
    folder: Folder, keys: Keys, customers: Collection[str], dataset: Dataset, hidden: Collection[str]
) -> Iterator[dict[str, Any]]:
    """Rows of another dataset, as JSON knows them. `hidden`: features that are in no export. Raises OSError."""
    for table in _tables(folder, keys, customers, dataset):
        for row in table.to_pylist():
            if row.get("features"):
                features = orjson.loads(row["features"])
                row["features"] = {name: value for name, value in features.items() if name not in hidden}
            yield {name: _plain(value) for name, value in row.items() if value is not None}


def _tables(folder: Folder, keys: Keys, customers: Collection[str], dataset: Dataset) -> Iterator[pa.Table]:
    below = folder.below(dataset.name)
    for group in sorted({group_of(keys.shard_of(customer)) for customer in customers}):
        for hour in below.hour_folders(group):
            for part in standing(below.parts(hour)):
                yield below.table(part.path, filters=[("customer", "in", list(customers))])


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return iso(round(value.timestamp() * 1000))
    return b64encode(value).decode() if isinstance(value, bytes) else value
