"""What a deployment needs: `python -m loadtests.capacity --customers 10M --decisions 10000`.

--publish             writes the table of docs/scaling.md instead
"""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from loadtests.capacity.model import Wanted, needed
from loadtests.capacity.table import PAGE, in_words, publish

USUAL = Wanted(customers=1_000_000, decisions_s=1_000)
UNITS = {"k": 1_000, "m": 1_000_000, "g": 1_000_000_000}


def count(text: str) -> int:
    """`10M` → 10000000."""
    number, unit = (text[:-1], UNITS[text[-1].lower()]) if text[-1:].lower() in UNITS else (text, 1)
    try:
        found = round(float(number) * unit)
    except ValueError:
        found = 0
    if found < 1:
        raise typer.BadParameter(f"`{text}` is no count: write it as 250000, 250k, 10M")
    return found


def main(
    customers: Annotated[int, typer.Option(parser=count, metavar="N", help="Customers, such as 10M.")] = "1M",  # type: ignore[assignment]  # parsed
    decisions: Annotated[
        int, typer.Option(parser=count, metavar="N", help="Decisions a second at the busiest.")
    ] = "1k",  # type: ignore[assignment]  # parsed
    busy: Annotated[float, typer.Option(min=0, max=1, help="The day's mean rate over the busiest.")] = USUAL.busy,
    keyed: Annotated[
        float, typer.Option(min=0, max=1, help="Share of decisions with an Idempotency-Key.")
    ] = USUAL.keyed,
    events: Annotated[float, typer.Option(min=0, help="Events a customer and day.")] = USUAL.events_a_day,
    sends: Annotated[float, typer.Option(min=0, help="Sends a customer and day.")] = USUAL.sends_a_day,
    outcomes: Annotated[float, typer.Option(min=0, help="Outcomes that an ESP tells of a send.")] = USUAL.outcomes,
    log_minutes: Annotated[
        float, typer.Option(min=0, help="Minutes that the archiver may be away.")
    ] = USUAL.log_minutes,
    publishing: Annotated[bool, typer.Option("--publish", help=f"Write the table of {PAGE.name}.")] = False,
) -> None:
    """Say what a deployment needs, from what was measured."""
    if publishing:
        publish()
        return
    wanted = Wanted(
        customers, decisions, busy=busy, keyed=keyed, events_a_day=events, sends_a_day=sends, outcomes=outcomes,
        log_minutes=log_minutes,
    )  # fmt: skip
    shown = Table(show_header=False)
    for what, how in in_words(wanted, needed(wanted)):
        shown.add_row(what, how)
    Console().print(shown)


if __name__ == "__main__":
    typer.run(main)
