"""The machine a run happened on: which core does what, what a process has used, and what to print beside a figure."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

#: Those that a figure depends on most.
MEASURED_PACKAGES = ("uvicorn", "uvloop", "httptools", "fastapi", "pydantic", "redis", "hiredis", "onnxruntime")


@dataclass(frozen=True, slots=True)
class Cores:
    """One core for the server that is measured, another for the store and the driver."""

    server: int
    driver: int

    @property
    def apart(self) -> bool:
        return self.server != self.driver


def cores() -> Cores:
    """Of those this process may use: the first two, or the only one twice."""
    allowed = sorted(os.sched_getaffinity(0))
    return Cores(server=allowed[0], driver=allowed[1 % len(allowed)])


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process and its children have used since they started."""

    cpu_s: float  # user + system
    rss_bytes: int


def usage(process: psutil.Process) -> Usage:
    """From the operating system. Children count: a server may supervise its worker from a parent process."""
    cpu_s, rss_bytes = 0.0, 0
    for member in [process, *process.children(recursive=True)]:
        try:
            with member.oneshot():
                times = member.cpu_times()
                cpu_s += times.user + times.system
                rss_bytes += member.memory_info().rss
        except psutil.NoSuchProcess:  # ended between the listing and the look
            continue
    return Usage(cpu_s, rss_bytes)


def own_cpu_s() -> float:
    """Processor time of this process alone: the servers that it measures are its children."""
    times = psutil.Process().cpu_times()
    return float(times.user + times.system)


@dataclass(frozen=True, slots=True)
class Machine:
    processor: str
    cores: int
    memory_gib: float
    system: str
    python: str
    store: str
    packages: dict[str, str]
    pinned: str
    load_before: float  # one-minute load average when the run began: other work on the machine blurs every figure

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


def describe(store: str, chosen: Cores) -> Machine:
    pinned = f"server on core {chosen.server}, store and driver on core {chosen.driver}"
    return Machine(
        processor=_processor(),
        cores=os.cpu_count() or 1,
        memory_gib=round(psutil.virtual_memory().total / 2**30, 1),
        system=f"{platform.system()} {platform.release()}",
        python=f"{platform.python_implementation()} {platform.python_version()}",
        store=store,
        packages={name: _version(name) for name in MEASURED_PACKAGES},
        pinned=pinned if chosen.apart else "one core for everything: figures are not comparable",
        load_before=round(os.getloadavg()[0], 2),
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def require_linux() -> None:
    if sys.platform != "linux":
        raise SystemExit("the benchmark pins processes to cores and needs Linux")
