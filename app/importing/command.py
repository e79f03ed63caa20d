"""What `nextbest import` does between the command line and the work: what the operator said, checked; files in turn."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from app.importing import cells, report
from app.importing.columns import What
from app.importing.lines import Said
from app.importing.run import Job, Outcome, run
from app.importing.sending import Sender
from app.importing.trouble import Trouble, Unfit
from app.settings import DEMO_BUNDLE
from policy.bundle import Bundle
from policy.compile import load
from policy.reports import BundleError

KINDS = ("auto", "ndjson", "csv", "parquet")


class Told(NamedTuple):
    """What the operator said of the files, as it was typed. `said` are members of `Said`."""

    kind: str
    encoding: str
    maps: tuple[str, ...]  # column=field
    mapping: Path | None
    as_of: str | None
    as_of_time: str | None
    zone: str | None
    said: Mapping[str, Any]


class Where(NamedTuple):
    """Where the lines go."""

    url: str
    key: str | None
    patience_s: float
    resume: bool


def import_files(
    what: str, files: Sequence[Path], told: Told, folder: Path | None, where: Where | None, *, as_json: bool
) -> bool:
    """Imports files one after the other, or, without `where`, only checks them; prints the report.

    Returns whether all rows were taken. Raises Trouble."""
    said = _said(told)
    columns = _columns(told)
    bundle = _bundle(folder or DEMO_BUNDLE)
    if told.kind not in KINDS:
        raise Trouble(f"--format is one of {', '.join(KINDS)}")
    outcomes: list[Outcome] = []
    sender = None if where is None else Sender(where.url, where.key, What(what), where.patience_s)
    try:
        if sender is not None:
            _check_bundle(sender, bundle)
        for path in files:
            resume = where is not None and where.resume
            job = Job(What(what), path, bundle, said, columns, told.kind, told.encoding, resume)
            with report.Bar(path.name) as bar:
                outcomes.append(run(job, sender, bar.tell))
    finally:
        if sender is not None:
            sender.close()
        if outcomes:
            _show(outcomes, as_json)
    return not any(outcome.done.rejected for outcome in outcomes)


def _show(outcomes: Sequence[Outcome], as_json: bool) -> None:
    if as_json:
        sys.stdout.write(report.as_text_json(outcomes) + "\n")
    else:
        report.as_table(outcomes)


def _check_bundle(sender: Sender, bundle: Bundle) -> None:
    served = sender.bundle()
    if served is not None and served != bundle.digest:
        raise Trouble(
            f"the server serves another bundle than `{bundle.name}`: name the folder of the one that it serves with "
            "--bundle, so that columns are checked by it"
        )


def _bundle(folder: Path) -> Bundle:
    try:
        return load(folder)
    except BundleError as error:
        raise Trouble(str(error)) from error


def _said(told: Told) -> Said:
    zone = None
    if told.zone is not None:
        try:
            zone = ZoneInfo(told.zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise Trouble("--zone is a time zone such as `UTC` or `Europe/Berlin`") from None
    as_of = None
    if told.as_of_time is not None:
        try:
            as_of = cells.instant(told.as_of_time, zone)
        except Unfit as unfit:
            raise Trouble(f"--as-of-time: {unfit.detail}") from unfit
    return Said(**told.said, as_of=as_of, zone=zone)


def _columns(told: Told) -> dict[str, str]:
    """column → field, of a mapping file and of the command line, which wins."""
    import yaml

    columns: dict[str, str] = {}
    if told.mapping is not None:
        try:
            found = yaml.safe_load(told.mapping.read_text(encoding="utf-8")) or {}
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise Trouble(f"`{told.mapping}` cannot be read: {error}") from error
        if not isinstance(found, dict):
            raise Trouble(f"`{told.mapping}` is a YAML mapping of columns to fields: `Kunden-Nr: customer`")
        columns |= {str(name): "ignore" if field is None else str(field) for name, field in found.items()}
    for pair in told.maps:
        name, equals, field = pair.rpartition("=")
        if not equals or not name:
            raise Trouble(f"--map is written `column=field`, and `{pair}` is not")
        columns[name] = field
    if told.as_of is not None:
        columns[told.as_of] = "as_of"
    return columns
