"""The metrics of all workers as text: Prometheus exposition format 0.0.4.

https://prometheus.io/docs/instrumenting/exposition_formats/ — counters and histograms are summed over all workers, dead
ones included; gauges are one series a living worker, labelled `worker`. Times are kept in nanoseconds, those that
last hours in milliseconds, and shown in seconds. A histogram's count is read from its buckets, so the two always agree.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate

from app.telemetry.cells import Snapshot
from app.telemetry.series import FAMILIES, OTHER, PREFIX, Family, Labels

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

#: One family's series: label names and values as shown, and the cells.
_Series = dict[tuple[Labels, Labels], list[int]]


def render(snapshots: Iterable[Snapshot], build: Mapping[str, str]) -> bytes:
    """The whole answer of `/metrics`. `build` are the labels of `nextbest_build_info`."""
    lines: list[str] = []
    for family, found in merge(snapshots).items():
        lines += header(family.name, family.kind, family.help)
        for (names, values), numbers in found.items():
            lines += _samples(family, names, values, numbers)
    lines += header("build_info", "gauge", "What is running; always 1.")
    lines.append(sample("build_info", tuple(build), tuple(build.values()), "1"))
    return ("\n".join(lines) + "\n").encode()


def merge(snapshots: Iterable[Snapshot]) -> dict[Family, _Series]:
    """All workers' series, added up, families in the declared order."""
    merged: dict[Family, _Series] = {family: {} for family in FAMILIES}
    for snapshot in snapshots:
        for family, labels, numbers in snapshot.series():
            if family.kind == "gauge":
                if snapshot.live:
                    key = (*family.labels, "worker"), (*labels, str(snapshot.worker))
                    merged[family][key] = list(numbers)
            elif not _is_idle_overflow(family, labels, numbers):
                _add(merged[family], (family.labels, labels), numbers)
    return merged


def _add(found: _Series, key: tuple[Labels, Labels], numbers: Sequence[int]) -> None:
    known = found.get(key)
    found[key] = list(numbers) if known is None else [a + b for a, b in zip(known, numbers, strict=True)]


def _is_idle_overflow(family: Family, labels: Labels, numbers: Sequence[int]) -> bool:
    """`other` is shown only once something went there."""
    return family.at_most > 0 and labels == (OTHER,) * len(labels) and not numbers[0]


def _samples(family: Family, names: Labels, values: Labels, numbers: list[int]) -> Iterator[str]:
    if family.kind != "histogram":
        yield sample(family.name, names, values, str(numbers[0]))
        return
    *buckets, total = numbers
    bounds = [*(_seconds(family, bound) for bound in family.bounds), "+Inf"]
    so_far = list(accumulate(buckets))
    for bound, cumulated in zip(bounds, so_far, strict=True):
        yield sample(f"{family.name}_bucket", (*names, "le"), (*values, bound), str(cumulated))
    yield sample(f"{family.name}_sum", names, values, _seconds(family, total))
    yield sample(f"{family.name}_count", names, values, str(so_far[-1]))


def header(name: str, kind: str, text: str) -> list[str]:
    """What stands before the series of a family."""
    return [f"# HELP {PREFIX}{name} {_escape_help(text)}", f"# TYPE {PREFIX}{name} {kind}"]


def sample(name: str, names: Labels, values: Labels, number: str) -> str:
    """One line of a series; values may hold anything."""
    labels = ",".join(f'{label}="{_escape(value)}"' for label, value in zip(names, values, strict=True))
    return f"{PREFIX}{name}{{{labels}}} {number}" if labels else f"{PREFIX}{name} {number}"


def _seconds(family: Family, counted: int) -> str:
    return repr(counted / family.a_second)


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _escape_help(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")
