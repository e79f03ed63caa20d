"""The command line. Each command imports what it needs when it runs, so that `nextbest serve` is fast to start.

Places are kept for `replay`, `simulate`, `why`, `import` and `bench`; each will be one function here and one module.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import typer

T = TypeVar("T")

app = typer.Typer(name="nextbest", help="The next best message for a customer.", no_args_is_help=True)
keys = typer.Typer(help="The keys that callers send as `Authorization: Bearer <key>`.", no_args_is_help=True)
demo = typer.Typer(help="The demo's customers.", no_args_is_help=True)
app.add_typer(keys, name="keys")
app.add_typer(demo, name="demo")

KeysFile = Annotated[Path, typer.Option("--file", envvar="NEXTBEST_KEYS_FILE", help="The keys file.")]


def main() -> None:
    """The `nextbest` command."""
    app()


@app.command()
def serve(
    bundle: Annotated[
        Path | None, typer.Option(envvar="NEXTBEST_BUNDLE", help="Folder of the bundle to serve.")
    ] = None,
    host: Annotated[str | None, typer.Option(envvar="NEXTBEST_HOST", help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(envvar="NEXTBEST_PORT", help="Port to listen on.")] = None,
    workers: Annotated[int | None, typer.Option(envvar="NEXTBEST_WORKERS", help="Server processes.")] = None,
    data: Annotated[Path | None, typer.Option(envvar="NEXTBEST_DATA", help="Folder of the embedded store.")] = None,
    with_demo: Annotated[bool, typer.Option("--demo", help="Load the demo's customers, print what to paste.")] = False,
) -> None:
    """Starts the server, with an embedded store unless NEXTBEST_REDIS_URL names one. Ctrl-C stops both."""
    from app.serve import CannotServe
    from app.serve import serve as run

    given = {"bundle": bundle, "host": host, "port": port, "workers": workers, "data": data}
    settings = _settings({name: value for name, value in given.items() if value is not None})
    try:
        run(settings, demo=with_demo)
    except CannotServe as error:
        _fail(str(error))
    except KeyboardInterrupt:
        pass  # Ctrl-C is the ordinary way to stop it


@app.command()
def lint(
    folder: Annotated[Path, typer.Argument(help="Folder of the bundle.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for editors and CI.")] = False,
) -> None:
    """Checks a bundle: all mistakes at once, each with file, line and what to write instead. Exit code 1 if any."""
    from app.lint_report import as_table, as_text_json
    from policy.lint import lint as check

    report = check(folder)
    if as_json:
        print(as_text_json(report))
    else:
        as_table(report)
    raise typer.Exit(1 if report.mistakes else 0)


@app.command()
def schema(out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("schemas")) -> None:
    """Writes the JSON Schema of every file of a bundle, for editors that complete and check."""
    import json

    from policy.schema import json_schemas

    out.mkdir(parents=True, exist_ok=True)
    for name, document in json_schemas().items():
        path = out / (name.removesuffix(".yaml") + ".schema.json")
        path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        typer.echo(path)


@app.command()
def version() -> None:
    """Prints the version."""
    from importlib.metadata import version as version_of

    typer.echo(version_of("nextbest"))


@keys.command("add")
def keys_add(
    file: KeysFile,
    scope: Annotated[list[str], typer.Option(help="decide, collect, read, approve:<role> or admin; may be repeated.")],
) -> None:
    """Makes a key and prints it, once: only its hash is kept."""
    from app import keys_file

    stored, key = _or_fail(lambda: keys_file.add(file, scope))
    typer.echo(f"{stored.id} may {', '.join(stored.scopes)}. The key, shown this once:", err=True)
    typer.echo(key)


@keys.command("list")
def keys_list(file: KeysFile) -> None:
    """Lists the keys: id, scopes, when it was made."""
    from app import keys_file

    for key in _or_fail(lambda: keys_file.read(file)):
        typer.echo(f"{key.id}  {key.created}  {' '.join(key.scopes)}")


@keys.command("revoke")
def keys_revoke(file: KeysFile, key_id: Annotated[str, typer.Argument(metavar="ID")]) -> None:
    """Removes a key. Running servers refuse it within a second."""
    from app import keys_file

    if not _or_fail(lambda: keys_file.revoke(file, key_id)):
        _fail(f"the keys file has no key `{key_id}`: `nextbest keys list` shows all")


@demo.command("load")
def demo_load(
    url: Annotated[str, typer.Option(help="Address of the server.")] = "http://127.0.0.1:8000",
    count: Annotated[int, typer.Option(min=1, help="How many customers.")] = 2_000,
) -> None:
    """Loads demo customers into a running server. Loading them again changes nothing."""
    from app.welcome import load, wait_until_ready

    try:
        wait_until_ready(url, within_s=10)
        typer.echo(f"{load(url, count)['accepted']} customers")
    except (OSError, ValueError) as error:
        _fail(str(error))


def _settings(given: dict[str, Any]) -> Any:
    from pydantic import ValidationError

    from app.settings import PREFIX, Settings

    try:
        return Settings(**given)
    except ValidationError as error:
        # The value is not repeated: it may be a secret.
        _fail("; ".join(f"{PREFIX}{str(e['loc'][0]).upper()}: {e['msg']}" for e in error.errors()))


def _or_fail(act: Callable[[], T]) -> T:
    from app.keys_file import KeysFileError

    try:
        return act()
    except KeysFileError as error:
        _fail(str(error))


def _fail(message: str) -> NoReturn:
    typer.echo(f"nextbest: {message}", err=True)
    sys.exit(1)
