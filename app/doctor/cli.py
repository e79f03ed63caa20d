"""The command `nextbest doctor`. It imports what it needs when it runs."""

from __future__ import annotations

from typing import Annotated

import typer

from app.commands.ending import TROUBLE_BESIDE_AN_ANSWER, failing_on
from app.commands.options import ServedBundle, StoreUrl, settings_of


def doctor(
    bundle: ServedBundle = None,
    sample: Annotated[int, typer.Option(min=0, help="Look at so many customers; 0: at all.")] = 50_000,
    rate: Annotated[int, typer.Option(min=1, help="Customers a second: the store has others to serve.")] = 10_000,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    url_of_store: StoreUrl = None,
) -> None:
    """Looks for what is wrong with the data: duplicates, stale attributes, missing times, names that are nearly alike,
    what nobody reads, events that do not come. Only reads. Exit code 1: something is severe, 2: nobody can tell."""
    from app.command_context import Trouble
    from app.doctor import report
    from app.doctor.command import diagnose
    from app.progress_bar import bar

    settings = settings_of(bundle=bundle)
    with failing_on(Trouble, TROUBLE_BESIDE_AN_ANSWER), bar("customers") as progress:
        task = progress.add_task("", total=sample or None)
        found = diagnose(
            settings, url_of_store, sample or None, rate, lambda seen: progress.update(task, completed=seen)
        )
    if as_json:
        typer.echo(report.as_text_json(found))
    else:
        report.as_table(found)
    raise typer.Exit(1 if found.is_severe else 0)
