"""`nextbest customers …`: merges, erasures, exports."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.commands.ending import fail, failing_on
from app.commands.options import ServedBundle, StoreUrl, settings_of

commands = typer.Typer(help="What operators do to customers.", no_args_is_help=True)


@commands.command("merge")
def merge(
    loser: Annotated[str, typer.Argument(help="The key that becomes the other one.")],
    winner: Annotated[str, typer.Argument(help="The key that all of it is under from then on.")],
    why: Annotated[str, typer.Option(help="The reason, for the history.")] = "",
    bundle: ServedBundle = None,
    url_of_store: StoreUrl = None,
) -> None:
    """Makes two customers, who are one person, one. It cannot be undone. Contacts, refusals and stops of both hold; of
    everything else the winner's, and what it lacks. If it breaks off, the servers finish it, or the same command."""
    from app import merge_command
    from app.command_context import Trouble

    settings = settings_of(bundle=bundle)
    with failing_on(Trouble):
        survivor = merge_command.merge(settings, url_of_store, loser, winner, why)
    typer.echo(f"{loser} is {survivor} now")


@commands.command("erase")
def erase(
    customer: Annotated[str, typer.Argument(help="The customer's key.")],
    bundle: ServedBundle = None,
    url_of_store: StoreUrl = None,
) -> None:
    """Erases a customer everywhere: profile, features, contacts, decisions, events, archive, the store's own file. It
    cannot be undone; only a consent that is given after it ends it. Prints the receipt. Exit code 1 where a step waits
    for somebody else."""
    import json

    from app import erase_command
    from app.command_context import Trouble
    from app.http.erasure import receipt

    settings = settings_of(bundle=bundle)
    with failing_on(Trouble):
        job = erase_command.erase(settings, url_of_store, customer)
    typer.echo(json.dumps(receipt(job), indent=2))
    raise typer.Exit(0 if job.done_ms is not None else 1)


@commands.command("export")
def export(
    customer: Annotated[str, typer.Argument(help="The customer's key.")],
    out: Annotated[Path, typer.Option(help="File to write (JSON).")],
    bundle: ServedBundle = None,
    url_of_store: StoreUrl = None,
) -> None:
    """Writes everything that is held of a customer into a file, by name and unmasked, the archive included."""
    from app import export_command
    from app.command_context import Trouble

    settings = settings_of(bundle=bundle)
    with failing_on(Trouble):
        export_command.export(settings, url_of_store, customer, out)
    typer.echo(f"everything held of this customer is in {out}")


@commands.command("receipt")
def show_receipt(
    erasure: Annotated[str, typer.Argument(metavar="ERASURE", help="The id of an erasure.")],
    of: Annotated[
        str | None, typer.Option(help="Say whether it is that of this customer. Exit code 1: it is not.")
    ] = None,
    url_of_store: StoreUrl = None,
) -> None:
    """Prints the receipt of an erasure, which names nobody; with --of, whether it is a certain customer's."""
    import json

    from app.command_context import Trouble
    from app.erase_command import receipt_of
    from app.http.erasure import receipt

    with failing_on(Trouble):
        job, is_theirs = receipt_of(settings_of(), url_of_store, erasure, of)
    typer.echo(json.dumps(receipt(job), indent=2))
    if not is_theirs:
        fail("this is not the receipt of that customer")
