"""The command line: an index of its commands. What each takes, prints and ends with is in app/commands, or beside its
work in a package that has a `cli.py`; what does the work is imported when a command runs, so that `nextbest serve` is
fast to start. Commands are shown in the order they have here."""

from __future__ import annotations

import typer

from app.commands import bundles, customers, dead_letters, demo, features, keys, records, sent_mail, serving
from app.commands.why import why
from app.doctor.cli import doctor
from app.importing.cli import commands as importing

app = typer.Typer(name="nextbest", help="The next best message for a customer.", no_args_is_help=True)


def main() -> None:
    """The `nextbest` command."""
    app()


def version() -> None:
    """Prints the version."""
    from app.version import product_version

    typer.echo(product_version())


for command in (
    serving.serve,
    bundles.lint,
    bundles.schema,
    records.records,
    records.replay,
    records.simulate,
    why,
    version,
    serving.worker,
    serving.archive,
    sent_mail.deliverability,
    sent_mail.webhooks,
    doctor,
):
    app.command()(command)

for name, group in {
    "keys": keys.commands,
    "demo": demo.commands,
    "audit": bundles.audit,
    "import": importing,
    "customers": customers.commands,
    "deadletters": dead_letters.commands,
    "features": features.commands,
}.items():
    app.add_typer(group, name=name)
