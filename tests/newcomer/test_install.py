"""What a newcomer does: build, install into an environment of its own, and serve from elsewhere (`make newcomer`)."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import urllib.request
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.newcomer


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `nextbest` command of a fresh environment that holds the locked packages and the built wheel."""
    folder = tmp_path_factory.mktemp("newcomer")
    venv.create(folder / "env", with_pip=True)
    python = str(folder / "env" / "bin" / "python")
    pip = [python, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    locks = ["-r", str(ROOT / "requirements.lock"), "-r", str(ROOT / "requirements-build.lock")]
    subprocess.run([*pip, "install", "--no-compile", "--require-hashes", *locks], check=True)
    built = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder / "dist"), str(ROOT)]
    subprocess.run([*pip, *built], check=True)
    wheel = next((folder / "dist").glob("nextbest-*.whl"))
    subprocess.run([*pip, "install", "--no-deps", str(wheel)], check=True)
    return folder / "env" / "bin" / "nextbest"


@pytest.fixture
def server(command: Path, tmp_path: Path) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("NEXTBEST_", "PYTHON"))}
    arguments = [str(command), "serve", "--demo", "--port", str(port)]
    process = subprocess.Popen(arguments, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:  # until the lines to paste are printed
        if line.strip().endswith("/docs"):
            break
    yield f"http://127.0.0.1:{port}"
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 0
    process.stdout.close()
    assert (tmp_path / "data" / "store").is_dir()  # what was stored stays


def test_an_installed_server_decides_for_a_demo_customer(server: str) -> None:
    body = json.dumps({"customer": "cus_000001", "placements": ["weekly_offer"]}).encode()
    headers = {"content-type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(f"{server}/v1/decide", body, headers), timeout=5) as response:
        decision = json.load(response)["decisions"][0]
    assert decision["action"] in {"send", "suppress", "defer"}
    assert "facts_unavailable" not in decision["degraded"]


def test_an_installed_command_lints_the_bundle_it_ships(command: Path) -> None:
    where = "import pathlib, policy; print(pathlib.Path(policy.__file__).parent / 'bundles' / 'retail_demo')"
    asked = [str(command.with_name("python")), "-c", where]
    bundle = subprocess.run(asked, capture_output=True, text=True, check=True, cwd="/").stdout.strip()
    assert subprocess.run([str(command), "lint", bundle], check=False, cwd="/").returncode == 0
