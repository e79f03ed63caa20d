"""Every operation of the OpenAPI document, called with what fits it and with what does not, and along its links.

No answer is a 5xx, of a status or a type that the document does not name, or of another shape; without a key, or with a
wrong one, there is none. Schemathesis (https://schemathesis.readthedocs.io) makes the requests, from a fixed seed;
`tests/http/schemathesis.toml` says which of its checks do not hold here, and why.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from app import keys_file
from app.http.scopes import PUBLIC, required_scope
from app.settings import DEMO_BUNDLE
from tests.http.conftest import WEBHOOKS
from tests.support.serving import Server

HERE = Path(__file__).parent
#: Cases a phase and operation; those of the phase `coverage` are counted, not drawn.
FEW, MANY = 3, 300
PHASES = "examples,coverage,fuzzing,stateful"
#: Operations that no made-up request can succeed with: they ask for a seal of ours, or for a provider's signature.
PROVEN = frozenset({"GET /v1/unsubscribe/{token}", "POST /v1/unsubscribe/{token}", "POST /v1/webhooks/{provider}"})

#: Those that succeed with an id of ours alone: `test_api_links.py` leads to each.
LED_TO = frozenset(
    {"GET /v1/decisions/{decision_id}", "POST /v1/decisions/{decision_id}/outcomes", "GET /v1/erasures/{erasure}"}
)


def answers(folder: Path, cases: int) -> tuple[dict[str, Any], dict[str, set[int]]]:
    """Schemathesis against a server of the demo, whose placements the examples name, that wants keys: the paths of
    the document, and which statuses each operation answered. Its own report is the message of a failure."""
    keys = folder / "keys.jsonl"
    _, key = keys_file.add(keys, ["admin"])
    with Server(DEMO_BUNDLE, NEXTBEST_KEYS_FILE=str(keys), **WEBHOOKS) as server:
        command = [
            sys.executable, "-m", "schemathesis.cli", "--config-file", str(HERE / "schemathesis.toml"), "run",
            f"{server.url}/openapi.json", "--header", f"Authorization: Bearer {key}", "--phases", PHASES,
            "--max-examples", str(cases), "--seed", "1", "--generation-deterministic", "--no-color",
            "--continue-on-failure", "--report", "har", "--report-har-path", str(folder / "report.har"),
        ]  # fmt: skip
        hooks = {"SCHEMATHESIS_HOOKS": "tests.http.schemathesis_hooks", "PYTHONPATH": str(HERE.parents[1])}
        ran = subprocess.run(
            command, capture_output=True, text=True, cwd=folder, env={**os.environ, **hooks}, check=False
        )
        assert ran.returncode == 0, ran.stdout[-20_000:] + ran.stderr[-2_000:]
        assert "Traceback" not in server.log(), server.log()[-5_000:]
        paths = httpx.get(f"{server.url}/openapi.json").json()["paths"]
    return paths, _by_operation(paths, json.loads((folder / "report.har").read_text()))


def _by_operation(paths: dict[str, Any], report: dict[str, Any]) -> dict[str, set[int]]:
    """METHOD path of the document → statuses. What it does not describe goes under its own path."""
    plain_first = sorted(paths, key=lambda path: path.count("{"))
    templates = [(re.compile(re.sub(r"\{\w+\}", "[^/]+", path)), path) for path in plain_first]
    found: dict[str, set[int]] = defaultdict(set)
    for entry in report["log"]["entries"]:
        path = urlsplit(entry["request"]["url"]).path
        template = next((name for pattern, name in templates if pattern.fullmatch(path)), path)
        found[f"{entry['request']['method']} {template}"].add(entry["response"]["status"])
    return found


def test_no_request_gets_an_answer_that_the_document_does_not_describe(tmp_path: Path) -> None:
    paths, statuses = answers(tmp_path, FEW)
    for path, methods in paths.items():
        for method in methods:
            called = f"{method.upper()} {path}"
            assert statuses[called], called
            if called not in PROVEN | LED_TO:
                assert min(statuses[called]) < 300, (called, statuses[called])
            if required_scope(method.upper(), path) != PUBLIC:
                assert 401 in statuses[called], (called, statuses[called])


@pytest.mark.long
def test_many_more_requests_get_none_either(tmp_path: Path) -> None:
    answers(tmp_path, MANY)
