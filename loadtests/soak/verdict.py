"""What a soak promises, and whether it kept it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from app.store.clients import CONNECTIONS_MAX
from loadtests.mix.chart import Axis, Series, chart
from loadtests.mix.findings import Findings
from loadtests.mix.page import figure
from loadtests.mix.slo import Found, Goal
from loadtests.soak.slope import STRETCHES, slope
from loadtests.soak.watch import STORE, Watch

#: A process that is warm may grow by this share over the run, and by no more. The interval has to be within it.
GROWTH = 0.05
#: A pool opens a connection, and so a file, whenever more come at once than ever before, and keeps it: a few an hour. A
#: leak of one in ten minutes is more.
SOME_CONNECTIONS = 5
#: Of one name: a pool at its bound, and a link beside it that bears the same name.
CONNECTIONS_A_NAME = CONNECTIONS_MAX + 1
P99_RATIO = 1.1
#: What is shorter shows caches that fill, not leaks; and its p99 is that of a few seconds.
LEAST_MINUTES = 10.0
#: A p99 that fewer than fifty requests lie beyond moves by more than a tenth by chance: it is told, not judged.
LEAST_REQUESTS = 5_000
WARM_SHARE = 1 / 6  # of the run, before memory is looked at


def growth_goals(watch: Watch, minutes: float) -> list[Goal]:
    """Memory of every process but the store's, which holds ever more records by design; open files; connections."""
    goals = [
        flatness(f"{role}: memory", "MiB", looks, minutes) for role, looks in watch.memory_mib.items() if role != STORE
    ]
    for what, looks in (("server: open files", watch.open_files), ("store: connections", watch.store_clients)):
        goals.append(flatness(what, "", looks, minutes, SOME_CONNECTIONS))
    return [*goals, bounded(watch.most_clients)]


def bounded(most: Mapping[str, int]) -> Goal:
    """Whether connections to the store stayed within what a pool may hold. `most`: at once, by name."""
    named = {name: number for name, number in most.items() if name}  # the others are who looks
    found = ", ".join(f"{name} {number}" for name, number in sorted(named.items())) or "nobody was connected"
    met = max(named.values()) <= CONNECTIONS_A_NAME if named else None
    return Goal(what="store: connections at once", wanted=f"≤ {CONNECTIONS_A_NAME} of a name", found=found, met=met)


def flatness(what: str, unit: str, looks: Sequence[tuple[float, float]], minutes: float, some: float = 0.0) -> Goal:
    """Of one series, once it is warm. `some`: growth that is none, whatever the mean. Met: it surely grows by no more
    than it may. Missed: it surely grows, and maybe by more. Not shown: too noisy to say either."""
    wanted = f"grows ≤ {GROWTH:.0%}" + (f" or {some:g}" if some else "")
    warm = [look for look in looks if look[0] >= looks[-1][0] * WARM_SHARE]
    if len(warm) < 2 * STRETCHES:
        return Goal(what=what, wanted=wanted, found=f"{len(warm)} looks are too few", met=None)
    line, peak = slope(warm), max(value for _, value in looks)
    words = f"{line.growth:+.1f} [{line.low:+.1f}, {line.high:+.1f}] of {line.mean:.1f} {unit}".strip()
    met = True if line.flat(GROWTH, some) else False if line.low > 0 else None
    return Goal(
        what=what, wanted=wanted, found=f"{words}, {peak:.0f} at most", met=met if minutes >= LEAST_MINUTES else None
    )


def p99_goals(found: Findings, minutes: float) -> list[Goal]:
    """The last sixth (ten minutes of an hour) against the first."""
    return [ratio(each.kind, each.by_step[0], each.by_step[-1], minutes) for each in found.endpoints]


def ratio(name: str, first: Found, last: Found, minutes: float) -> Goal:
    what, wanted = f"{name}: p99 of the last sixth over the first", f"≤ {P99_RATIO:g} ×"
    if first.p99_ms is None or last.p99_ms is None:
        return Goal(what=what, wanted=wanted, found="nothing was answered in one of them", met=None)
    words = f"{last.p99_ms / first.p99_ms:.2f} × ({first.p99_ms:.1f} → {last.p99_ms:.1f} ms)"
    if minutes < LEAST_MINUTES or min(first.requests, last.requests) < LEAST_REQUESTS:
        return Goal(what=what, wanted=wanted, found=f"{words}, of {last.requests:,} requests", met=None)
    met = last.p99_ms <= P99_RATIO * first.p99_ms + 1e-9
    return Goal(what=what, wanted=wanted, found=words, met=met)


def parts(watch: Watch) -> list[str]:
    """Its charts, for the page."""
    last_s = watch.open_files[-1][0]
    across = Axis("seconds", 0.0, last_s, [(last_s * part / 6, f"{last_s * part / 6:.0f}") for part in range(7)])
    memory = [Series(role, place, looks) for place, (role, looks) in enumerate(watch.memory_mib.items())]
    held = [Series("open files", 0, watch.open_files), Series("store's connections", 1, watch.store_clients)]
    drawn = (
        figure(chart("memory", "Resident memory by process", across, "MiB", memory, log=False), "Resident memory."),
        figure(chart("held", "Open files and connections", across, "", held, log=False), "Open files and connections."),
    )
    return ["<h2>What the processes hold</h2>", f'<div class="charts">{"".join(drawn)}</div>']
