"""What a customer's history costs: `python -m loadtests.soak.history`; `--quick` takes a few seconds.

Deciding and encoding the record, by how many contacts the ledger holds: CPU of this process, no store and no model. In
a soak a few customers are asked for again and again, so that ledgers grow and decisions cost more at its end than at
its begin; of a process that slows down by itself this must be told apart.
"""

from __future__ import annotations

import random
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

from app.core.decision.replay import kind_of
from loadtests.mix import bundle as mix
from policy.bundle import Bundle, Placement
from policy.compile import load
from policy.facts import ConsentEntry, Contact, Facts
from tests.support.deciding import HOUR_MS, NOW_MS, decide

CONTACTS = (0, 10, 20, 40, 80, 160)
ID_BYTES = 14  # of a decision in the ledger
MAIL = "standard"


def facts(placement: Placement, contacts: int) -> Facts:
    """A customer who got so many messages within the hour."""
    chance = random.Random(contacts)
    kinds = [kind_of(placement, candidate.message) for candidate in placement.candidates]
    ledger = tuple(
        Contact(chance.randbytes(ID_BYTES), kinds[number % len(kinds)], NOW_MS - chance.randrange(HOUR_MS), NOW_MS - 1)
        for number in range(contacts)
    )
    said = ConsentEntry("marketing", "*", "granted", "opt_in", "signup_form", 0)
    return Facts(NOW_MS, True, "DE", "Europe/Berlin", "de", (said,), values={}, as_of_ms={}, contacts=ledger)


def cost(bundle: Bundle, contacts: int, times: int) -> tuple[float, int]:
    """µs of CPU of a decision, and bytes of its record."""
    known = facts(bundle.placements[MAIL], contacts)
    made = decide(bundle, known, [MAIL])
    began = time.process_time()
    for _ in range(times):
        decide(bundle, known, [MAIL])
    return (time.process_time() - began) / times * 1e6, len(made.record)


def main(quick: Annotated[bool, typer.Option("--quick", help="A few seconds.")] = False) -> None:
    """Print both, by how many contacts there are."""
    with tempfile.TemporaryDirectory() as folder:
        bundle = load(mix.write(Path(folder) / "bundle"))
        for contacts in CONTACTS:
            cost_us, size = cost(bundle, contacts, 30 if quick else 1_000)
            print(f"{contacts:>4} contacts: {cost_us:5.0f} µs, record of {size:,} bytes")


if __name__ == "__main__":
    typer.run(main)
