"""What is said of a bundle in a folder: `nextbest lint`, `schema`, `audit data`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.commands.ending import fail

audit = typer.Typer(help="What reviewers ask about a bundle.", no_args_is_help=True)


def lint(
    folder: Annotated[Path, typer.Argument(help="Folder of the bundle.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for editors and CI.")] = False,
    against: Annotated[
        Path | None,
        typer.Option(exists=True, file_okay=False, help="Folder of the bundle that is served: events must still fit."),
    ] = None,
) -> None:
    """Checks a bundle: all mistakes at once, each with file, line and what to write instead. Exit code 1 if any."""
    from time import time

    from app.lint_report import as_table, as_text_json
    from policy.lint import lint as check

    report = check(folder, round(time() * 1000), against)
    if as_json:
        typer.echo(as_text_json(report))
    else:
        as_table(report)
    raise typer.Exit(1 if report.mistakes else 0)


def schema(out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("schemas")) -> None:
    """Writes the JSON Schema of every file of a bundle, for editors that complete and check."""
    import json

    from policy.schema import json_schemas

    out.mkdir(parents=True, exist_ok=True)
    for name, document in json_schemas().items():
        path = out / (name.removesuffix(".yaml") + ".schema.json")
        path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        typer.echo(path)


@audit.command("data")
def audit_data(
    bundle: Annotated[
        Path | None, typer.Option(envvar="NEXTBEST_BUNDLE", help="Folder of the bundle; the demo's when absent.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, every list in full.")] = False,
    picture: Annotated[Path | None, typer.Option(help="File to draw the lineage into (SVG).")] = None,
) -> None:
    """The lineage of a bundle's data: every source, identity key, consent field, attribute and feature, who owns it,
    how long it is kept, what reads it; what is unused, and what is missing an owner."""
    from time import time

    from app import audit_report
    from app.settings import DEMO_BUNDLE
    from policy.audit import audit as audited
    from policy.lint import examine

    now_ms = round(time() * 1000)
    folder = bundle or DEMO_BUNDLE
    # An approval that has ended is a mistake of the bundle, and just what an audit is made to show.
    report, documents = examine(folder)
    if documents is None:
        fail(f"the bundle has mistakes, `nextbest lint {folder}` shows them all: {report.mistakes[0]}")
    found = audited(documents, now_ms)
    if picture:
        from app.audit_picture import picture as drawn

        picture.write_text(drawn(found), encoding="utf-8")
    if as_json:
        typer.echo(audit_report.as_text_json(found))
    else:
        audit_report.as_table(found)
