"""Feast, where it is installed: `NEXTBEST_BENCH_FEAST` names the `feast` command of an environment of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from loadtests.standard.servers import HOST, ROOT, CannotStart

FEATURES = tuple(f"f{i}" for i in range(24))
#: Both ways to ask are measured: their costs differ by a factor of three. By list is what Feast's quickstart shows, by
#: feature service is what its documentation advises for models in production.
BY_LIST = {"features": [f"standard:{name}" for name in FEATURES]}
BY_SERVICE = {"feature_service": "standard_service"}
MISSING = "Feast is skipped: set NEXTBEST_BENCH_FEAST to the `feast` command of an environment with `feast[redis]`"
STORE_YAML = """\
project: standard
registry: registry.db
provider: local
online_store:
  type: redis
  connection_string: {address}
entity_key_serialization_version: 3
"""


def command() -> Path | None:
    """The `feast` command, or None where Feast is not installed."""
    named = os.environ.get("NEXTBEST_BENCH_FEAST")
    return Path(named) if named and Path(named).exists() else None


def repository(directory: Path, redis_url: str, feast: Path) -> Path:
    """A repository in `directory` whose features are declared and whose online store holds the standard customers."""
    target = directory / "feast"
    shutil.copytree(ROOT / "loadtests" / "peers" / "feast" / "repo", target)
    address = redis_url.removeprefix("redis://").partition("/")[0]
    (target / "feature_store.yaml").write_text(STORE_YAML.format(address=address))
    load = [str(feast.parent / "python"), "-m", "loadtests.peers.feast.load", str(target)]
    done = subprocess.run(load, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotStart(f"Feast could not be loaded\n{done.stderr[-2000:]}")
    return target


def serve_command(feast: Path, target: Path, port: int) -> list[str]:
    """One worker, without its access log, and without its restart of the worker every 1,000 requests, which would
    measure nothing but imports."""
    options = ["--workers", "1", "--no-access-log", "--max-requests", "0", "--max-requests-jitter", "0"]
    return [str(feast), "--chdir", str(target), "serve", "--host", HOST, "--port", str(port), *options]


def environment() -> dict[str, str]:
    """Nothing leaves the machine, and the environment's own packages are used."""
    return {**os.environ, "FEAST_USAGE": "False", "PYTHONPATH": str(ROOT)}
