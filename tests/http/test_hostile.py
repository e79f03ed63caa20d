"""What attackers send: bodies that cost more than they weigh, names that lead elsewhere, lines in the wrong place.

Webhooks have their own cases (`tests/unit/webhooks/test_security.py`), what unpacks too large is in `test_events.py`,
what arrives too slowly in `test_protocol.py`.
"""

from __future__ import annotations

import ast
import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.http.server_config import Limits
from app.settings import Settings
from app.store.keys import Keys
from tests.support.serving import Server

ROOT = Path(__file__).resolve().parents[2]
NDJSON = {"content-type": "application/x-ndjson"}
#: Routes that read JSON, with where a hostile value is put.
BODIES: dict[str, tuple[str, str]] = {
    "decide": ("POST", "/v1/decide"),
    "customer": ("PUT", "/v1/customers/cus_hostile"),
    "consent": ("PUT", "/v1/customers/cus_hostile/consent/marketing/email"),
    "suppression": ("PUT", "/v1/customers/cus_hostile/suppressions/email"),
    "events": ("POST", "/v1/events"),
    "track": ("POST", "/v1/track"),
    "batch": ("POST", "/v1/batch"),
    "outcome": ("POST", "/v1/decisions/dec_0110197a1c2b3c4d5e6f70819200/outcomes"),
    "switch": ("PUT", "/v1/switches/message/nothing"),
    "webhook": ("POST", "/v1/webhooks/generic"),
}
#: Streamed: one line of it.
LINES = {"decide": "/v1/decide/batch", "customers": "/v1/customers/bulk", "suppressions": "/v1/suppressions/bulk"}
DEEP = 100_000
HOSTILE: dict[str, bytes] = {
    "deep arrays": b"[" * DEEP,
    "deep arrays, closed": b"[" * (DEEP // 2) + b"]" * (DEEP // 2),
    "deep objects": b'{"customer":' * (DEEP // 12) + b"1" + b"}" * (DEEP // 12),
    "a huge number": b'{"customer": "c", "placements": ["weekly_offer"], "budget_ms": 1' + b"0" * 5000 + b"}",
    "a huge exponent": b'{"customer": "c", "placements": ["weekly_offer"], "budget_ms": 1e99999}',
    "not a number": b'{"customer": "c", "placements": ["weekly_offer"], "budget_ms": NaN}',
    "a lone surrogate": b'{"customer": "\\ud800", "placements": ["weekly_offer"], "event": "\\udfff"}',
    "a zero byte": b'{"customer": "c\\u0000c", "placements": ["\\u0000"], "type": "\\u0000", "event": "\\u0000"}',
    "a raw zero byte": b'{"customer": "c\x00", "placements": ["weekly_offer"]}',
    "no UTF-8": b'{"customer": "\xc3\x28", "placements": ["\xed\xa0\x80"]}',
    "one key many times": b"{" + b'"customer": "c",' * 5_000 + b'"placements": ["weekly_offer"]}',
    "many keys": json.dumps({f"key_{n}": n for n in range(10_000)}).encode(),
    "a long key": json.dumps({"k" * 100_000: 1}).encode(),
    "a long id": json.dumps({"customer": "c" * 100_000, "placements": ["weekly_offer"]}).encode(),
    "nothing": b"",
    "a byte order mark": b'\xef\xbb\xbf{"customer": "c"}',
    "UTF-16": '{"customer": "c"}'.encode("utf-16"),
}


@pytest.fixture(scope="module")
def http(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=20) as client:
        yield client


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_body_is_refused_or_put_aside_and_breaks_nothing(http: httpx.Client, what: str) -> None:
    body = HOSTILE[what]
    for route, (method, path) in BODIES.items():
        answer = http.request(method, path, content=body, headers={"content-type": "application/json"})
        assert answer.status_code < 500, (route, answer.text)
        assert answer.status_code >= 400 or route in {"events", "track", "batch"}, (route, answer.text)
    for route, path in LINES.items():
        answer = http.post(path, content=body.replace(b"\n", b" ") + b"\n", headers=NDJSON)
        assert answer.status_code == 200, (route, answer.text)
        assert b'"internal"' not in answer.content, (route, answer.text)


@pytest.mark.parametrize("path", LINES.values())
@pytest.mark.parametrize("header", [{"content-encoding": "gzip"}, {"content-type": "text/csv"}])
def test_what_cannot_be_lines_is_refused_whole_and_not_line_by_line(
    http: httpx.Client, path: str, header: dict[str, str]
) -> None:
    """A list whose every line is refused under an answer of 200 would be lost without a status that says so."""
    body = b'{"customer": "cus_hostile", "region": "DE", "reason": "manual", "source": "care"}\n'
    answer = http.post(path, content=body, headers=header)
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")


def test_many_keys_cost_no_more_than_as_many_other_bytes(http: httpx.Client) -> None:
    """Texts are hashed with a secret of each process, so that keys which collide cannot be made beforehand. And all
    keys of an object are bounded by the body: at its limit it is refused in a moment."""
    body = json.dumps(
        {"customer": "c", "placements": ["weekly_offer"], "context": dict.fromkeys(map(str, range(25_000)))}
    )
    begun = time.perf_counter()
    answer = http.post("/v1/decide", content=body)
    assert answer.status_code in {413, 422}
    assert time.perf_counter() - begun < 2


def test_text_hashes_differ_from_process_to_process(server: Server) -> None:
    """Nothing that ships may fix their secret, nor does whatever starts a server."""
    assert server._process is not None
    assert b"PYTHONHASHSEED" not in Path(f"/proc/{server._process.pid}/environ").read_bytes()
    command = [sys.executable, "-c", "print(hash('customer'))"]
    told = [subprocess.run(command, check=True, capture_output=True).stdout for _ in range(2)]
    assert told[0] != told[1]
    shipped = [path for folder in ("app", "policy", "models", "deploy") for path in (ROOT / folder).rglob("*.*")]
    for path in (*shipped, ROOT / "Makefile", ROOT / "pyproject.toml"):
        if path.suffix in {".py", ".yaml", ".yml", ".toml", ""}:
            assert "PYTHONHASHSEED" not in path.read_text(), path


@pytest.mark.parametrize(
    "path",
    [
        "/docs/static/../../etc/passwd", "/docs/static/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/docs/static/..%2f..%2fetc%2fpasswd",
        "/docs/static//etc/passwd", "/docs/static/....//....//etc/passwd", "/docs/static/%00", "/../../etc/passwd",
    ],
)  # fmt: skip
def test_no_path_leads_out_of_the_pages(server: Server, path: str) -> None:
    with socket.create_connection(("127.0.0.1", httpx.URL(server.url).port or 0), timeout=5) as raw:
        raw.sendall(f"GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: raw.recv(65536), b""))
    assert re.match(rb"HTTP/1\.1 4\d\d ", answer), answer[:200]
    assert b"root:" not in answer


@pytest.mark.parametrize(
    "name", ["..", "../../etc/passwd", "..%2f..%2fetc", "a/b", "a\x00b", "c:d", "*", "{s000}", "a b", "a\nb", "ü", ""]
)
def test_no_name_of_a_customer_leads_to_another_key_of_the_store(http: httpx.Client, name: str) -> None:
    url = httpx.URL(http.base_url).copy_with(raw_path=b"/v1/customers/" + _quoted(name))
    answer = http.request("PUT", url, json={})
    assert answer.status_code in {404, 405, 422}, answer.text
    decided = http.post("/v1/decide", json={"customer": name, "placements": ["weekly_offer"]})
    assert decided.status_code == 422, decided.text


def _quoted(name: str) -> bytes:
    return "".join(f"%{byte:02X}" for byte in name.encode()).encode()


def test_a_customer_s_keys_of_the_store_hold_its_name_and_nothing_else() -> None:
    keys = Keys(256).of("cus_1")
    assert {bytes(each).rpartition(b":")[2] for each in (keys.profile, keys.features, keys.ledger)} == {b"cus_1"}


@pytest.mark.parametrize("field", ["user-agent", "x-request-id", "traceparent", "idempotency-key", "host"])
def test_what_a_header_says_is_in_no_header_of_the_answer(server: Server, field: str) -> None:
    """So that nothing can be put into an answer by a request, whatever a proxy makes of a line's end."""
    word = "injected-word"
    headers = {"host": "localhost", field: word}
    answer = httpx.post(f"{server.url}/v1/decide", json={"customer": "c", "placements": ["none"]}, headers=headers)
    assert word not in str(answer.headers)


@pytest.mark.parametrize(("method", "path"), [("POST", "/v1/batch/"), ("POST", "/v1/decide/"), ("GET", "/v1/bundle/")])
def test_a_path_with_a_slash_too_many_is_unknown_and_leads_nowhere_else(
    http: httpx.Client, method: str, path: str
) -> None:
    """A redirect would carry what the caller names as its host, and clients that take it for success lose events."""
    answer = http.request(method, path, headers={"host": "injected.example.com"}, content=b"{}")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert "injected" not in str(answer.headers)


def test_each_line_of_the_log_is_one_object_whatever_was_sent(server: Server, http: httpx.Client) -> None:
    forged = '\n{"level":"error","message":"forged"}\r\n'
    for path in ("/v1/switches/message/" + _quoted(forged).decode(), "/v1/webhooks/" + _quoted(forged).decode()):
        http.get(path)
    http.post("/v1/events", json=[{"type": forged, "event": forged, "customer": "c"}, {forged: forged}])
    http.post("/v1/webhooks/generic", content=forged.encode())
    http.put("/v1/switches/message/weekly", json={"state": "off", "by": forged, "why": forged})
    for line in server.log().splitlines():
        said = json.loads(line)
        assert said["message"] != "forged"


#: What may ask another machine: Amazon's certificates (`app.core.webhooks.sns_certificate` says which addresses), and
#: commands that ask a server that their operator names.
ASKING = {
    "app/sns_certificates.py",
    "app/why.py",
    "app/welcome.py",
    "app/demo_shop/house.py",
    "app/importing/sending.py",
}
#: What listens, or speaks to processes of its own machine.
LISTENING = {"app/archive.py", "app/serve.py", "app/store/embedded.py", "app/supervisor.py"}
#: What asks an address that only a setting names: the object store of the archive, the collector of traces. The store's
#: own is redis-py's, which `app/store` alone may speak.
TOLD_BY_SETTINGS = {"app/archiving/folder.py", "app/telemetry/pipeline.py"}
CLIENTS = re.compile(
    r"(httpx|httpcore|requests|aiohttp|urllib3|socket|ftplib|smtplib|http\.client|urllib\.request|pyarrow\.fs"
    r"|fsspec|s3fs|opentelemetry\.exporter)(\.|$)"
)
CALLS = {"open_connection", "open_unix_connection", "create_connection", "sock_connect", "FileSystem", "from_uri"}


def _reaches_out(path: Path) -> bool:
    """Whether a module imports, or calls, what opens a connection."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Import():
                names |= {each.name for each in node.names}
            case ast.ImportFrom(module=str(module)):
                names |= {module, *(f"{module}.{each.name}" for each in node.names)}
            case ast.Attribute(attr=called) if called in CALLS:
                return True
    return any(map(CLIENTS.match, names))


def _modules(*folders: str) -> Iterator[Path]:
    return (path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def test_nothing_else_that_is_served_can_be_made_to_ask_another_machine() -> None:
    found = {str(path.relative_to(ROOT)) for path in _modules("app", "policy", "models") if _reaches_out(path)}
    assert found == ASKING | LISTENING | TOLD_BY_SETTINGS


def test_no_route_names_an_address_that_a_setting_should() -> None:
    """What takes an address is out of reach of whatever reads a request."""
    taking = re.compile(r"app\.(archiving\.folder|telemetry\.pipeline)\b|from app\.archiving import")
    assert [path for path in _modules("app/http", "app/flows", "app/core") if taking.search(path.read_text())] == []


# The table of the page


def limits_of_the_page() -> dict[tuple[str, str], list[str]]:
    """Route → the cells of its row in `docs/security.md`."""
    rows: dict[tuple[str, str], list[str]] = {}
    for line in (ROOT / "docs" / "security.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        for method, path in re.findall(r"`(POST|PUT) (/v1[^`]*)`", cells[0]):
            rows[method, path] = cells[1:]
    return rows


def test_every_route_that_reads_a_body_is_in_the_table_of_limits(http: httpx.Client) -> None:
    paths: dict[str, dict[str, Any]] = http.get("/openapi.json").json()["paths"]
    reading = {(method.upper(), path) for path, each in paths.items() for method in each if method in {"post", "put"}}
    assert set(limits_of_the_page()) == reading


#: What stands in the places of a path, so that the body is what is wrong.
NAMES = {
    "decision_id": "dec_0110197a1c2b3c4d5e6f70819200", "customer": "cus_hostile", "purpose": "marketing",
    "channel": "email", "scope": "email", "kind": "message", "name": "nothing", "provider": "generic",
}  # fmt: skip


def test_a_body_over_the_limit_of_its_row_is_refused(server: Server) -> None:
    """One byte more than the page says, of every route whose body is read as a whole. An unsubscribe link is looked at
    first."""
    refused = {}
    for (method, path), cells in limits_of_the_page().items():
        size = re.fullmatch(r"(\d+) (KiB|MiB)", cells[0])
        assert size is not None or cells[0] == "lines", path
        if size is not None and "{token}" not in path:
            over = int(size[1]) * {"KiB": 1024, "MiB": 1024**2}[size[2]] + 1
            refused[path] = httpx.request(method, server.url + path.format(**NAMES), content=b" " * over).status_code
    assert len(refused) > 10
    assert set(refused.values()) == {413}, refused


@pytest.mark.parametrize("path", sorted(LINES.values()))
def test_a_line_over_the_limit_of_its_row_is_refused_and_the_next_one_is_read(http: httpx.Client, path: str) -> None:
    size = re.match(r"(\d+) KiB", limits_of_the_page()["POST", path][1])
    assert size is not None
    line = b'{"customer": "' + b"c" * (int(size[1]) * 1024) + b'"}'
    answer = http.post(path, content=line + b"\n" + b"{}\n", headers=NDJSON)
    assert b"payload_too_large" in answer.content
    assert answer.status_code == 200


def test_a_request_s_head_and_time_are_bounded_as_the_page_says(server: Server, http: httpx.Client) -> None:
    page = (ROOT / "docs" / "security.md").read_text()
    head = re.search(r"^\| head \| (\d+) KiB, (\d+) headers \(431\)", page, re.M)
    time_s = re.search(r"^\| time \| (\d+) s ", page, re.M)
    assert head is not None
    assert time_s is not None
    size, count = int(head[1]) * 1024, int(head[2])
    for more, status in ((size - 2_000, 200), (size, 431)):
        assert http.get("/health/live", headers={"x-long": "x" * more}).status_code == status
    for many, status in ((count - 10, 200), (count + 1, 431)):
        assert http.get("/health/live", headers={f"x-{n}": "" for n in range(many)}).status_code == status
    waits = {Limits().request_timeout_s, Settings.model_fields["request_timeout_s"].default}
    assert waits == {float(time_s[1])}
