"""What a deployment's processes hold while they are driven: memory, open files and connections."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field

import psutil
import redis

from loadtests.mix.stage import Stage

MIB = 2**20
#: Which process is what, by a word of its command line; whatever else there is belongs to the server.
ROLES = {"valkey-server": "store", "redis-server": "store", "app.worker": "event worker", "app.archive": "archiver"}
SERVER, STORE = "server", "store"
#: A fork of the store that writes its file anew shares its pages, and is gone in seconds: counted, it would be a leak.
COPIES = ("aof-rewrite", "rdb-bgsave")


@dataclass(slots=True)
class Watch:
    """Looks now and then. Each series is (seconds since the begin, value)."""

    on: Stage
    every_s: float
    memory_mib: dict[str, list[tuple[float, float]]] = field(default_factory=dict)  # resident, by role
    open_files: list[tuple[float, float]] = field(default_factory=list)  # of all but the store; sockets are among them
    store_clients: list[tuple[float, float]] = field(default_factory=list)
    most_clients: Counter[str] = field(default_factory=Counter)  # at once, by the name that a connection gave itself
    _began: float = field(default_factory=time.monotonic)
    _next: float = 0.0

    def look(self) -> None:
        """At most every `every_s`."""
        at = time.monotonic() - self._began
        if at < self._next:
            return
        self._next = at + self.every_s
        memory, files = self._held()
        for role, mib in memory.items():
            self.memory_mib.setdefault(role, []).append((at, mib))
        self.open_files.append((at, files))
        try:
            names = Counter(str(each["name"]) for each in self.on.store.client_list())
        except redis.RedisError:  # one look less
            return
        self.store_clients.append((at, float(names.total())))
        self.most_clients |= names

    def _held(self) -> tuple[dict[str, float], int]:
        memory: dict[str, float] = {}
        files = 0
        top = self.on.server.process
        for process in [top, *top.children(recursive=True)]:
            try:
                command = " ".join(process.cmdline())
                if any(word in command for word in COPIES):
                    continue
                role = _role(command)
                memory[role] = memory.get(role, 0.0) + process.memory_info().rss / MIB
                files += 0 if role == STORE else process.num_fds()
            except psutil.NoSuchProcess:  # ended between the listing and the look
                continue
        return memory, files


def _role(command: str) -> str:
    return next((role for word, role in ROLES.items() if word in command), SERVER)
