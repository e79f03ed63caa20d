"""Recorded decisions: `nextbest records`, `replay`, `simulate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.commands.ending import TROUBLE_BESIDE_AN_ANSWER, failing_on
from app.commands.options import StoreUrl, settings_of

FromLog = Annotated[bool, typer.Option("--from-log", help="Read the decision log of the store instead of a file.")]
Since = Annotated[str | None, typer.Option(help="Only what was decided within this time, such as 24h or 7d.")]
Last = Annotated[int | None, typer.Option(min=1, help="Only the last so many requests.")]
Processes = Annotated[int, typer.Option(min=1, max=64, help="Processes that decide.")]


def records(
    file: Annotated[Path, typer.Argument(help="File to write.")],
    url_of_store: StoreUrl = None,
    since: Since = None,
    last: Last = None,
) -> None:
    """Copies the decision log into one file that explains itself, for `replay` and `simulate`. It holds what decisions
    knew of customers."""
    from app import record_commands
    from app.command_context import Trouble

    source = record_commands.Source(file, True, url_of_store, since, last)
    with failing_on(Trouble, TROUBLE_BESIDE_AN_ANSWER):
        copied = record_commands.copy(settings_of(), source, file)
    typer.echo(f"{copied.records} records in {file}, {copied.aborted} requests marked as never answered")
    if copied.bundles_missing:
        typer.echo(f"{copied.bundles_missing} bundles of these records are no longer in the store", err=True)
    for each in copied.damaged:
        typer.echo(each, err=True)


def replay(
    file: Annotated[Path | None, typer.Argument(help="A file that `nextbest records` made.")] = None,
    from_log: FromLog = False,
    rescore: Annotated[
        bool, typer.Option("--rescore", help="Run the models again instead of the scores then.")
    ] = False,
    url_of_store: StoreUrl = None,
    since: Since = None,
    last: Last = None,
    processes: Processes = 2,
) -> None:
    """Decides every record again, under its own bundle, and compares the answers byte by byte. Exit code 0: all are the
    same, 1: some differ, 2: it could not be done."""
    from app import record_commands, replay_report
    from app.command_context import Trouble
    from app.replay_records import Replay, replay_all

    settings = settings_of()
    source = record_commands.Source(file, from_log, url_of_store, since, last)
    with failing_on(Trouble, TROUBLE_BESIDE_AN_ANSWER):
        searched = record_commands.registries(settings, settings.bundle) if rescore else None
        with record_commands.records(settings, source) as (path, found):
            parts = replay_all(path, found, processes, searched)
            replayed = record_commands.added(parts, Replay(), found.records, "replayed")
    replay_report.as_table(replayed)
    raise typer.Exit(0 if replayed.proved else 1)


def simulate(
    bundle: Annotated[Path, typer.Option(help="Folder of the bundle to try.")],
    records: Annotated[Path | None, typer.Option(help="A file that `nextbest records` made.")] = None,
    from_log: FromLog = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, every rule and every part.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the last so many requests.")] = None,
    url_of_store: StoreUrl = None,
    since: Since = None,
    processes: Processes = 2,
) -> None:
    """Decides recorded requests under another bundle and shows the difference: who would be contacted now and who no
    longer, who would get another message, and which rule made it so."""
    from app import record_commands, simulate_report
    from app.command_context import Trouble, bundle_in
    from app.core.decision.simulation import Tally
    from app.simulate import simulate_all
    from policy.compile import from_canonical

    settings = settings_of()
    source = record_commands.Source(records, from_log, url_of_store, since, limit)
    with failing_on(Trouble, TROUBLE_BESIDE_AN_ANSWER):
        new = bundle_in(bundle)
        with record_commands.records(settings, source) as (path, found):
            parts = simulate_all(path, found, new, record_commands.registries(settings, bundle), processes)
            tally = record_commands.added(parts, Tally(), found.records, "simulated")
        difference = simulate_report.document(tally, new, [from_canonical(each) for each in found.bundles.values()])
    if as_json:
        typer.echo(simulate_report.as_text_json(difference))
    else:
        simulate_report.as_table(difference)
