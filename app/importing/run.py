"""One file: its rows to a server, or, dry, to nobody.

Every line is checked here as the server will check it, by the same code under the same bundle, so that what it would
refuse, above all an address in the place of a key, does not leave this process. While a batch is on its way the next
one is made; no more than two are held.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from app.errors import Problem
from app.http.customer_bodies import Checker
from app.http.suppressions import LineChecker
from app.importing import progress
from app.importing.columns import Column, What, mapped
from app.importing.lines import LineMaker, Said
from app.importing.rows import Row, Rows, open_rows
from app.importing.sending import Answer, Rejected, Sender, with_places
from app.importing.trouble import Unfit
from policy.bundle import Bundle

#: Rows of one request. A server that is busy answers them within a second.
BATCH_ROWS = 1_000
BATCH_BYTES = 512 * 1024
#: Hashes that nobody keeps: lines are only checked here.
NO_SECRET = b"lines are only checked"
EXAMPLES = 3


class Job(NamedTuple):
    """What shall be imported, and how."""

    what: What
    path: Path
    bundle: Bundle
    said: Said
    told: dict[str, str]  # column → field
    kind: str = "auto"
    encoding: str = "utf-8-sig"
    resume: bool = True


@dataclass(slots=True)
class Outcome:
    """What became of a file. `skipped`: rows that an earlier run had done; all the other numbers include them."""

    path: Path
    dry: bool
    columns: tuple[Column, ...]
    done: progress.Done
    skipped: int = 0
    seconds: float = 0.0
    waited_s: float = 0.0
    dropped: set[str] = field(default_factory=set)
    examples: dict[str, list[Rejected]] = field(default_factory=dict)

    def reject(self, rejected: tuple[Rejected, ...]) -> None:
        for each in rejected:
            shown = self.examples.setdefault(each.code, [])
            if len(shown) < EXAMPLES:
                shown.append(each)


class Batch(NamedTuple):
    """Rows that are done together: lines that are sent, and rows that are refused here."""

    rows: int
    numbers: list[int]
    lines: list[bytes]
    refused: tuple[Rejected, ...]


Tell = Callable[[Outcome, float], None]  # after every batch: what became of it so far, and the share that is read


def run(job: Job, sender: Sender | None, tell: Tell) -> Outcome:
    """Import one file; `sender` None: dry. Raises Trouble."""
    rows = open_rows(job.path, job.kind, job.encoding)
    try:
        names = rows.names if rows.fixed else tuple(dict.fromkeys((*rows.names, *job.told)))
        columns = mapped(names, job.what, job.bundle, job.told)
        outcome = Outcome(job.path, sender is None, columns, progress.Done(""))
        begun_s = time.monotonic()
        if sender is None:
            _try_out(job, rows, outcome, tell)
        else:
            _send(job, rows, outcome, sender, tell)
        outcome.seconds = time.monotonic() - begun_s
        return outcome
    finally:
        rows.close()


def _try_out(job: Job, rows: Rows, outcome: Outcome, tell: Tell) -> None:
    done = outcome.done
    for batch in _batches(job, outcome, rows.after(0)):
        done.rows += batch.rows
        done.accepted += len(batch.lines)
        done.rejected += len(batch.refused)
        done.codes.update(each.code for each in batch.refused)
        outcome.reject(batch.refused)
        tell(outcome, rows.share())
    done.finished = True


def _send(job: Job, rows: Rows, outcome: Outcome, sender: Sender, tell: Tell) -> None:
    wanted = progress.identity(job.path, job.what, outcome.columns, job.said, job.kind, sender.place)
    earlier = progress.found(job.path, wanted) if job.resume else None
    outcome.done = earlier or progress.Done(wanted)
    outcome.skipped = outcome.done.rows
    if outcome.done.finished:
        return
    notes = progress.Notes(job.path, outcome.done)
    pool = ThreadPoolExecutor(1)

    def settle(batch: Batch, sent: Future[Answer]) -> None:
        answer = sent.result()
        rejected = tuple(sorted((*batch.refused, *answer.rejected)))
        notes.batch(batch.rows, answer.accepted, rejected)
        outcome.reject(rejected)
        outcome.dropped.update(answer.dropped)
        outcome.waited_s = sender.waited_s
        tell(outcome, rows.share())

    try:
        under_way: tuple[Batch, Future[Answer]] | None = None
        for batch in _batches(job, outcome, rows.after(outcome.skipped)):
            if under_way is not None:
                settle(*under_way)
            under_way = batch, pool.submit(sender.send, batch.numbers, batch.lines)
        if under_way is not None:
            settle(*under_way)
        notes.finish()
    except BaseException:
        sender.stop()
        raise
    finally:
        pool.shutdown()
        notes.close()


def _batches(job: Job, outcome: Outcome, rows: Iterator[Row]) -> Iterator[Batch]:
    maker = LineMaker(job.what, outcome.columns, job.bundle, job.said)
    names = {column.name for column in outcome.columns}
    check: Callable[[bytes], Any] = (
        LineChecker(job.bundle).line if job.what is What.SUPPRESSIONS else Checker(job.bundle, NO_SECRET).line
    )
    numbers: list[int] = []
    lines: list[bytes] = []
    refused: list[Rejected] = []
    size = 0
    for row in rows:
        if row.cells is not None and not row.cells.keys() <= names:  # lines of JSON may bring others at any time
            names |= row.cells.keys()
            outcome.columns = mapped(_all_names(outcome.columns, row.cells), job.what, job.bundle, job.told)
            maker = LineMaker(job.what, outcome.columns, job.bundle, job.said)
        made = _checked(row, maker, check)
        if isinstance(made, Rejected):
            refused.append(made)
        else:
            numbers.append(row.number)
            lines.append(made)
            size += len(made)
        if len(lines) + len(refused) >= BATCH_ROWS or size >= BATCH_BYTES:
            yield Batch(len(lines) + len(refused), numbers, lines, tuple(refused))
            numbers, lines, refused, size = [], [], [], 0
    if lines or refused:
        yield Batch(len(lines) + len(refused), numbers, lines, tuple(refused))


def _all_names(columns: tuple[Column, ...], cells: Iterable[str]) -> tuple[str, ...]:
    """The columns that are known, then those that a row brings."""
    return tuple(dict.fromkeys((*(column.name for column in columns), *cells)))


def _checked(row: Row, maker: LineMaker, check: Callable[[bytes], Any]) -> bytes | Rejected:
    if row.cells is None:
        return Rejected(row.number, "malformed_row", "the row has not the columns of the others, or is no JSON object")
    try:
        line = maker.line(row.cells)
        check(line)
    except Unfit as unfit:
        return Rejected(row.number, unfit.code, unfit.detail)
    except Problem as problem:
        return Rejected(row.number, problem.code, with_places(problem.detail, problem.errors))
    return line
