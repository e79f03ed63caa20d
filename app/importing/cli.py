"""The commands `nextbest import …`. Each imports what it needs when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.commands.ending import TROUBLE_BESIDE_AN_ANSWER, fail

if TYPE_CHECKING:
    from app.importing.command import Told

commands = typer.Typer(
    help="What another system knows of customers: profiles, consent, stops. NDJSON, CSV or Parquet, also .gz.",
    no_args_is_help=True,
)

Files = Annotated[list[Path], typer.Argument(exists=True, dir_okay=False, help="Files: .ndjson, .csv or .parquet.")]
Format = Annotated[str, typer.Option("--format", help="auto (by the name), ndjson, csv or parquet.")]
Map = Annotated[list[str] | None, typer.Option("--map", help="column=field, may be repeated; `ignore` leaves out.")]
Mapping = Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="YAML file of `column: field`.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check everything, send nothing, write nothing.")]
Resume = Annotated[bool, typer.Option("--resume/--no-resume", help="Go on after what an earlier run noted.")]
AsOf = Annotated[str | None, typer.Option("--as-of", help="Column with the time at which consents of a row were so.")]
AsOfTime = Annotated[str | None, typer.Option("--as-of-time", help="That time, where no column has it (ISO 8601).")]
Undated = Annotated[bool, typer.Option("--undated-is-now", help="Take grants without a time as given now.")]
Zone = Annotated[str | None, typer.Option(help="Time zone of times that name none, such as UTC.")]
EmptyIsNull = Annotated[bool, typer.Option("--empty-is-null", help="An empty cell deletes what is known.")]
Source = Annotated[str, typer.Option(help="Who said so, where no column says it.")]
Basis = Annotated[str, typer.Option(help="Legal basis of consents, where no column says it.")]
Encoding = Annotated[str, typer.Option(help="Of CSV.")]
Bundle = Annotated[
    Path | None, typer.Option(envvar="NEXTBEST_BUNDLE", help="Folder of the bundle that is served; else the demo's.")
]
Url = Annotated[str, typer.Option(envvar="NEXTBEST_URL", help="Address of the server.")]
Key = Annotated[str | None, typer.Option(envvar="NEXTBEST_KEY", help="A key that may `collect`.", show_envvar=True)]
Patience = Annotated[float, typer.Option(min=0, help="Seconds to wait for a server that takes nothing.")]
Report = Annotated[str, typer.Option(help="table or json.")]
HERE = "http://127.0.0.1:8000"


@commands.command("customers")
def customers(
    files: Files,
    kind: Format = "auto",
    map_: Map = None,
    mapping: Mapping = None,
    dry_run: DryRun = False,
    resume: Resume = True,
    as_of: AsOf = None,
    as_of_time: AsOfTime = None,
    undated_is_now: Undated = False,
    zone: Zone = None,
    empty_is_null: EmptyIsNull = False,
    source: Source = "import",
    basis: Basis = "consent",
    encoding: Encoding = "utf-8-sig",
    bundle: Bundle = None,
    url: Url = HERE,
    key: Key = None,
    patience: Patience = 60.0,
    report: Report = "table",
) -> None:
    """Imports profiles: attributes, identities, region, preferences, consent. Addresses in clear leave as digests. Exit
    code 0: all taken, 1: some were not, 2: it could not be done."""
    from app.importing.command import Told

    said = {"source": source, "basis": basis, "undated_is_now": undated_is_now, "empty_is_null": empty_is_null}
    told = Told(kind, encoding, tuple(map_ or ()), mapping, as_of, as_of_time, zone, said)
    _run("customers", files, told, dry_run, resume, bundle, url, key, patience, report)


@commands.command("consent")
def consent(
    files: Files,
    kind: Format = "auto",
    map_: Map = None,
    mapping: Mapping = None,
    dry_run: DryRun = False,
    resume: Resume = True,
    as_of: AsOf = None,
    as_of_time: AsOfTime = None,
    undated_is_now: Undated = False,
    zone: Zone = None,
    purpose: Annotated[str | None, typer.Option(help="Where no column says it.")] = None,
    channel: Annotated[str | None, typer.Option(help="Where no column says it; `*`: every one.")] = None,
    source: Source = "import",
    basis: Basis = "consent",
    encoding: Encoding = "utf-8-sig",
    bundle: Bundle = None,
    url: Url = HERE,
    key: Key = None,
    patience: Patience = 60.0,
    report: Report = "table",
) -> None:
    """Imports consent, one a row: who, purpose, channel, state, and when it was said. The later one wins, so that an
    old list undoes no withdrawal. Exit code as of `customers`."""
    from app.importing.command import Told

    said = {
        "source": source, "basis": basis, "undated_is_now": undated_is_now, "purpose": purpose, "channel": channel,
    }  # fmt: skip
    told = Told(kind, encoding, tuple(map_ or ()), mapping, as_of, as_of_time, zone, said)
    _run("consent", files, told, dry_run, resume, bundle, url, key, patience, report)


@commands.command("suppressions")
def suppressions(
    files: Files,
    kind: Format = "auto",
    map_: Map = None,
    mapping: Mapping = None,
    dry_run: DryRun = False,
    resume: Resume = True,
    as_of: AsOf = None,
    as_of_time: AsOfTime = None,
    zone: Zone = None,
    reason: Annotated[str, typer.Option(help="Where no column says it: manual, unsubscribed, …")] = "manual",
    scope: Annotated[str, typer.Option(help="Channel, where no column says it; `*`: every one.")] = "*",
    source: Source = "import",
    encoding: Encoding = "utf-8-sig",
    bundle: Bundle = None,
    url: Url = HERE,
    key: Key = None,
    patience: Patience = 60.0,
    report: Report = "table",
) -> None:
    """Imports stops: who (a key, an address, its digest), scope, reason, when. What is there already stays as it was
    first said. Exit code as of `customers`."""
    from app.importing.command import Told

    said = {"source": source, "reason": reason, "scope": scope}
    told = Told(kind, encoding, tuple(map_ or ()), mapping, as_of, as_of_time, zone, said)
    _run("suppressions", files, told, dry_run, resume, bundle, url, key, patience, report)


def _run(
    what: str,
    files: list[Path],
    told: Told,
    dry_run: bool,
    resume: bool,
    bundle: Path | None,
    url: str,
    key: str | None,
    patience_s: float,
    report: str,
) -> None:
    from app.importing.command import Where, import_files
    from app.importing.trouble import Trouble

    if report not in ("table", "json"):
        fail("--report is `table` or `json`", TROUBLE_BESIDE_AN_ANSWER)
    where = None if dry_run else Where(url, key, patience_s, resume)
    try:
        all_taken = import_files(what, files, told, bundle, where, as_json=report == "json")
    except Trouble as error:
        fail(str(error), TROUBLE_BESIDE_AN_ANSWER)
    except KeyboardInterrupt:
        fail("stopped; the same command goes on from here", TROUBLE_BESIDE_AN_ANSWER)
    raise typer.Exit(0 if all_taken else 1)
