"""`nextbest import` against a real server: what arrives, what does not, and that it can be broken off."""

from __future__ import annotations

import csv
import json
import threading
from collections.abc import Iterator
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import Result
from typer.testing import CliRunner

from app import cli
from app.importing import progress, run
from app.importing.rows import LOOKED_AT
from tests.support.contract import FOLDER
from tests.support.serving import Server

ADDRESS = "importer@example.com"
DIGEST = sha256(ADDRESS.encode()).hexdigest()


@pytest.fixture
def imports(server: Server, monkeypatch: pytest.MonkeyPatch) -> Any:
    for name in ("BUNDLE", "URL", "KEY"):
        monkeypatch.delenv(f"NEXTBEST_{name}", raising=False)

    def imports(what: str, path: Path, *more: str, url: str = server.url) -> Result:
        return CliRunner().invoke(
            cli.app, ["import", what, str(path), "--bundle", str(FOLDER), "--url", url, "--report", "json", *more]
        )

    return imports


def table(path: Path, *rows: dict[str, Any]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def report(result: Result) -> dict[str, Any]:
    assert result.exit_code in (0, 1), result.output
    found: dict[str, Any] = json.loads(result.stdout)["files"][0]
    return found


def known(http: httpx.Client, customer: str) -> dict[str, Any]:
    answer = http.get(f"/v1/customers/{customer}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


@pytest.fixture
def http(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=60) as client:
        yield client


def test_a_table_of_a_cdp_arrives_with_types_consent_and_a_digest_instead_of_the_address(
    imports: Any, http: httpx.Client, tmp_path: Path
) -> None:
    file = table(
        tmp_path / "profiles.csv",
        {
            "Customer ID": "imp_1",
            "E-Mail": " Imported@Example.com ",
            "Recency": "3",
            "history": "142.5",
            "member": "yes",
            "country": "DE",
            "consent.marketing.email": "granted",
            "as_of": "2026-01-01T00:00:00Z",
            "loyalty": "gold",
        },
    )
    result = imports("customers", file)
    told = report(result)
    assert (told["accepted"], told["rejected"], told["finished"]) == (1, 0, True)
    assert {each["name"]: each["field"] for each in told["columns"]}["loyalty"] is None
    view = known(http, "imp_1")
    assert {name: each["type"] for name, each in view["attributes"].items()} == {
        "recency": "int", "history": "float", "member": "bool",
    }  # fmt: skip
    assert view["region"] == "DE"
    assert [(each["state"], each["at"]) for each in view["consent"]] == [("granted", "2026-01-01T00:00:00.000Z")]
    digest = sha256(b"imported@example.com").hexdigest()
    body = {"customer": {"email_sha256": digest}, "placements": ["weekly"], "dry_run": True, "budget_ms": 2000}
    assert http.post("/v1/decide", json=body).json()["customer"] == "imp_1"


def test_an_address_in_place_of_a_key_never_leaves_the_process(imports: Any, tmp_path: Path) -> None:
    file = table(tmp_path / "profiles.csv", {"customer": ADDRESS, "recency": "3"})
    with Listening() as listening:
        result = imports("customers", file, url=listening.url)
    assert report(result)["codes"] == {"direct_identifier": 1}
    assert ADDRESS not in result.output + progress.rejections(file).read_text()
    assert ADDRESS.encode() not in b"".join(listening.bodies)


def test_an_old_list_undoes_no_withdrawal(imports: Any, http: httpx.Client, tmp_path: Path) -> None:
    http.put(
        "/v1/customers/imp_2/consent/marketing/email", json={"state": "denied", "source": "desk", "basis": "consent"}
    )
    row = {"customer": "imp_2", "purpose": "marketing", "channel": "email", "state": "granted", "at": "2026-01-01"}
    assert report(imports("consent", table(tmp_path / "old.csv", row), "--zone", "UTC"))["accepted"] == 1
    undated = table(tmp_path / "undated.csv", {name: row[name] for name in list(row)[:4]})
    refused = imports("consent", undated)
    assert (refused.exit_code, report(refused)["codes"]) == (1, {"consent_without_time": 1})
    assert [each["state"] for each in known(http, "imp_2")["consent"]] == ["denied"]


def test_stops_are_imported_by_key_and_by_address_and_hold_for_whoever_is_behind_it(
    imports: Any, http: httpx.Client, tmp_path: Path
) -> None:
    http.put("/v1/customers/imp_3", json={"identities": {"email_sha256": DIGEST}})
    file = table(
        tmp_path / "stops.csv",
        {"customer": "imp_4", "email": "", "channel": "email", "reason": "unsubscribed", "at": "2026-02-01T00:00:00Z"},
        {"customer": "", "email": ADDRESS, "channel": "*", "reason": "complaint", "at": ""},
        {"customer": "", "email": "stranger@example.com", "channel": "*", "reason": "manual", "at": ""},
    )
    assert report(imports("suppressions", file))["accepted"] == 3
    assert report(imports("suppressions", file, "--no-resume"))["accepted"] == 3
    (first,) = known(http, "imp_4")["suppressions"]
    assert (first["scope"], first["reason"], first["at"]) == ("email", "unsubscribed", "2026-02-01T00:00:00.000Z")
    assert [each["reason"] for each in known(http, "imp_3")["suppressions"]] == ["complaint"]
    stranger = sha256(b"stranger@example.com").hexdigest()
    body = {"customer": {"email_sha256": stranger}, "placements": ["receipt"], "dry_run": True, "budget_ms": 2000}
    decided = http.post("/v1/decide", json=body).json()["decisions"][0]
    assert decided["reason"] == "suppressed:manual"
    # Whoever claims the address later does not come to be without the stop: they have to become that customer.
    claimed = http.put("/v1/customers/imp_5", json={"identities": {"email_sha256": stranger}})
    assert (claimed.status_code, claimed.json()["code"]) == (409, "identity_conflict")


def test_profiles_may_be_told_by_an_alias_alone(imports: Any, http: httpx.Client, tmp_path: Path) -> None:
    file = tmp_path / "profiles.ndjson"
    file.write_text(
        '{"traits": {"email": "alias@example.com"}, "attributes": {"recency": 4}, "loyalty": {"tier": 1}}\n'
    )
    assert report(imports("customers", file))["accepted"] == 1
    digest = sha256(b"alias@example.com").hexdigest()
    body = {"customer": {"email_sha256": digest}, "placements": ["weekly"], "dry_run": True, "budget_ms": 2000}
    view = known(http, http.post("/v1/decide", json=body).json()["customer"])
    assert list(view["attributes"]) == ["recency"]


def test_members_that_only_late_lines_have_are_not_lost(imports: Any, tmp_path: Path) -> None:
    file = tmp_path / "profiles.ndjson"
    lines = [{"customer": f"imp_l{i}", "attributes": {"recency": 1}} for i in range(LOOKED_AT)]
    file.write_text(
        "\n".join(map(json.dumps, [*lines, {"customer": "imp_last", "attributes": {"history": 7, "x": 1}}]))
    )
    with Listening() as listening:
        told = report(imports("customers", file, "--map", "attributes.x=nickname", url=listening.url))
    assert json.loads(listening.lines()[-1])["attributes"] == {"history": 7, "nickname": "1"}
    assert [each["name"] for each in told["columns"]][-1] == "attributes.history"


def test_a_dry_run_tells_all_and_writes_nothing(imports: Any, http: httpx.Client, tmp_path: Path) -> None:
    file = table(
        tmp_path / "profiles.csv",
        {"customer": "imp_dry", "recency": "3", "nikname": "x"},
        {"customer": "imp_dry2", "recency": "many", "nikname": "x"},
    )
    result = imports("customers", file, "--dry-run", url="http://127.0.0.1:9")
    told = report(result)
    assert (result.exit_code, told["accepted"], told["codes"]) == (1, 1, {"invalid_request": 1})
    assert told["examples"]["invalid_request"][0] == {
        "line": 3,
        "detail": "1 of the values cannot be stored: attributes.recency: expected a whole number",
    }
    assert {"name": "nikname", "field": None, "nearest": "attributes.nickname"} in told["columns"]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["profiles.csv"]
    assert http.get("/v1/customers/imp_dry").status_code == 404


def test_an_import_that_broke_off_goes_on_where_it_was(
    imports: Any, http: httpx.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "BATCH_ROWS", 10)
    rows = [{"customer": f"imp_r{i}", "recency": "x" if i % 10 == 3 else str(i)} for i in range(50)]
    file = table(tmp_path / "profiles.csv", *rows)
    with Listening(answers=2) as listening:
        broken = imports("customers", file, "--patience", "0", url=listening.url)
        assert broken.exit_code == 2
        assert "took nothing" in broken.output
        noted = json.loads(progress.sidecar(file).read_text())
        assert (noted["rows"], noted["accepted"], noted["rejected"], noted["finished"]) == (20, 18, 2, False)
        # What was written just before it was killed, and not noted, comes again and is there once.
        with progress.rejections(file).open("a") as torn:
            torn.write('{"line": 24, "co')
        listening.answers = 100
        again = report(imports("customers", file, url=listening.url))
        assert (again["rows_of_an_earlier_run"], again["accepted"], again["rejected"]) == (20, 45, 5)
        assert len(listening.lines()) == 45
        lines = [json.loads(line)["line"] for line in progress.rejections(file).read_text().splitlines()]
        assert lines == [5, 15, 25, 35, 45]
        assert report(imports("customers", file, url=listening.url))["rows_of_an_earlier_run"] == 50
        assert len(listening.lines()) == 45
        rows[0]["customer"] = "imp_other"
        assert report(imports("customers", table(file, *rows), url=listening.url))["rows_of_an_earlier_run"] == 0


def test_a_server_without_room_is_given_the_time_that_it_asks_for(imports: Any, tmp_path: Path) -> None:
    file = table(tmp_path / "profiles.csv", {"customer": "imp_w", "recency": "3"})
    with Listening(refusals=2) as listening:
        told = report(imports("customers", file, url=listening.url))
    assert told["accepted"] == 1
    assert len(listening.bodies) == 3


def test_another_bundle_than_the_server_s_is_refused(imports: Any, tmp_path: Path) -> None:
    file = table(tmp_path / "profiles.csv", {"customer": "imp_b", "recency": "3"})
    with Listening(bundle="sha256:another") as listening:
        result = imports("customers", file, url=listening.url)
    assert result.exit_code == 2
    assert "another bundle" in result.output


class Listening:
    """A server that takes lines and remembers them: `answers` batches, after `refusals` of them, and then none."""

    def __init__(self, answers: int = 100, refusals: int = 0, bundle: str | None = None) -> None:
        self.answers = answers
        self.refusals = refusals
        self.bundle = bundle
        self.bodies: list[bytes] = []
        self._taken: list[bytes] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                found = {"bundle": outer.bundle} if outer.bundle else {}
                self._say(200 if found else 403, found)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                outer.bodies.append(body)
                if outer.refusals or not outer.answers:
                    outer.refusals = max(0, outer.refusals - 1)
                    self._say(503, {"title": "too much", "detail": "later"}, ("retry-after", "0"))
                    return
                outer.answers -= 1
                lines = body.splitlines()
                outer._taken += lines
                self._say(200, {"accepted": len(lines), "rejected": [], "rejected_total": 0})

            def _say(self, status: int, body: Any, *headers: tuple[str, str]) -> None:
                raw = json.dumps(body).encode()
                self.send_response(status)
                for header in (("content-length", str(len(raw))), *headers):
                    self.send_header(*header)
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def lines(self) -> list[bytes]:
        return self._taken

    def __enter__(self) -> Listening:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
