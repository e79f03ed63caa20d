"""`nextbest import` as a process that is killed at any instant, and run again: every row counts once in the report, and
the server knows what the file says."""

from __future__ import annotations

import csv
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis import Redis

from app.importing import progress
from tests.support.contract import FOLDER
from tests.support.serving import Server

ROWS, KILLS = 12_000, 6
#: Of these the recency is no number: they are refused before they leave.
BAD = frozenset(range(2, ROWS + 2, 97))
COMMAND = (sys.executable, "-c", "from app.cli import main; main()", "import", "customers")


def profiles(path: Path) -> Path:
    """`line` as in the report: the header is line 1."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["customer", "recency", "history"])
        for line in range(2, ROWS + 2):
            writer.writerow([f"imp_{line}", "many" if line in BAD else line % 13, float(line)])
    return path


def importing(file: Path, url: str) -> subprocess.Popen[str]:
    words = [*COMMAND, str(file), "--bundle", str(FOLDER), "--url", url, "--report", "json"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NEXTBEST_")}
    return subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def noted(file: Path) -> dict[str, Any]:
    try:
        return json.loads(progress.sidecar(file).read_text(encoding="utf-8"))  # type: ignore[no-any-return]  # JSON has no types
    except FileNotFoundError:
        return {"rows": 0, "accepted": 0, "rejected": 0}


def killed(file: Path, url: str, chance: random.Random) -> int:
    """Starts it, kills it some milliseconds after it noted more rows; how many it had noted then."""
    before = noted(file)["rows"]
    process = importing(file, url)
    try:
        while (rows := noted(file)["rows"]) == before:
            assert process.poll() is None, process.communicate()
            time.sleep(0.001)
        assert rows > before, "it goes on where the one before was killed"
        time.sleep(chance.random() * 0.05)
    finally:
        process.kill()
        process.communicate()
    return int(noted(file)["rows"])


@pytest.mark.long  # seven processes
def test_an_import_that_is_killed_again_and_again_counts_every_row_once(tmp_path: Path) -> None:
    file, chance = profiles(tmp_path / "profiles.csv"), random.Random(7)
    with Server(FOLDER) as server:
        for _ in range(KILLS):
            assert killed(file, server.url, chance) < ROWS, "in the middle of it"
            with progress.rejections(file).open("ab") as listed:
                listed.write(b'{"line": 99')  # a kill between a line and its note, which chance hardly meets
        last = importing(file, server.url)
        told, trouble = last.communicate(timeout=120)
        assert last.returncode == 1, trouble  # some rows were not taken
        (report,) = json.loads(told)["files"]
        assert (report["accepted"], report["rejected"], report["finished"]) == (ROWS - len(BAD), len(BAD), True)
        refused = [json.loads(line)["line"] for line in progress.rejections(file).read_text().splitlines()]
        assert refused == sorted(BAD), "each is listed once, whatever was cut off in the middle of a line"
        with Redis(unix_socket_path=str(server.store.socket_path)) as store:
            stored = {key.partition(b":p:")[2].decode() for key in store.scan_iter(b"{s*}:p:*", count=1000)}
        assert stored == {f"imp_{line}" for line in range(2, ROWS + 2) if line not in BAD}
        with httpx.Client(base_url=server.url, timeout=10) as http:
            for line in chance.sample(sorted(set(range(2, ROWS + 2)) - BAD), 20):
                view = http.get(f"/v1/customers/imp_{line}").json()
                assert {name: each["type"] for name, each in view["attributes"].items()} == {
                    "recency": "int", "history": "float",
                }  # fmt: skip
