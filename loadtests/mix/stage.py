"""A deployment for the mix, as `nextbest serve` makes one: server, worker, archive, embedded store; with customers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from loadtests.mix import bundle
from loadtests.mix.deployment import SIGNING_KEY, person
from loadtests.outcomes.traffic import new_key, public
from loadtests.standard.job import attributes
from loadtests.standard.servers import HOST, ROOT, CannotStart, Server, bulk, free_port, project_command, started

CUSTOMERS = 5_000
PURPOSES = ("marketing", "personalisation")
#: Room for all of an hour's decisions, so that the log can be counted: it is trimmed by bytes.
LOG_BYTES = 4 * 1024**3
LOOK_S = 0.1  # how often it is looked whether Locust has ended


@dataclass(slots=True)
class Stage:
    """Everything that runs."""

    url: str
    server: Server
    store: redis.Redis
    folder: Path
    bundle: Path
    customers: tuple[str, ...]
    env: Mapping[str, str]  # of who drives it


@contextmanager
def stage(customers: int = CUSTOMERS, variables: Mapping[str, str] | None = None) -> Iterator[Stage]:
    """`variables`: further settings of the server. Raises CannotStart."""
    with tempfile.TemporaryDirectory(prefix="nextbest-load-") as place:
        folder = Path(place)
        made, key, port = bundle.write(folder / "bundle"), new_key(), free_port()
        env = {
            "NEXTBEST_DATA": str(folder / "data"),
            "NEXTBEST_DECISION_LOG_BYTES": str(LOG_BYTES),
            "NEXTBEST_WEBHOOK_SENDGRID_SECRETS": public(key),
            **(variables or {}),
        }
        private = b64encode(key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())).decode()
        with started("server", project_command(port, made), port, core=None, logs=folder, env=env) as server:
            names = tuple(f"load{number:05d}" for number in range(customers))
            numbers = attributes(customers)
            bulk(port, (json.dumps(_person(name, each)) for name, each in zip(names, numbers, strict=True)))
            (folder / "customers.txt").write_text("\n".join(names), encoding="utf-8")
            store = redis.Redis(unix_socket_path=str(folder / "data" / "store" / "store.sock"))
            try:
                yield Stage(f"http://{HOST}:{port}", server, store, folder, made, names, {SIGNING_KEY: private})
            finally:
                store.close()


def _person(key: str, numbers: dict[str, float]) -> dict[str, object]:
    return {**person(key, PURPOSES), "attributes": {**numbers, "lifecycle": "active"}}


def drive(
    url: str,
    *,
    customers: str,
    report: Path,
    shape: str,
    seconds: float,
    rate: float | None = None,
    slo: Path | None = None,
    env: Mapping[str, str] | None = None,
    meanwhile: Callable[[], None] = lambda: None,
) -> int:
    """Runs Locust against `url` and returns its exit code: 0 when every budget was kept. `meanwhile` is called again
    and again. Raises CannotStart."""
    command = [sys.executable, "-m", "locust", "-f", "loadtests/locustfile.py", "--headless", "--only-summary"]
    command += ["--host", url, "--shape", shape, "--seconds", f"{seconds:g}", "--customers", customers]
    command += ["--report", str(report.absolute()), "--loglevel", "ERROR"]
    command += ["--rate", f"{rate:g}"] if rate is not None else []
    command += ["--slo", str(slo.absolute())] if slo is not None else []
    # Its table goes to stderr and says less than ours; what it says when it cannot begin is all that anybody wants.
    with tempfile.TemporaryFile("w+", encoding="utf-8") as said:
        child = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **(env or {})}, stdout=subprocess.DEVNULL, stderr=said
        )
        try:
            while child.poll() is None:
                meanwhile()
                time.sleep(LOOK_S)
        finally:
            if child.poll() is None:
                child.terminate()
                child.wait()
        if not report.exists():
            said.seek(0)
            raise CannotStart(f"the load did not begin: {said.read()[-1000:].strip()}")
    return child.returncode
