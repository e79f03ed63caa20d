"""`nextbest deadletters …`: events that could not be taken."""

from __future__ import annotations

from typing import Annotated

import typer

from app.commands.ending import failing_on
from app.commands.options import ServedBundle, StoreUrl, settings_of

commands = typer.Typer(help="Events that could not be taken, and why.", no_args_is_help=True)


@commands.command("list")
def list_letters(
    reason: Annotated[str | None, typer.Option(help="Only those of this reason, such as wrong_type.")] = None,
    event: Annotated[str | None, typer.Option(help="Only those of this event.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, every letter in full.")] = False,
    url_of_store: StoreUrl = None,
) -> None:
    """Lists events that could not be taken, the newest first, masked: when, why, which event."""
    import json

    from app.command_context import Trouble
    from app.dead_letters import Wanted, as_lines, listed

    with failing_on(Trouble):
        found = listed(settings_of(), url_of_store, Wanted((), reason, event))
    if as_json:
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        for line in as_lines(found):
            typer.echo(line)


@commands.command("show")
def show_letter(
    letter: Annotated[str, typer.Argument(metavar="ID", help="As `list` shows it.")], url_of_store: StoreUrl = None
) -> None:
    """Shows one of them in full, masked."""
    import json

    from app.command_context import Trouble
    from app.dead_letters import Wanted, listed

    with failing_on(Trouble):
        found = listed(settings_of(), url_of_store, Wanted((letter,)))
    for each in found:
        typer.echo(json.dumps(each, indent=2, ensure_ascii=False))


@commands.command("redrive")
def redrive_letters(
    letters: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Which; else all.")] = None,
    reason: Annotated[str | None, typer.Option(help="Only those of this reason.")] = None,
    event: Annotated[str | None, typer.Option(help="Only those of this event.")] = None,
    bundle: ServedBundle = None,
    url_of_store: StoreUrl = None,
) -> None:
    """Judges them again, under the bundle as it is now, and collects those that fit. Doing it twice counts once."""
    from app.command_context import Trouble
    from app.dead_letters import Wanted, redriven

    settings = settings_of(bundle=bundle)
    with failing_on(Trouble):
        done = redriven(settings, url_of_store, Wanted(tuple(letters or ()), reason, event))
    typer.echo(f"{done.taken} taken")
    for code, number in done.left.most_common():
        typer.echo(f"{number} left: {code}")
