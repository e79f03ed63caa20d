"""Everything that takes part in a run: one store, and the servers on it, each loaded with the standard customers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import redis

from loadtests.peers.quickstart import load as quickstart
from loadtests.standard import feast, servers
from loadtests.standard.job import BUNDLE, CUSTOMERS
from loadtests.standard.machine import Cores, cores
from loadtests.standard.measure import Contestant, Meter, decide_target, feast_target, is_full_row, is_model_send
from loadtests.standard.servers import Server

PROJECT, QUICKSTART, LIMIT = "project", "quickstart", "limit"
FEAST, FEAST_SERVICE = "feast", "feast by service"
ALL = (PROJECT, QUICKSTART, FEAST, LIMIT)


@dataclass(slots=True)
class Stage:
    directory: Path  # logs and the store's files; removed at the end
    cores: Cores
    store: redis.Redis
    redis_url: str
    meter: Meter
    stack: ExitStack
    notes: list[str] = field(default_factory=list)
    store_bytes_per_customer: int | None = None  # of the project's customers just loaded, ledgers still empty

    def start(self, name: str, command: Sequence[str], port: int, **options: object) -> Server:
        """A server pinned to the measured core, until the stage is left."""
        server = servers.started(name, command, port, core=self.cores.server, logs=self.directory, **options)  # type: ignore[arg-type]  # passed on as they are
        return self.stack.enter_context(server)


@contextmanager
def stage(warm_up_s: float, seconds: float) -> Iterator[Stage]:
    """An empty store, and this process beside it on the driver's core."""
    chosen = cores()
    before = os.sched_getaffinity(0)
    with ExitStack() as stack:
        directory = Path(stack.enter_context(TemporaryDirectory(prefix="nextbest-bench-")))
        os.sched_setaffinity(0, {chosen.driver})
        stack.callback(os.sched_setaffinity, 0, before)
        store, url = stack.enter_context(servers.valkey(directory, chosen.driver))
        process = psutil.Process(store.info("server")["process_id"])
        yield Stage(directory, chosen, store, url, Meter(process, warm_up_s, seconds), stack)


def contestants(on: Stage, names: Sequence[str]) -> list[Contestant]:
    """Those of `names` that can be started here, loaded and ready."""
    add: dict[str, Callable[[Stage], list[Contestant]]] = {
        PROJECT: add_loaded_project,
        QUICKSTART: add_quickstart,
        FEAST: add_feast,
        LIMIT: add_limit,
    }
    return [one for name in names for one in add[name](on)]


def add_loaded_project(on: Stage) -> list[Contestant]:
    one = add_project(on, PROJECT)
    empty = on.store.info("memory")["used_memory"]
    servers.load_project(one.server.port)
    on.store_bytes_per_customer = (on.store.info("memory")["used_memory"] - empty) // CUSTOMERS
    return [one]


def add_project(on: Stage, name: str, bundle: Path = BUNDLE, env: Mapping[str, str] | None = None) -> Contestant:
    port = servers.free_port()
    env = {**servers.project_env(on.redis_url), **(env or {})}
    server = on.start(name, servers.project_command(port, bundle), port, env=env)
    return Contestant(name, server, decide_target(server), is_model_send)


def add_quickstart(on: Stage) -> list[Contestant]:
    port = servers.free_port()
    quickstart.load(on.redis_url)
    command = servers.uvicorn_command("loadtests.peers.quickstart.app:app", port)
    server = on.start(QUICKSTART, command, port, env=servers.quickstart_env(on.redis_url))
    return [Contestant(QUICKSTART, server, decide_target(server), is_model_send)]


def add_feast(on: Stage) -> list[Contestant]:
    """Nothing where Feast is not installed; the report says so."""
    command = feast.command()
    if command is None:
        on.notes.append(feast.MISSING)
        return []
    port = servers.free_port()
    serve = feast.serve_command(command, feast.repository(on.directory, on.redis_url, command), port)
    server = on.start(FEAST, serve, port, ready_path="/health", env=feast.environment())
    return [
        Contestant(FEAST, server, feast_target(server, feast.BY_LIST), is_full_row),
        Contestant(FEAST_SERVICE, server, feast_target(server, feast.BY_SERVICE), is_full_row),
    ]


def add_limit(on: Stage) -> list[Contestant]:
    port = servers.free_port()
    server = on.start(LIMIT, servers.uvicorn_command("loadtests.peers.limit.app:app", port), port)
    return [Contestant(LIMIT, server, decide_target(server), lambda _: True)]
