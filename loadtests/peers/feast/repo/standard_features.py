"""A Feast repository with one entity and 24 features of it. Applied and served in Feast's own environment."""

from datetime import timedelta
from pathlib import Path

# Only in Feast's own environment.
from feast import (  # type: ignore[import-not-found]  # only in Feast's own environment
    Entity,
    FeatureService,
    FeatureView,
    Field,
    FileSource,
    ValueType,
)
from feast.types import Float32  # type: ignore[import-not-found]  # only in Feast's own environment

FEATURES = [f"f{i}" for i in range(24)]

customer = Entity(name="customer", join_keys=["customer"], value_type=ValueType.STRING)

# Never read: the online store is written to directly.
source = FileSource(path=str(Path(__file__).parent / "none.parquet"), timestamp_field="event_timestamp")

standard_view = FeatureView(
    name="standard",
    entities=[customer],
    ttl=timedelta(days=3650),
    schema=[Field(name=name, dtype=Float32) for name in FEATURES],
    source=source,
)

standard_service = FeatureService(name="standard_service", features=[standard_view])
