"""Reads the demo's training data: a randomised e-mail test of 64,000 customers, of which 44,800 are in the file.

Kevin Hillstrom, "The MineThatData E-Mail Analytics And Data Mining Challenge", MineThatData, 20 March 2008. Each
customer got a men's e-mail, a women's e-mail or none, at random, one third each; visits, conversions and spend were
tracked for two weeks. The data is not part of the product: it is read from a folder, and only a model trained on it is
shipped.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FILE = "hillstrom_train.csv.gz"
#: The arms, in the order of `Experiment.arm`.
ARMS = ("No E-Mail", "Mens E-Mail", "Womens E-Mail")
NONE, MENS, WOMENS = range(3)
#: The probability of each arm, by the design of the test.
PROPENSITY = 1 / 3


@dataclass(frozen=True, slots=True)
class Experiment:
    """One row a customer. Outcomes are never features, nor is `history_segment`, which is `history` in bands."""

    customers: tuple[dict[str, Any], ...]  # attributes as the demo's bundle names them
    arm: NDArray[np.int64]  # index into ARMS
    visit: NDArray[np.float64]  # 0 or 1
    conversion: NDArray[np.float64]  # 0 or 1
    spend: NDArray[np.float64]  # US dollars
    sha256: str  # of the file, hex

    def __len__(self) -> int:
        return len(self.customers)


def data_folder() -> Path:
    """`NEXTBEST_DATA`, or the folder `shared/data` beside the repository."""
    given = os.environ.get("NEXTBEST_DATA")
    return Path(given) if given else Path(__file__).resolve().parents[2] / "shared" / "data"


def read(folder: Path) -> Experiment:
    """The whole file. Raises `FileNotFoundError` where it is not there."""
    packed = (folder / FILE).read_bytes()
    text = io.StringIO(gzip.decompress(packed).decode())
    rows = list(csv.DictReader(text))
    return Experiment(
        customers=tuple(_attributes(row) for row in rows),
        arm=np.array([ARMS.index(row["segment"]) for row in rows]),
        visit=np.array([float(row["visit"]) for row in rows]),
        conversion=np.array([float(row["conversion"]) for row in rows]),
        spend=np.array([float(row["spend"]) for row in rows]),
        sha256=hashlib.sha256(packed).hexdigest(),
    )


def _attributes(row: dict[str, str]) -> dict[str, Any]:
    """`Surburban` is the source's spelling and stays."""
    return {
        "recency": int(row["recency"]),
        "history": float(row["history"]),
        "mens": int(row["mens"]),
        "womens": int(row["womens"]),
        "zip_code": row["zip_code"],
        "newbie": int(row["newbie"]),
        "channel": row["channel"],
    }
