"""`nextbest features …`: training rows, and filling new features."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.commands.ending import TROUBLE_BESIDE_AN_ANSWER, failing_on
from app.commands.options import FoldingBundle, StoreUrl, settings_of

commands = typer.Typer(help="Features folded from events: training rows, and filling new ones.", no_args_is_help=True)


@commands.command("vectors")
def vectors(
    out: Annotated[Path, typer.Option(help="File to write: .parquet, .csv or .ndjson.")],
    at: Annotated[str | None, typer.Option(help="The instant, such as 2026-12-01T00:00:00Z.")] = None,
    customers: Annotated[
        Path | None, typer.Option(help="File of customers, one a line, or `customer,instant`; all when absent.")
    ] = None,
    bundle: FoldingBundle = None,
    url_of_store: StoreUrl = None,
) -> None:
    """Writes the features of customers as they were at a past instant, or at one each: training rows, by the fold that
    decisions use. What the columns mean is in the file's metadata, and in <file>.json."""
    from app.command_context import Trouble
    from app.vectors_command import whole_in_words, write_vectors

    settings = settings_of(bundle=bundle)
    with failing_on(Trouble, TROUBLE_BESIDE_AN_ANSWER):
        done = write_vectors(settings, url_of_store, at, customers, out)
    typer.echo(f"{done.rows} rows in {out}")
    if done.whole_from_ms != 0:
        typer.echo(whole_in_words(done.whole_from_ms), err=True)


@commands.command("backfill")
def backfill(
    bundle: FoldingBundle = None,
    partly: Annotated[
        bool, typer.Option("--partly", help="Fill what there is, where not all events are archived.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Only list the features that lack history; exit code 1 if any.")
    ] = False,
    url_of_store: StoreUrl = None,
) -> None:
    """Fills features that are new in a bundle from what passed before the workers began to fold them. Workers must run
    with the bundle already. It may be broken off and run again."""
    from app import backfill_command
    from app.command_context import Trouble

    settings = settings_of(bundle=bundle)
    if check:
        with failing_on(Trouble, TROUBLE_BESIDE_AN_ANSWER):
            lacking = backfill_command.lacking_features(settings, url_of_store)
        for name in lacking:
            typer.echo(name)
        raise typer.Exit(1 if lacking else 0)
    with failing_on(Trouble, TROUBLE_BESIDE_AN_ANSWER):
        done = backfill_command.backfill(settings, url_of_store, partly=partly)
    if not done.features:
        typer.echo("no feature lacks history")
        return
    typer.echo(f"filled for {done.customers} customers: {', '.join(done.features)}")
