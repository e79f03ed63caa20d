"""`POST /v1/decide/batch` on a real server and store: what callers send, and what they get."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import httpx
import pytest

from app.core.lines import LineSplitter
from app.errors import PROBLEMS
from app.flows.batch import LINE_BYTES_MAX
from app.settings import DEMO_BUNDLE
from tests.support.contract import PATIENT_MS, Caller, problem
from tests.support.serving import Server

NDJSON = {"content-type": "application/x-ndjson"}
Lines = list[dict[str, Any]]


def line(customer: Any, *placements: str, **more: Any) -> bytes:
    """A line; keyword arguments are further members."""
    body = {"customer": customer, "placements": list(placements or ("weekly",)), "budget_ms": PATIENT_MS}
    return json.dumps(body | more).encode()


def answers(response: httpx.Response) -> Lines:
    assert (response.status_code, response.headers["content-type"]) == (200, "application/x-ndjson"), response.text
    assert not response.content or response.content.endswith(b"\n")
    return [json.loads(text) for text in response.content.splitlines()]


def batch(caller: Caller, body: bytes) -> Lines:
    return answers(caller.http.post("/v1/decide/batch", content=body, headers=NDJSON))


def wait_for_a_place(caller: Caller) -> None:
    """A batch that has ended, however it did, leaves its place within a moment."""
    give_up_at = time.monotonic() + 10
    while caller.http.post("/v1/decide/batch", content=b"", headers=NDJSON).status_code == 503:
        assert time.monotonic() < give_up_at


def counted(caller: Caller, result: str) -> float:
    """Lines with this result so far."""
    series = f'nextbest_batch_lines_total{{result="{result}"}} '
    return next(
        float(text.removeprefix(series)) for text in caller.http.get("/metrics").text.splitlines() if series in text
    )


def without_chance(answer: dict[str, Any]) -> dict[str, Any]:
    """What is the same whenever the same thing is decided: no ids, no times, no draw of a variant."""
    for decision in answer["decisions"]:
        for passing in ("decision_id", "send_window"):
            del decision[passing]
        if decision["message"] is not None:
            decision["message"] |= {"variant": "", "subject": ""}
    return answer | {"request_id": "", "elapsed_ms": 0}


def test_a_line_gets_what_a_single_request_would_get(caller: Caller) -> None:
    asked = [("weekly", "second"), ("ruled",), ("receipt",), ("weekly",)]
    customers = [caller.customer(), caller.customer(consent=[]), caller.stranger(), {"user_id": "nobody"}]
    single = [
        caller.ask(customer, *placements, dry_run=True, explain=True).json()
        for customer, placements in zip(customers, asked, strict=True)
    ]
    many = batch(
        caller,
        b"\n".join(
            line(customer, *placements, dry_run=True, explain=True)
            for customer, placements in zip(customers, asked, strict=True)
        ),
    )
    assert [without_chance(each) for each in many] == [without_chance(each) for each in single]


def test_each_line_is_a_decision_that_can_be_looked_up(caller: Caller) -> None:
    customers = [caller.customer() for _ in range(30)]
    many = batch(caller, b"\n".join(line(customer) for customer in customers))
    assert [each["customer"] for each in many] == customers
    assert len({each["request_id"] for each in many}) == 30
    record = caller.record(many[7]["decisions"][0]["decision_id"])
    assert record["placement"] == "weekly"


def test_limits_hold_between_lines_of_one_customer(caller: Caller) -> None:
    customer = caller.customer()
    many = batch(caller, b"\n".join([line(customer, "twice")] * 10))
    assert [each["decisions"][0]["action"] for each in many] == ["send"] * 2 + ["suppress"] * 8


def test_a_bad_line_is_a_problem_with_its_number_and_ends_nothing(caller: Caller) -> None:
    customer = caller.customer()
    good = line(customer, dry_run=True)
    text = [
        good,
        b"",
        b"{not json",
        b"  \t ",
        b'{"customer": "\xff\xfe", "placements": ["weekly"]}',
        line(customer, "nowhere"),
        line(customer, context={"shoe_size": 43}),
        line("reader@example.com"),
        line(customer, budget_ms=1),
        line(customer, idempotency_key="a b"),
        b'{"customer": "' + b"x" * LINE_BYTES_MAX + b'"}',
        b"[]",
        good,
    ]
    many = batch(caller, b"\r\n".join(text))
    assert [(each.get("line"), each.get("code")) for each in many] == [
        (None, None),
        (3, "malformed_json"),
        (5, "malformed_json"),
        (6, "unknown_placement"),
        (7, "unknown_context"),
        (8, "direct_identifier"),
        (9, "invalid_budget"),
        (10, "invalid_idempotency_key"),
        (11, "payload_too_large"),
        (12, "invalid_request"),
        (None, None),
    ]
    for each in many[1:-1]:
        status, title = PROBLEMS[each["code"]]
        assert (each["type"], each["title"], each["status"]) == (f"urn:nextbest:problem:{each['code']}", title, status)
        assert each["detail"]
    assert "example.com" not in json.dumps(many)


def test_a_longest_line_passes(caller: Caller) -> None:
    good = line(caller.customer(), dry_run=True)
    assert "decisions" in batch(caller, good.ljust(LINE_BYTES_MAX) + b"\n")[0]


@pytest.mark.parametrize("body", [b"", b"\n", b"\r\n \n"])
def test_no_lines_get_no_answers(caller: Caller, body: bytes) -> None:
    assert batch(caller, body) == []


def test_a_batch_that_is_sent_again_gets_the_same_answers_line_by_line(caller: Caller) -> None:
    body = b"\n".join(line(caller.customer(), "once", idempotency_key=f"key-{number}") for number in range(20))
    first = caller.http.post("/v1/decide/batch", content=body, headers=NDJSON)
    again = caller.http.post("/v1/decide/batch", content=body, headers=NDJSON)
    assert {each["decisions"][0]["action"] for each in answers(first)} == {"send"}
    assert again.content == first.content


def test_a_key_that_was_used_for_another_line_is_refused(caller: Caller) -> None:
    customer = caller.customer()
    many = batch(caller, line(customer, idempotency_key="k") + b"\n" + line(customer, "ruled", idempotency_key="k"))
    assert (many[1]["line"], many[1]["code"]) == (2, "idempotency_key_reused")


def test_lines_are_counted_by_result(caller: Caller) -> None:
    before = counted(caller, "answered"), counted(caller, "problem")
    batch(caller, b"{\n" * 3 + line(caller.stranger()) + b"\n\n")
    assert (counted(caller, "answered"), counted(caller, "problem")) == (before[0] + 1, before[1] + 3)


@pytest.mark.parametrize(
    "kind", ["application/x-ndjson", "application/jsonl; charset=utf-8", "text/plain", "application/octet-stream", None]
)
def test_whatever_may_be_lines_is_accepted(caller: Caller, kind: str | None) -> None:
    headers = {} if kind is None else {"content-type": kind}
    assert len(answers(caller.http.post("/v1/decide/batch", content=line(caller.stranger()), headers=headers))) == 1


@pytest.mark.parametrize(
    "headers",
    [{"content-type": "multipart/form-data; boundary=x"}, {"content-type": "Text/CSV"}, {"content-encoding": "gzip"}],
)
def test_what_cannot_be_lines_is_refused_before_anything_is_read(caller: Caller, headers: dict[str, str]) -> None:
    problem(caller.http.post("/v1/decide/batch", content=b"x", headers=headers), 415, "unsupported_media_type")


def test_only_posts_are_understood(caller: Caller) -> None:
    problem(caller.http.get("/v1/decide/batch"), 405, "method_not_allowed")


def test_the_document_describes_lines_and_answers(caller: Caller) -> None:
    operation = caller.http.get("/openapi.json").json()["paths"]["/v1/decide/batch"]["post"]
    described = operation["requestBody"]["content"]["application/x-ndjson"]["schema"]["properties"]
    assert {"customer", "placements", "idempotency_key"} <= described.keys()
    assert "application/x-ndjson" in operation["responses"]["200"]["content"]


class Stream:
    """A caller on a bare socket, who decides when to write and when to read."""

    def __init__(self, url: str, buffer_bytes: int = 64 * 1024) -> None:
        self._socket = socket.socket()
        # Set before the connection is made, or the system finds a size of its own.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
        self._socket.settimeout(20)
        at = httpx.URL(url)
        self._socket.connect((at.host, at.port))
        self._socket.sendall(
            b"POST /v1/decide/batch HTTP/1.1\r\nhost: example.com\r\ntransfer-encoding: chunked\r\n"
            b"content-type: application/x-ndjson\r\n\r\n"
        )
        self._file = self._socket.makefile("rb")
        self._status: int | None = None

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._socket.close()

    def write(self, *lines: bytes) -> None:
        text = b"".join(each + b"\n" for each in lines)
        self._socket.sendall(b"%x\r\n%s\r\n" % (len(text), text))

    def end(self) -> None:
        self._socket.sendall(b"0\r\n\r\n")

    def read(self) -> Iterator[dict[str, Any]]:
        """Answers as they come, until the stream ends as it should."""
        while self._status is None or self._file.readline().strip():
            self._status = self._status or int(self._file.readline().split()[1])
            if self._status != 200:
                return
        splitter = LineSplitter(1 << 20)
        while size := int(self._file.readline(), 16):
            for each in splitter.feed(self._file.read(size)):
                yield json.loads(cast(bytes, each.text))
            self._file.readline()


def test_an_answer_comes_before_the_next_line_is_sent(server: Server, caller: Caller) -> None:
    customers = [caller.customer() for _ in range(5)]
    with Stream(server.url) as stream:
        reading: Iterator[dict[str, Any]] | None = None
        for customer in customers:
            stream.write(line(customer))
            reading = reading or stream.read()
            assert next(reading)["customer"] == customer
        stream.end()
        assert reading is not None
        assert list(reading) == []


def test_a_caller_who_writes_all_before_reading_any_gets_all(server: Server) -> None:
    """Far more answers than all buffers on the way hold: what is not read waits in a file."""
    bad = json.dumps({f"unknown_{number}": 0 for number in range(100)}).encode()  # a problem of some 10 KB
    count = 1500
    with Stream(server.url) as stream:
        for _ in range(count // 100):
            stream.write(*[bad] * 100)
        stream.end()
        size = 0
        for number, each in enumerate(stream.read(), 1):
            assert (each["line"], each["code"]) == (number, "invalid_request")
            size += len(json.dumps(each))
    assert number == count
    assert size > 10_000_000


@pytest.mark.clock
def test_single_requests_are_answered_while_batches_run(server: Server, caller: Caller) -> None:
    customer = caller.customer()
    with ThreadPoolExecutor() as threads:
        running = threads.submit(batch, caller, b"\n".join([line(caller.stranger(), dry_run=True)] * 1000))
        answered = 0
        with httpx.Client(base_url=server.url) as http:
            while not running.done():
                assert Caller(http).ask(customer, dry_run=True).status_code == 200
                answered += 1
        assert len(running.result()) == 1000
    assert answered > 10


def test_more_batches_than_a_process_takes_are_shed(server: Server, caller: Caller) -> None:
    streams = [Stream(server.url) for _ in range(4)]
    for stream in streams:
        stream.write(line(caller.stranger()))
        next(stream.read())  # it is under way
    refused = caller.http.post("/v1/decide/batch", content=b"{}", headers=NDJSON)
    assert problem(refused, 503, "overloaded")
    assert refused.headers["retry-after"] == "10"
    for stream in streams:
        with stream:
            stream.end()
    wait_for_a_place(caller)


def test_a_caller_who_leaves_frees_its_place_and_stops_the_work(server: Server, caller: Caller) -> None:
    before = counted(caller, "answered")
    for _ in range(4):
        with Stream(server.url) as stream:
            stream.write(*[line(caller.stranger(), dry_run=True)] * 100)
            next(stream.read())
            stream.write(*[line(caller.stranger(), dry_run=True)] * 20_000)
    wait_for_a_place(caller)
    assert counted(caller, "answered") - before < 4 * 20_000


def test_a_server_that_is_stopped_answers_what_it_has_begun_and_says_where_it_ended() -> None:
    with Server(DEMO_BUNDLE) as running, Stream(running.url) as stream:
        ask = line("cus_1", "weekly_offer", dry_run=True)
        stream.write(*[ask] * 100)
        reading = stream.read()
        first = [next(reading) for _ in range(100)]
        assert running._process is not None
        os.kill(running._process.pid, signal.SIGTERM)
        *rest, last = list(reading)
        assert all("decisions" in each for each in [*first, *rest])
        assert (last["line"], last["code"], last["status"]) == (101, "batch_interrupted", 503)
        assert running._process.wait(10) == 0
