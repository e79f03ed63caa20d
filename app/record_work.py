"""Deciding many records again, chunk by chunk, in several processes, with the same result whatever their number.

Each process compiles the bundles for itself and reads its chunks from the file: nothing but counts travels between
them. Within a chunk requests advance together, so that a model runs once for all that wait for it.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from app.core.decision.record import Record, bundle_digest_of, decode
from app.core.decision.replay import Wanted
from app.core.decision.score import Scoring
from app.records_file import Chunk, Contents, records_of
from policy.bundle import Bundle
from policy.compile import from_canonical

Result = TypeVar("Result")
Made_co = TypeVar("Made_co", covariant=True)
Answer = Callable[[Sequence[Wanted]], list[Scoring]]


class Worker(Protocol[Made_co]):
    """What a process does with a chunk of records."""

    def __call__(self, raws: Sequence[bytes]) -> Made_co: ...


class Bundles:
    """The bundles of a file, compiled when a record first needs them."""

    def __init__(self, canonical: dict[str, bytes]) -> None:
        self._canonical = canonical
        self._compiled: dict[str, Bundle] = {}

    def record(self, raw: bytes) -> Record | None:
        """None where the file does not hold the record's bundle. Raises whatever a broken record makes of it."""
        digest = bundle_digest_of(raw)
        if digest not in self._compiled:
            if digest not in self._canonical:
                return None
            self._compiled[digest] = from_canonical(self._canonical[digest])
        return decode(raw, self._compiled[digest])


def together(decidings: Sequence[Generator[Wanted, Scoring, Result]], answer: Answer) -> list[Result]:
    """Let all of them come to their end; whoever waits for scores waits until all do."""
    results: dict[int, Result] = {}
    sent: list[tuple[int, Scoring | None]] = [(at, None) for at in range(len(decidings))]
    while sent:
        waiting: list[tuple[int, Wanted]] = []
        for at, scoring in sent:
            try:
                wanted = next(decidings[at]) if scoring is None else decidings[at].send(scoring)
            except StopIteration as end:
                results[at] = end.value
            else:
                waiting.append((at, wanted))
        scorings = answer([wanted for _, wanted in waiting]) if waiting else []
        sent = [(at, scoring) for (at, _), scoring in zip(waiting, scorings, strict=True)]
    return [results[at] for at in range(len(decidings))]


def results(
    path: Path, found: Contents, make: Callable[..., Worker[Result]], arguments: tuple[object, ...], processes: int
) -> Iterator[tuple[int, Result]]:
    """The number of records and the result of every chunk, in the file's order. `make(*arguments)` makes a worker,
    once in each process."""
    if processes == 1 or len(found.chunks) < 2:
        work = make(*arguments)
        for chunk in found.chunks:
            yield chunk.records, work(list(records_of(path, chunk)))
        return
    context = multiprocessing.get_context("spawn")  # nothing of this process may be shared: it has threads
    processes = min(processes, len(found.chunks))
    with context.Pool(processes, _begin, (path, make, arguments)) as pool:
        yield from zip((chunk.records for chunk in found.chunks), pool.imap(_work_on, found.chunks), strict=True)


_work: tuple[Path, Worker[object]] | None = None  # of a process that does nothing else


def _begin(path: Path, make: Callable[..., Worker[object]], arguments: tuple[object, ...]) -> None:
    global _work  # noqa: PLW0603  # the pool gives an initialiser no other place
    _work = (path, make(*arguments))


def _work_on(chunk: Chunk) -> object:
    if _work is None:
        raise RuntimeError("the process was not begun")
    path, work = _work
    return work(list(records_of(path, chunk)))
