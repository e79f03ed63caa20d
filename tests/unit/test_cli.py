"""The command line: what it says and how it ends, for people and for scripts."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from app import cli
from app.settings import DEMO_BUNDLE


@pytest.fixture(autouse=True)
def no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KEYS_FILE", "HOST", "PORT", "WORKERS", "REDIS_URL", "BUNDLE"):
        monkeypatch.delenv(f"NEXTBEST_{name}", raising=False)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli.app, arguments)


def test_a_key_is_printed_alone_so_that_a_script_can_take_it(tmp_path: Path) -> None:
    file = str(tmp_path / "keys.jsonl")
    added = run("keys", "add", "--file", file, "--scope", "decide", "--scope", "approve:legal")
    assert added.stdout.startswith("nbk_")
    assert added.stdout.count("\n") == 1
    key_id = added.stderr.split()[0]
    assert "decide approve:legal" in run("keys", "list", "--file", file).stdout
    assert run("keys", "revoke", "--file", file, key_id).exit_code == 0
    assert run("keys", "list", "--file", file).stdout == ""
    assert run("keys", "revoke", "--file", file, key_id).exit_code == 1


def test_an_unknown_scope_is_answered_with_those_there_are(tmp_path: Path) -> None:
    refused = run("keys", "add", "--file", str(tmp_path / "keys.jsonl"), "--scope", "all")
    assert refused.exit_code == 1
    assert "use decide, collect, read, admin or approve:<role>" in refused.stderr


def test_a_taken_port_is_named_with_the_way_out(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = run("serve", "--port", str(port), "--data", str(tmp_path))
    assert refused.exit_code == 1
    assert f"--port {port + 1}" in refused.stderr
    assert list(tmp_path.iterdir()) == []  # nothing was started for it


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.7", "box.example.com"])
def test_a_server_without_keys_refuses_to_listen_to_other_machines(host: str) -> None:
    refused = run("serve", "--host", host)
    assert refused.exit_code == 1
    assert "nextbest keys add" in refused.stderr


def test_a_keys_file_without_a_key_is_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "keys.jsonl").write_text("\n")
    monkeypatch.setenv("NEXTBEST_KEYS_FILE", str(tmp_path / "keys.jsonl"))
    refused = run("serve", "--host", "0.0.0.0")
    assert refused.exit_code == 1
    assert "no keys are configured" in refused.stderr


def test_a_bad_setting_is_named_and_its_value_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXTBEST_HASH_KEY", "short-secret")
    refused = run("serve")
    assert refused.exit_code == 1
    assert "NEXTBEST_HASH_KEY" in refused.stderr
    assert "short-secret" not in refused.stderr


def test_lint_of_the_demo_finds_no_mistake() -> None:
    assert run("lint", str(DEMO_BUNDLE)).exit_code == 0


def test_lint_shows_every_mistake_with_place_and_remedy(tmp_path: Path) -> None:
    (tmp_path / "bundle.yaml").write_text("name: shop\nowner: growth\ncurrency: USD\ncolour: red\n")
    shown = run("lint", str(tmp_path))
    assert shown.exit_code == 1
    assert "bundle.yaml:4" in shown.stdout
    report = json.loads(run("lint", "--json", str(tmp_path)).stdout)
    assert len(report["mistakes"]) > 1  # the missing files too
    assert all(mistake.keys() >= {"file", "line", "code", "message", "remedy"} for mistake in report["mistakes"])


def test_a_bundle_with_mistakes_is_not_served_and_all_are_shown(tmp_path: Path) -> None:
    (tmp_path / "bundle.yaml").write_text("name: shop\nowner: growth\ncurrency: USD\ncolour: red\n")
    refused = run("serve", "--port", "0", "--bundle", str(tmp_path), "--data", str(tmp_path / "data"))
    assert refused.exit_code == 1
    assert "bundle.yaml:4" in refused.stderr
    assert "messages.yaml" in refused.stderr
    assert "Traceback" not in refused.output


def test_schemas_are_written_one_a_file(tmp_path: Path) -> None:
    assert run("schema", "--out", str(tmp_path)).exit_code == 0
    schema = json.loads((tmp_path / "messages.schema.json").read_text())
    assert schema["$schema"].endswith("2020-12/schema")


def test_the_version_is_printed() -> None:
    assert run("version").stdout.strip()
