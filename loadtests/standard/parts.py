"""The parts of a run. Each can be run alone; within a part, contestants take turns (A B A B …)."""

from __future__ import annotations

import http.client
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median

import yaml

from loadtests.standard import servers
from loadtests.standard.job import ATTRIBUTES, BUNDLE, attributes, customer, decide_body
from loadtests.standard.measure import Contestant, Measurement, closed_label, is_model_send
from loadtests.standard.stage import PROJECT, QUICKSTART, Stage, add_project

UNEXPLAINED = "project, unexplained"
SHARES = (0.3, 0.6, 0.9)  # of the measured peak
EXPLAINED_AT = 16  # connections
MEMORY_CUSTOMERS = 50
LEDGER_ENTRIES = 10

Advance = Callable[[str], None]


def throughput(
    on: Stage, entrants: Sequence[Contestant], loads: Sequence[int], rounds: int, advance: Advance
) -> Iterator[Measurement]:
    """Closed loop."""
    for connections in loads:
        for _ in range(rounds):
            for one in entrants:
                measured = on.meter.closed(one, connections)
                advance(f"{one.name}, {measured.label}: {measured.rate:,.0f}/s")
                yield measured


def own_peak(share: float) -> str:
    return f"{share * 100:.0f} % of its own peak"


def peer_peak(share: float) -> str:
    return f"{share * 100:.0f} % of the quickstart's peak"


def latency(
    on: Stage, entrants: Sequence[Contestant], peaks: dict[str, float], rounds: int, advance: Advance
) -> Iterator[Measurement]:
    """Open loop: each at shares of its own peak, and the project at the quickstart's rates too, which is what a user
    who moves from one to the other would see."""
    for share in SHARES:
        plan = [(one, peaks[one.name] * share, own_peak(share)) for one in entrants]
        plan += [(one, peaks[QUICKSTART] * share, peer_peak(share)) for one in entrants if QUICKSTART in peaks]
        # The quickstart's own peak is the same load under both names: measured once, reported under both.
        plan = [entry for entry in plan if not (entry[0].name == QUICKSTART and entry[2] == peer_peak(share))]
        for _ in range(rounds):
            for one, rate, label in plan:
                measured = on.meter.open(one, rate, label)
                advance(f"{one.name}, {label}: p99 {measured.latency.p99:.1f} ms")
                yield measured


def latency_count(entrants: Sequence[Contestant], rounds: int) -> int:
    """How many measurements `latency` will take."""
    names = {one.name for one in entrants}
    return len(SHARES) * rounds * (len(entrants) + (QUICKSTART in names and PROJECT in names))


def peaks_of(
    on: Stage, entrants: Sequence[Contestant], measured: Sequence[Measurement], loads: Sequence[int] = (16, 64)
) -> dict[str, float]:
    """Contestant → its highest median rate, from what was measured already, else from a short look."""
    peaks = {}
    for one in entrants:
        closed = [m for m in measured if m.name == one.name and m.loop == "closed"]
        closed = closed or [on.meter.closed(one, connections) for connections in loads]
        by_load = {m.load: [other.rate for other in closed if other.load == m.load] for m in closed}
        peaks[one.name] = max(median(rates) for rates in by_load.values())
    return peaks


def explanation(on: Stage, project: Contestant, rounds: int, advance: Advance) -> Iterator[Measurement]:
    """The project beside itself with nothing explained in the record."""
    plain = add_project(on, UNEXPLAINED, env={"NEXTBEST_RECORD_EXPLANATION": "false"})
    for _ in range(rounds):
        for one in (project, plain):
            measured = on.meter.closed(one, EXPLAINED_AT, f"explained or not, {closed_label(EXPLAINED_AT)}")
            advance(f"{one.name}: {measured.cpu_us:.0f} µs a decision")
            yield measured


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of store memory a customer, by `MEMORY USAGE`: means over some customers."""

    profile: float
    features: float
    ledger: float
    encodings: dict[str, str]
    what: str

    @property
    def total(self) -> float:
        return self.profile + self.features + self.ledger


def memory(on: Stage) -> Memory:
    """A customer with 24 features, two consents and ten ledger entries, through the front door.

    The standard bundle declares 21 attributes, so a copy of it with three more is served.
    """
    names = (*ATTRIBUTES, "f20", "f21", "f22")
    bundle = _wider_bundle(on.directory / "wider_bundle", names)
    server = add_project(on, "project, wider bundle", bundle).server
    keys = [f"memory_{i}" for i in range(MEMORY_CUSTOMERS)]
    rows = zip(keys, attributes(MEMORY_CUSTOMERS, names), strict=True)
    servers.bulk(server.port, (json.dumps(customer(key, numbers)) for key, numbers in rows))
    for key in keys:
        for _ in range(LEDGER_ENTRIES):
            _decide(server.port, key)
    return _weigh(on, keys)


def _wider_bundle(target: Path, names: Sequence[str]) -> Path:
    shutil.copytree(BUNDLE, target)
    path = target / "attributes.yaml"
    authored = yaml.safe_load(path.read_text())
    for name in names:
        authored["attributes"].setdefault(name, authored["attributes"]["f0"])
    path.write_text(yaml.safe_dump(authored))
    return target


def _decide(port: int, key: str) -> None:
    connection = http.client.HTTPConnection(servers.HOST, port, timeout=5)
    connection.request("POST", "/v1/decide", decide_body(key), {"content-type": "application/json"})
    answer = json.loads(connection.getresponse().read())
    connection.close()
    if not is_model_send(answer):
        raise RuntimeError(f"a ledger entry was to be made, but the answer was {answer}")


def _weigh(on: Stage, keys: Sequence[str]) -> Memory:
    """Sums over the kinds of keys that a customer has: `p` profile, `f` features, `l` ledger."""
    weights: dict[str, float] = {}
    encodings: dict[str, str] = {}
    for kind in "pfl":
        found = list(on.store.scan_iter(match=f"{{*}}:{kind}:memory_*", count=10_000))
        weights[kind] = sum(on.store.memory_usage(key, samples=0) or 0 for key in found) / len(keys)
        if found:
            encodings[kind] = on.store.object("encoding", found[0]).decode()
    if "l" not in encodings:
        raise RuntimeError("no ledger was found: memory would be too small")
    what = f"{len(ATTRIBUTES) + 4} attributes, 2 consents, {LEDGER_ENTRIES} ledger entries"
    return Memory(weights["p"], weights["f"], weights["l"], encodings, what)


@dataclass(frozen=True, slots=True)
class StartUp:
    """Seconds from process start to the first readiness answer, medians; not pinned, byte code cached."""

    embedded_store_s: float
    running_store_s: float


def start_up(on: Stage, times: int) -> StartUp:
    """With the embedded store, as a newcomer starts it, and with a store that is already there."""
    embedded = median(_start(on, f"start_up_embedded_{n}", {}) for n in range(times))
    env = servers.project_env(on.redis_url)
    return StartUp(embedded, median(_start(on, f"start_up_running_{n}", env) for n in range(times)))


def _start(on: Stage, name: str, env: dict[str, str]) -> float:
    port = servers.free_port()
    command = [*servers.project_command(port), "--data", str(on.directory / name)]
    os.sched_setaffinity(0, {on.cores.server, on.cores.driver})  # children inherit it
    try:
        with servers.started(name, command, port, core=None, logs=on.directory, env=env) as server:
            return server.ready_s
    finally:
        os.sched_setaffinity(0, {on.cores.driver})


@dataclass(frozen=True, slots=True)
class Soak:
    """Resident memory of the server over many decisions."""

    points: tuple[tuple[int, int], ...]  # (decisions made, bytes)

    @property
    def growth(self) -> float:
        """Of the last point over the first one that comes after a tenth of all decisions, when caches are warm."""
        warm = next(rss for made, rss in self.points if made >= self.points[-1][0] / 10)
        return self.points[-1][1] / warm - 1


def soak(on: Stage, project: Contestant, decisions: int, advance: Advance) -> Soak:
    made, points = 0, []
    while made < decisions:
        measured = on.meter.closed(project, 16, "soak")
        made += int(measured.rate * on.meter.seconds)
        points.append((made, measured.rss_bytes))
        advance(f"{made:,} decisions, {measured.rss_bytes / 2**20:.0f} MiB")
    return Soak(tuple(points))


def mean_ledger_length(on: Stage) -> float:
    """Entries a customer at the end of the run, over a sample: the project's reads grow with it, the peers' do not."""
    keys = [key for _, key in zip(range(500), on.store.scan_iter(match="{*}:l:*", count=1_000), strict=False)]
    return fmean(int(on.store.zcard(key)) for key in keys) if keys else 0.0
