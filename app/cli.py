"""The command line. Each command imports what it needs when it runs, so that `nextbest serve` is fast to start.

A place is kept for `bench`; it will be one function here and one module.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import typer

from app.importing.cli import commands as importing

T = TypeVar("T")

app = typer.Typer(name="nextbest", help="The next best message for a customer.", no_args_is_help=True)
keys = typer.Typer(help="The keys that callers send as `Authorization: Bearer <key>`.", no_args_is_help=True)
demo = typer.Typer(help="Something to look at: the demo's customers, a shop that is open.", no_args_is_help=True)
audit = typer.Typer(help="What reviewers ask about a bundle.", no_args_is_help=True)
app.add_typer(keys, name="keys")
app.add_typer(demo, name="demo")
app.add_typer(audit, name="audit")
app.add_typer(importing, name="import")
customers = typer.Typer(help="What operators do to customers.", no_args_is_help=True)
app.add_typer(customers, name="customers")
deadletters = typer.Typer(help="Events that could not be taken, and why.", no_args_is_help=True)
app.add_typer(deadletters, name="deadletters")
features = typer.Typer(help="Features folded from events: training rows, and filling new ones.", no_args_is_help=True)
app.add_typer(features, name="features")

KeysFile = Annotated[Path, typer.Option("--file", envvar="NEXTBEST_KEYS_FILE", help="The keys file.")]
FromLog = Annotated[bool, typer.Option("--from-log", help="Read the decision log of the store instead of a file.")]
StoreUrl = Annotated[
    str | None,
    typer.Option("--url-of-store", help="Address of the store; else NEXTBEST_REDIS_URL, or the data folder's own."),
]
Since = Annotated[str | None, typer.Option(help="Only what was decided within this time, such as 24h or 7d.")]
Last = Annotated[int | None, typer.Option(min=1, help="Only the last so many requests.")]
Processes = Annotated[int, typer.Option(min=1, max=64, help="Processes that decide.")]


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
    event_worker: Annotated[
        bool | None,
        typer.Option(envvar="NEXTBEST_EVENT_WORKER", help="Whether a process that works events off is started too."),
    ] = None,
    with_demo: Annotated[bool, typer.Option("--demo", help="Load the demo's customers, print what to paste.")] = False,
) -> None:
    """Starts the server, with an embedded store unless NEXTBEST_REDIS_URL names one. Ctrl-C stops both."""
    from app.serve import CannotServe
    from app.serve import serve as run

    given = {
        "bundle": bundle,
        "host": host,
        "port": port,
        "workers": workers,
        "data": data,
        "event_worker": event_worker,
    }
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
        print(as_text_json(report))
    else:
        as_table(report)
    raise typer.Exit(1 if report.mistakes else 0)


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
        _fail(f"the bundle has mistakes, `nextbest lint {folder}` shows them all: {report.mistakes[0]}")
    found = audited(documents, now_ms)
    if picture:
        from app.audit_picture import picture as drawn

        picture.write_text(drawn(found), encoding="utf-8")
    if as_json:
        print(audit_report.as_text_json(found))
    else:
        audit_report.as_table(found)


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
def records(
    file: Annotated[Path, typer.Argument(help="File to write.")],
    url_of_store: StoreUrl = None,
    since: Since = None,
    last: Last = None,
) -> None:
    """Copies the decision log into one file that explains itself, for `replay` and `simulate`. It holds what decisions
    knew of customers."""
    from app import record_commands

    source = record_commands.Source(file, True, url_of_store, since, last)
    copied = _or_trouble(lambda: record_commands.copy(_settings({}), source, file))
    typer.echo(f"{copied.records} records in {file}, {copied.aborted} requests marked as never answered")
    if copied.bundles_missing:
        typer.echo(f"{copied.bundles_missing} bundles of these records are no longer in the store", err=True)


@app.command()
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
    from app.replay_records import Replay, replay_all

    def run() -> Replay:
        settings = _settings({})
        searched = record_commands.registries(settings, settings.bundle) if rescore else None
        with record_commands.records(
            settings, record_commands.Source(file, from_log, url_of_store, since, last)
        ) as each:
            path, found = each
            parts = replay_all(path, found, processes, searched)
            return record_commands.added(parts, Replay(), found.records, "replayed")

    found = _or_trouble(run)
    replay_report.as_table(found)
    raise typer.Exit(0 if found.proved else 1)


@app.command()
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
    from app.core.decision.simulation import Tally
    from app.simulate import simulate_all
    from policy.compile import from_canonical

    def run() -> dict[str, Any]:
        settings = _settings({})
        new = record_commands.bundle_in(bundle)
        source = record_commands.Source(records, from_log, url_of_store, since, limit)
        with record_commands.records(settings, source) as (path, found):
            parts = simulate_all(path, found, new, record_commands.registries(settings, bundle), processes)
            tally = record_commands.added(parts, Tally(), found.records, "simulated")
        return simulate_report.document(tally, new, [from_canonical(each) for each in found.bundles.values()])

    found = _or_trouble(run)
    if as_json:
        print(simulate_report.as_text_json(found))
    else:
        simulate_report.as_table(found)


@app.command()
def why(
    customer: Annotated[str, typer.Argument(help="The customer's key.")],
    placement: Annotated[str | None, typer.Argument(help="The slot that would ask.")] = None,
    message: Annotated[str | None, typer.Option(help="This message's whole way through the checks.")] = None,
    url: Annotated[str, typer.Option(envvar="NEXTBEST_URL", help="Address of the server.")] = "http://127.0.0.1:8000",
    key: Annotated[
        str | None, typer.Option(envvar="NEXTBEST_KEY", help="A key that may `decide` and `read`.", show_envvar=True)
    ] = None,
    identity: Annotated[bool, typer.Option("--identity", help="Who the customer is instead, edge by edge.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --identity: print JSON.")] = False,
) -> None:
    """Why a customer would get a message now, or none, in plain words. Asks a running server and changes nothing. Exit
    code 0: they would get one (with --message: this one), 1: they would not, 2: nobody can tell."""
    from app import why_identity, why_report, why_words
    from app.why import CannotTell, Server, ask

    if identity:
        try:
            why_identity.answer(Server(url, key), customer, as_json=as_json)
        except CannotTell as error:
            _fail(str(error), 2)
        return
    if placement is None:
        _fail("name the placement that would ask, or `--identity`", 2)
    try:
        told = ask(Server(url, key), customer, placement, message)
    except CannotTell as error:
        _fail(str(error), 2)
    why_report.show(told, message)
    raise typer.Exit(0 if why_words.would_get(told, message) else 1)


@app.command()
def version() -> None:
    """Prints the version."""
    from importlib.metadata import version as version_of

    typer.echo(version_of("nextbest"))


@keys.command("add")
def keys_add(
    file: KeysFile,
    scope: Annotated[list[str], typer.Option(help="decide, collect, read, approve:<role> or admin; may be repeated.")],
    rate: Annotated[
        str | None, typer.Option(help="How often it may ask a server: 100/s, 6000/min, 50000/h. Absent: no limit.")
    ] = None,
) -> None:
    """Makes a key and prints it, once: only its hash is kept."""
    from app import keys_file

    stored, key = _or_fail(lambda: keys_file.add(file, scope, rate=rate))
    limit = "" if rate is None else f", at most {rate}"
    typer.echo(f"{stored.id} may {', '.join(stored.scopes)}{limit}. The key, shown this once:", err=True)
    typer.echo(key)


@keys.command("list")
def keys_list(file: KeysFile) -> None:
    """Lists the keys: id, when it was made, scopes, rate."""
    from app import keys_file

    for key in _or_fail(lambda: keys_file.read(file)):
        typer.echo(f"{key.id}  {key.created}  {' '.join(key.scopes)}{'' if key.rate is None else f'  {key.rate}'}")


@keys.command("revoke")
def keys_revoke(file: KeysFile, key_id: Annotated[str, typer.Argument(metavar="ID")]) -> None:
    """Removes a key. Running servers refuse it within a second."""
    from app import keys_file

    if not _or_fail(lambda: keys_file.revoke(file, key_id)):
        _fail(f"the keys file has no key `{key_id}`: `nextbest keys list` shows all")


@customers.command("merge")
def customers_merge(
    loser: Annotated[str, typer.Argument(help="The key that becomes the other one.")],
    winner: Annotated[str, typer.Argument(help="The key that all of it is under from then on.")],
    why: Annotated[str, typer.Option(help="The reason, for the history.")] = "",
    bundle: Annotated[
        Path | None, typer.Option(envvar="NEXTBEST_BUNDLE", help="Folder of the bundle that is served.")
    ] = None,
    url_of_store: StoreUrl = None,
) -> None:
    """Makes two customers, who are one person, one. It cannot be undone. Contacts, refusals and stops of both hold; of
    everything else the winner's, and what it lacks. If it breaks off, the servers finish it, or the same command."""
    from app.merge_command import CannotMerge, merge

    settings = _settings({} if bundle is None else {"bundle": bundle})
    try:
        typer.echo(f"{loser} is {merge(settings, url_of_store, loser, winner, why)} now")
    except CannotMerge as error:
        _fail(str(error))


@customers.command("erase")
def customers_erase(
    customer: Annotated[str, typer.Argument(help="The customer's key.")],
    bundle: Annotated[
        Path | None, typer.Option(envvar="NEXTBEST_BUNDLE", help="Folder of the bundle that is served.")
    ] = None,
    url_of_store: StoreUrl = None,
) -> None:
    """Erases a customer everywhere: profile, features, contacts, decisions, events, archive, the store's own file. It
    cannot be undone; only a consent that is given after it ends it. Prints the receipt. Exit code 1 where a step waits
    for somebody else."""
    import json

    from app.erase_command import CannotErase, erase
    from app.http.erasure import receipt

    settings = _settings({} if bundle is None else {"bundle": bundle})
    try:
        job = erase(settings, url_of_store, customer)
    except CannotErase as error:
        _fail(str(error))
    print(json.dumps(receipt(job), indent=2))
    raise typer.Exit(0 if job.done_ms is not None else 1)


@customers.command("export")
def customers_export(
    customer: Annotated[str, typer.Argument(help="The customer's key.")],
    out: Annotated[Path, typer.Option(help="File to write (JSON).")],
    bundle: Annotated[
        Path | None, typer.Option(envvar="NEXTBEST_BUNDLE", help="Folder of the bundle that is served.")
    ] = None,
    url_of_store: StoreUrl = None,
) -> None:
    """Writes everything that is held of a customer into a file, by name and unmasked, the archive included."""
    from app.export_command import CannotExport, export

    settings = _settings({} if bundle is None else {"bundle": bundle})
    try:
        export(settings, url_of_store, customer, out)
    except CannotExport as error:
        _fail(str(error))
    typer.echo(f"everything held of this customer is in {out}")


@customers.command("receipt")
def customers_receipt(
    erasure: Annotated[str, typer.Argument(metavar="ERASURE", help="The id of an erasure.")],
    of: Annotated[
        str | None, typer.Option(help="Say whether it is that of this customer. Exit code 1: it is not.")
    ] = None,
    url_of_store: StoreUrl = None,
) -> None:
    """Prints the receipt of an erasure, which names nobody; with --of, whether it is a certain customer's."""
    import json

    from app.erase_command import CannotErase, receipt_of
    from app.http.erasure import receipt

    try:
        job, is_theirs = receipt_of(_settings({}), url_of_store, erasure, of)
    except CannotErase as error:
        _fail(str(error))
    print(json.dumps(receipt(job), indent=2))
    if not is_theirs:
        _fail("this is not the receipt of that customer")


@deadletters.command("list")
def deadletters_list(
    reason: Annotated[str | None, typer.Option(help="Only those of this reason, such as wrong_type.")] = None,
    event: Annotated[str | None, typer.Option(help="Only those of this event.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, every letter in full.")] = False,
    url_of_store: StoreUrl = None,
) -> None:
    """Lists events that could not be taken, the newest first, masked: when, why, which event."""
    import json

    from app.dead_letters import Wanted, as_lines, listed

    found = _or_no_letters(lambda: listed(_settings({}), url_of_store, Wanted((), reason, event)))
    if as_json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        for line in as_lines(found):
            print(line)


@deadletters.command("show")
def deadletters_show(
    letter: Annotated[str, typer.Argument(metavar="ID", help="As `list` shows it.")], url_of_store: StoreUrl = None
) -> None:
    """Shows one of them in full, masked."""
    import json

    from app.dead_letters import Wanted, listed

    for each in _or_no_letters(lambda: listed(_settings({}), url_of_store, Wanted((letter,)))):
        print(json.dumps(each, indent=2, ensure_ascii=False))


@deadletters.command("redrive")
def deadletters_redrive(
    letters: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Which; else all.")] = None,
    reason: Annotated[str | None, typer.Option(help="Only those of this reason.")] = None,
    event: Annotated[str | None, typer.Option(help="Only those of this event.")] = None,
    bundle: Annotated[
        Path | None, typer.Option(envvar="NEXTBEST_BUNDLE", help="Folder of the bundle that is served.")
    ] = None,
    url_of_store: StoreUrl = None,
) -> None:
    """Judges them again, under the bundle as it is now, and collects those that fit. Doing it twice counts once."""
    from app.dead_letters import Wanted, redriven

    settings = _settings({} if bundle is None else {"bundle": bundle})
    done = _or_no_letters(lambda: redriven(settings, url_of_store, Wanted(tuple(letters or ()), reason, event)))
    typer.echo(f"{done.taken} taken")
    for code, number in done.left.most_common():
        typer.echo(f"{number} left: {code}")


@app.command()
def worker(
    bundle: Annotated[
        Path | None, typer.Option(envvar="NEXTBEST_BUNDLE", help="Folder of the bundle that declares the features.")
    ] = None,
    url_of_store: StoreUrl = None,
) -> None:
    """Works events off their streams: folds them into features, drops repeats, links identities. `serve` starts one by
    itself; several may run, and share the work."""
    from app import worker as working
    from app.telemetry import log

    settings = _settings({} if bundle is None else {"bundle": bundle})
    log.configure()
    try:
        working.run(settings, url_of_store)
    except working.CannotWork as error:
        _fail(str(error))


@app.command()
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

    settings = _settings({} if bundle is None else {"bundle": bundle})
    try:
        if forget:
            archiving.forget(settings, url_of_store)
            typer.echo("streams are trimmed without an archive from now on")
        else:
            if not once:
                log.configure()
            rows = archiving.run(settings, url_of_store, once=once)
            if once:
                typer.echo(f"{rows} rows archived")
    except archiving.CannotArchive as error:
        _fail(str(error))


@features.command("vectors")
def features_vectors(
    out: Annotated[Path, typer.Option(help="File to write: .parquet, .csv or .ndjson.")],
    at: Annotated[str | None, typer.Option(help="The instant, such as 2026-12-01T00:00:00Z.")] = None,
    customers: Annotated[
        Path | None, typer.Option(help="File of customers, one a line, or `customer,instant`; all when absent.")
    ] = None,
    bundle: Annotated[
        Path | None, typer.Option(envvar="NEXTBEST_BUNDLE", help="Folder of the bundle that declares the features.")
    ] = None,
    url_of_store: StoreUrl = None,
) -> None:
    """Writes the features of customers as they were at a past instant, or at one each: training rows, by the fold that
    decisions use. What the columns mean is in the file's metadata, and in <file>.json."""
    from app.vectors_command import whole_in_words, write_vectors

    settings = _settings({} if bundle is None else {"bundle": bundle})
    done = _or_trouble_with_features(lambda: write_vectors(settings, url_of_store, at, customers, out))
    typer.echo(f"{done.rows} rows in {out}")
    if done.whole_from_ms != 0:
        typer.echo(whole_in_words(done.whole_from_ms), err=True)


@features.command("backfill")
def features_backfill(
    bundle: Annotated[
        Path | None, typer.Option(envvar="NEXTBEST_BUNDLE", help="Folder of the bundle that declares the features.")
    ] = None,
    partly: Annotated[
        bool, typer.Option("--partly", help="Fill what there is, where not all events are archived.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Only list the features that lack history; exit code 1 if any.")
    ] = False,
    url_of_store: StoreUrl = None,
) -> None:
    """Fills features that are new in a bundle from what passed before the workers began to fold them. Workers must run
    with the bundle already. It may be broken off and run again."""
    from app.backfill_command import backfill, lacking_features

    settings = _settings({} if bundle is None else {"bundle": bundle})
    if check:
        lacking = _or_trouble_with_features(lambda: lacking_features(settings, url_of_store))
        for name in lacking:
            typer.echo(name)
        raise typer.Exit(1 if lacking else 0)
    done = _or_trouble_with_features(lambda: backfill(settings, url_of_store, partly=partly))
    if not done.features:
        typer.echo("no feature lacks history")
        return
    typer.echo(f"filled for {done.customers} customers: {', '.join(done.features)}")


@app.command()
def deliverability(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, as GET /v1/deliverability answers.")] = False,
    url_of_store: StoreUrl = None,
) -> None:
    """Shows bounces, complaints and unsubscribes of every message, and which the watch switched off. Exit code 1:
    something alerts or is switched off, 2: nobody can tell, or nobody looks."""
    import json

    from app import deliverability_command as command

    try:
        found = command.looked_up(_settings({}), url_of_store)
    except command.CannotTell as error:
        _fail(str(error), 2)
    if as_json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        command.as_table(found)
    raise typer.Exit(command.exit_code(found))


@app.command()
def webhooks(
    provider: Annotated[str | None, typer.Option(help="Only those of this provider.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, every item in full.")] = False,
    url_of_store: StoreUrl = None,
) -> None:
    """Shows what webhooks said that was not understood or not taken, masked, the newest first; a thousand are kept."""
    import json

    from app import webhook_command as command

    try:
        found = command.puzzles(_settings({}), url_of_store, provider)
    except command.CannotTell as error:
        _fail(str(error))
    if as_json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        for line in command.as_lines(found):
            print(line)


@app.command()
def doctor(
    bundle: Annotated[
        Path | None, typer.Option(envvar="NEXTBEST_BUNDLE", help="Folder of the bundle that is served.")
    ] = None,
    sample: Annotated[int, typer.Option(min=0, help="Look at so many customers; 0: at all.")] = 50_000,
    rate: Annotated[int, typer.Option(min=1, help="Customers a second: the store has others to serve.")] = 10_000,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    url_of_store: StoreUrl = None,
) -> None:
    """Looks for what is wrong with the data: duplicates, stale attributes, missing times, names that are nearly alike,
    what nobody reads, events that do not come. Only reads. Exit code 1: something is severe, 2: nobody can tell."""
    from app.archive_commands import bar
    from app.doctor import report
    from app.doctor.command import CannotTell, diagnose

    settings = _settings({} if bundle is None else {"bundle": bundle})
    try:
        with bar("customers") as progress:
            task = progress.add_task("", total=sample or None)
            tell = lambda seen: progress.update(task, completed=seen)  # noqa: E731
            found = diagnose(settings, url_of_store, sample or None, rate, tell)
    except CannotTell as error:
        _fail(str(error), 2)
    if as_json:
        print(report.as_text_json(found))
    else:
        report.as_table(found)
    raise typer.Exit(1 if found.is_severe else 0)


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


@demo.command("shop")
def demo_shop(
    speed: Annotated[
        float, typer.Option(min=0.1, max=3_600, help="How fast the crowd lives: 60 is a minute a second.")
    ] = 60.0,
    customers: Annotated[int, typer.Option(min=0, max=50_000, help="Customers beside the watched ones.")] = 400,
    data: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="A file of Online Retail (CSV) instead.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(file_okay=False, help="Folder to keep the store in; else it is thrown away.")
    ] = None,
    port: Annotated[int | None, typer.Option(help="Port of the server that is started; else a free one.")] = None,
    url: Annotated[str | None, typer.Option(help="A server that runs already, with the shop's bundle.")] = None,
    key: Annotated[
        str | None, typer.Option(envvar="NEXTBEST_KEY", help="A key that may `collect`, `decide` and `read`.")
    ] = None,
    url_of_store: Annotated[
        str | None, typer.Option("--url-of-store", help="With --url: its store, to show the values of features.")
    ] = None,
    seconds: Annotated[float | None, typer.Option(min=1, help="End by itself after so long.")] = None,
    plain: Annotated[bool, typer.Option("--plain", help="Print lines instead of a screen.")] = False,
) -> None:
    """Opens a shop and shows what its customers would get, and why that changes while they look, buy and leave."""
    from app.demo_shop.command import Wanted, play
    from app.demo_shop.house import CannotPlay

    try:
        play(Wanted(speed, customers, data, folder, url, key, url_of_store, seconds, plain, port))
    except CannotPlay as error:
        _fail(str(error))
    except KeyboardInterrupt:
        pass  # Ctrl-C is the ordinary way to end it


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


def _or_no_letters(act: Callable[[], T]) -> T:
    from app.dead_letters import CannotTell

    try:
        return act()
    except CannotTell as error:
        _fail(str(error))


def _or_trouble_with_features(act: Callable[[], T]) -> T:
    from app.archive_commands import Trouble

    try:
        return act()
    except Trouble as error:
        _fail(str(error), 2)


def _or_trouble(act: Callable[[], T]) -> T:
    """For commands whose exit code 1 is an answer: trouble is 2."""
    from app.record_commands import Trouble

    try:
        return act()
    except Trouble as error:
        _fail(str(error), 2)


def _fail(message: str, code: int = 1) -> NoReturn:
    typer.echo(f"nextbest: {message}", err=True)
    sys.exit(code)
