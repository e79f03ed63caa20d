"""`nextbest keys …`: the keys of callers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.commands.ending import fail, failing_on

commands = typer.Typer(help="The keys that callers send as `Authorization: Bearer <key>`.", no_args_is_help=True)

KeysFile = Annotated[Path, typer.Option("--file", envvar="NEXTBEST_KEYS_FILE", help="The keys file.")]


@commands.command("add")
def add_key(
    file: KeysFile,
    scope: Annotated[list[str], typer.Option(help="decide, collect, read, approve:<role> or admin; may be repeated.")],
    rate: Annotated[
        str | None, typer.Option(help="How often it may ask a server: 100/s, 6000/min, 50000/h. Absent: no limit.")
    ] = None,
) -> None:
    """Makes a key and prints it, once: only its hash is kept."""
    from app import keys_file

    with failing_on(keys_file.KeysFileError):
        stored, key = keys_file.add(file, scope, rate=rate)
    limit = "" if rate is None else f", at most {rate}"
    typer.echo(f"{stored.id} may {', '.join(stored.scopes)}{limit}. The key, shown this once:", err=True)
    typer.echo(key)


@commands.command("list")
def list_keys(file: KeysFile) -> None:
    """Lists the keys: id, when it was made, scopes, rate."""
    from app import keys_file

    with failing_on(keys_file.KeysFileError):
        found = keys_file.read(file)
    for key in found:
        typer.echo(f"{key.id}  {key.created}  {' '.join(key.scopes)}{'' if key.rate is None else f'  {key.rate}'}")


@commands.command("revoke")
def revoke_key(file: KeysFile, key_id: Annotated[str, typer.Argument(metavar="ID")]) -> None:
    """Removes a key. Running servers refuse it within a second."""
    from app import keys_file

    with failing_on(keys_file.KeysFileError):
        revoked = keys_file.revoke(file, key_id)
    if not revoked:
        fail(f"the keys file has no key `{key_id}`: `nextbest keys list` shows all")
