"""Declares the features and writes the standard customers to Feast's online store.

Run by the Python of Feast's own environment: `python -m loadtests.peers.feast.load <repository>`.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
from feast import FeatureStore  # type: ignore[import-not-found]  # only in Feast's own environment

from loadtests.standard.job import CUSTOMERS, attributes

FEATURES = tuple(f"f{i}" for i in range(24))


def main(repository: Path) -> None:
    sys.path.insert(0, str(repository))
    import standard_features as declared  # type: ignore[import-not-found]  # beside the file that Feast is given

    store = FeatureStore(repo_path=str(repository))
    store.apply([declared.customer, declared.standard_view, declared.standard_service])
    rows = pd.DataFrame(attributes(CUSTOMERS, FEATURES))
    rows["customer"] = [str(key) for key in range(CUSTOMERS)]
    rows["event_timestamp"] = datetime.now(UTC)
    for begin in range(0, CUSTOMERS, 2_000):
        store.write_to_online_store("standard", rows.iloc[begin : begin + 2_000])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
