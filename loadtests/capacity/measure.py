"""Sizes that the capacity model computes with: `python -m loadtests.capacity.measure`. Bytes, so any machine will do.

A store, a server, the standard customers; some thousand decisions send, and an ESP tells of each mail. Then the store
is asked what lies in it, and the archiver archives it. The figures go into `measured.py` by hand, where each has its
place.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import mean
from typing import Any

import httpx
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from loadtests.outcomes.traffic import PATH, about, new_key, public, signature
from loadtests.standard.job import BUNDLE, CUSTOMERS, decide_body
from loadtests.standard.machine import cores
from loadtests.standard.servers import HOST, free_port, load_project, project_command, project_env, started, valkey

DECISIONS, WITH_KEY, SAMPLE = 4_000, 500, 300
#: How often each mail is told of: enough that a stream's first node, which begins with some room, does not count. What
#: is known of a mail is looked at while it is told of as often as mails are.
TOLD, TOLD_OF_A_MAIL, ITEMS = 12, 3, 50
PATIENCE_S = 60.0  # bytes are measured, on a machine that may have other work


def measured(decisions: int = DECISIONS) -> dict[str, float]:
    """Bytes by what they are of."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nextbest-bench-")))
        store, url = stack.enter_context(valkey(folder, cores().driver))
        port = free_port()
        key = new_key()
        environment = {**project_env(url), "NEXTBEST_WEBHOOK_SENDGRID_SECRETS": public(key)}
        stack.enter_context(
            started("project", project_command(port, BUNDLE), port, core=None, logs=folder, env=environment)
        )
        empty = used(store)
        load_project(port)
        loaded = used(store)
        network = traffic(store)
        made = decide(port, range(decisions))
        sent = traffic(store)
        known, streamed = tell(store, port, key, made)
        more = (known[TOLD_OF_A_MAIL - 1] - known[0]) / (TOLD_OF_A_MAIL - 1)
        decide(port, range(decisions, decisions + WITH_KEY), keyed=True)
        of_keys = {kind: mean(sizes(store, pattern)) for kind, pattern in PATTERNS.items()}
        archived = archive(folder, environment)
        return {
            "customer, whole store": (loaded - empty) / CUSTOMERS,
            **{f"{kind} key": size for kind, size in of_keys.items()},
            "decision log, a record": entry_bytes(store, "decisions"),
            "mail key": mean(sizes(store, "pm:*")),
            "known of a send": known[0] - more,
            "known of a send, more with each outcome": more,
            "outcome, in its stream": streamed,
            "read from the store, a decision": (sent[0] - network[0]) / decisions,
            "written to the store, a decision": (sent[1] - network[1]) / decisions,
            "archive, a decision": archived / (decisions + WITH_KEY),
        }


PATTERNS = {"profile": "{s*}:p:*", "ledger": "{s*}:l:*", "idempotency": "{s*}:i:*", "decision": "{s*}:d:*"}


def used(store: Any) -> int:
    return int(store.info("memory")["used_memory"])


def traffic(store: Any) -> tuple[int, int]:
    """Bytes that left the store, and that came."""
    info = store.info("stats")
    return int(info["total_net_output_bytes"]), int(info["total_net_input_bytes"])


def decide(port: int, numbers: Sequence[int], *, keyed: bool = False) -> list[str]:
    """The ids of what was sent."""
    made = []
    with httpx.Client(base_url=f"http://{HOST}:{port}", timeout=PATIENCE_S) as client:
        for number in numbers:
            headers = {"idempotency-key": f"capacity-{number}"} if keyed else {}
            answer = client.post("/v1/decide", content=decide_body(str(number)), headers=headers).json()
            if answer["decisions"][0]["action"] != "send":
                raise RuntimeError(f"nothing was sent: {answer}")
            made.append(answer["decisions"][0]["decision_id"])
    return made


def tell(store: Any, port: int, key: EllipticCurvePrivateKey, made: Sequence[str]) -> tuple[list[float], float]:
    """An ESP tells of each mail `TOLD` times: bytes of what is known of one, each time; and of an outcome in its
    stream, by what streams grew after the first time."""
    chance, known, streams = random.Random(1), [], []
    with httpx.Client(base_url=f"http://{HOST}:{port}", timeout=PATIENCE_S) as client:
        for time in range(TOLD):
            for begin in range(0, len(made), ITEMS):
                some = made[begin : begin + ITEMS]
                items = [about("somebody@example.com", each, f"{time}-{each}", chance) for each in some]
                body = json.dumps(items).encode()
                answer = client.post(PATH, content=body, headers=signature(key, body))
                if answer.status_code != 200 or answer.json()["accepted"] != len(items):
                    raise RuntimeError(f"outcomes were refused: {answer.status_code} {answer.text[:500]}")
            known.append(mean(sizes(store, "{s*}:o:*")))
            streams.append(entry_bytes(store, "outcomes") * len(made) * (time + 1))
    return known, (streams[-1] - streams[0]) / (len(made) * (TOLD - 1))


def sizes(store: Any, pattern: str) -> Iterator[int]:
    for _, key in zip(range(SAMPLE), store.scan_iter(pattern, 1000), strict=False):
        yield int(store.memory_usage(key, samples=0))


def entry_bytes(store: Any, stream: str) -> float:
    streams = list(store.scan_iter(f"{{s*}}:{stream}", 1000))
    return sum(int(store.memory_usage(key, samples=0)) for key in streams) / sum(
        int(store.xlen(key)) for key in streams
    )


def archive(folder: Path, environment: dict[str, str]) -> int:
    """Bytes of the decisions as Parquet."""
    kept = folder / "archive"
    told = {**os.environ, **environment, "NEXTBEST_ARCHIVE": str(kept), "NEXTBEST_BUNDLE": str(BUNDLE)}
    command = [sys.executable, "-c", "from app.cli import main; main()", "archive", "--once"]
    subprocess.run(command, env=told, check=True, capture_output=True)
    return sum(file.stat().st_size for file in (kept / "decisions").rglob("*.parquet"))


if __name__ == "__main__":
    print(json.dumps({what: round(size) for what, size in measured().items()}, indent=1))
