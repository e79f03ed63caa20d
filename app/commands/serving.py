"""The processes of a deployment: `nextbest serve`, `worker`, `archive`."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from app.commands.ending import failing_on
from app.commands.options import FoldingBundle, StoreUrl, settings_of


def serve(
    bundle: Annotated[
        Path | None, typer.Option(envvar="NEXTBEST_BUNDLE", help="Folder of the bundle to serve.")
    ] = None,
    host: Annotated[str | None, typer.Option(envvar="NEXTBEST_HOST", help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(envvar="NEXTBEST_PORT", help="Port to listen on.")] = None,
    workers: Annotated[int | None, typer.Option(envvar="NEXTBEST_WORKERS", help="Server processes.")] = None,
    data: Annotated[Path | None, typer.Option(envvar="NEXTBEST_DATA", help="Folder of the embedded store.")] = None,
    event_worker: Annotated[
        bool | None,
        typer.Option(envvar="NEXTBEST_EVENT_WORKER", help="Whether a process that works events off is started too."),
    ] = None,
    with_demo: Annotated[bool, typer.Option("--demo", help="Load the demo's customers, print what to paste.")] = False,
) -> None:
    """Starts the server, with an embedded store unless NEXTBEST_REDIS_URL names one. Ctrl-C stops both."""
    from app.serve import CannotServe
    from app.serve import serve as run

    settings = settings_of(bundle=bundle, host=host, port=port, workers=workers, data=data, event_worker=event_worker)
    with failing_on(CannotServe), suppress(KeyboardInterrupt):  # Ctrl-C is the ordinary way to stop it
        run(settings, demo=with_demo)


def worker(
    bundle: FoldingBundle = None,
    url_of_store: StoreUrl = None,
) -> None:
    """Works events off their streams: folds them into features, drops repeats, links identities. `serve` starts one by
    itself; several may run, and share the work."""
    from app import worker as working
    from app.telemetry import log

    settings = settings_of(bundle=bundle)
    log.configure()
    with failing_on(working.CannotWork):
        working.run(settings, url_of_store)


def archive(
    once: Annotated[bool, typer.Option("--once", help="Archive what is there now, and end.")] = False,
    forget: Annotated[
        bool, typer.Option("--forget", help="Archive no more: streams are trimmed without it from now on.")
    ] = False,
    bundle: Annotated[
        Path | None, typer.Option(envvar="NEXTBEST_BUNDLE", help="Folder of the bundle: how long events are kept.")
    ] = None,
    url_of_store: StoreUrl = None,
) -> None:
    """Archives everything that is collected as Parquet, in NEXTBEST_ARCHIVE, until it is stopped. `serve` does so by
    itself; several may run."""
    from app import archive as archiving
    from app.telemetry import log

    settings = settings_of(bundle=bundle)
    with failing_on(archiving.CannotArchive):
        if forget:
            archiving.forget(settings, url_of_store)
            typer.echo("streams are trimmed without an archive from now on")
        else:
            if not once:
                log.configure()
            rows = archiving.run(settings, url_of_store, once=once)
            if once:
                typer.echo(f"{rows} rows archived")
