"""What became of what was sent: `nextbest deliverability`, `webhooks`."""

from __future__ import annotations

from typing import Annotated

import typer

from app.commands.ending import TROUBLE_BESIDE_AN_ANSWER, failing_on
from app.commands.options import StoreUrl, settings_of


def deliverability(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, as GET /v1/deliverability answers.")] = False,
    url_of_store: StoreUrl = None,
) -> None:
    """Shows bounces, complaints and unsubscribes of every message, and which the watch switched off. Exit code 1:
    something alerts or is switched off, 2: nobody can tell, or nobody looks."""
    import json

    from app import deliverability_command as command
    from app.command_context import Trouble

    with failing_on(Trouble, TROUBLE_BESIDE_AN_ANSWER):
        found = command.looked_up(settings_of(), url_of_store)
    if as_json:
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        command.as_table(found)
    raise typer.Exit(command.exit_code(found))


def webhooks(
    provider: Annotated[str | None, typer.Option(help="Only those of this provider.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, every item in full.")] = False,
    url_of_store: StoreUrl = None,
) -> None:
    """Shows what webhooks said that was not understood or not taken, masked, the newest first; a thousand are kept."""
    import json

    from app import webhook_command as command
    from app.command_context import Trouble

    with failing_on(Trouble):
        found = command.puzzles(settings_of(), url_of_store, provider)
    if as_json:
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        for line in command.as_lines(found):
            typer.echo(line)
