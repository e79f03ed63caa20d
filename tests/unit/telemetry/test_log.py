"""Log lines: JSON, few, and with a net that catches what looks like a direct identifier."""

import io
import json
import logging
from collections.abc import Iterator

import pytest

from app.telemetry import log


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in ("opentelemetry", "urllib3")}
    root.handlers = []
    stream = io.StringIO()
    log.configure(stream)
    yield stream
    root.handlers = handlers
    root.setLevel(level)
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)


def read(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_one_json_object_with_its_fields(lines: io.StringIO) -> None:
    logging.getLogger("app.main").info("ready\nafter %s ms", 812, extra={"bundle": "sha256:abc", "workers": 2})
    (line,) = read(lines)
    assert line.pop("at")
    assert line == {
        "level": "info",
        "logger": "app.main",
        "message": "ready\nafter 812 ms",
        "bundle": "sha256:abc",
        "workers": 2,
    }


@pytest.mark.parametrize(
    "identifier",
    [
        "jane.doe@example.com",
        "Jane+tag@mail.example.com",
        "jane%40example.com",
        "+4915112345678",
        "+49 151 1234 5678",
        "+1 (555) 123-4567",
        "555-123-4567",
        "(555) 123-4567",
        "030 1234 5678",
    ],
)
def test_what_looks_like_an_address_or_a_phone_number_is_masked_wherever_it_stands(
    lines: io.StringIO, identifier: str
) -> None:
    logger = logging.getLogger("app")
    logger.warning("refused %s: not a key", identifier)
    logger.warning(f"refused `{identifier}`, again", extra={"detail": {"seen": [identifier]}, "who": identifier})
    try:
        raise ValueError(f"cannot use {identifier}")
    except ValueError:
        logger.exception("failed")
    assert len(read(lines)) == 3
    assert identifier not in lines.getvalue()
    assert lines.getvalue().count("[masked]") == 5


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-24T08:00:00Z",
        "2026-11-24 08:00:00",
        "listening on http://127.0.0.1:8000",
        "store at 192.168.100.200:6379",
        "store at 192.168.100.200",
        "sha256:0123456789abcdef0123456789abcdef",
        "req_0193f5a2-1234-5678-9012-123456789012",
        "opentelemetry 1.45.2, python 3.11.9",
        "1790000000000 1790000000001",
        "took 12.345 ms of 40",
    ],
)
def test_times_addresses_of_machines_and_ids_are_left_as_they_are(text: str) -> None:
    assert log.mask(text) == text


def test_an_exception_is_part_of_its_line(lines: io.StringIO) -> None:
    try:
        raise RuntimeError("the model is gone")
    except RuntimeError:
        logging.getLogger("app").exception("scoring failed")
    (line,) = read(lines)
    assert "RuntimeError: the model is gone" in str(line["error"])


def test_a_storm_of_degradations_is_one_line_a_period(lines: io.StringIO) -> None:
    now_s = 0.0
    summary = log.Summary(logging.getLogger("app"), "decisions are degraded", period_s=10, clock_s=lambda: now_s)
    for second in range(25):
        now_s = float(second)
        summary.note("facts_unavailable")
        summary.note("model_timeout", 2)
    summary.flush()
    summary.flush()
    counts = [line["counts"] for line in read(lines)]
    assert counts == [
        {"facts_unavailable": 1},
        {"facts_unavailable": 10, "model_timeout": 20},
        {"facts_unavailable": 10, "model_timeout": 20},
        {"facts_unavailable": 4, "model_timeout": 10},
    ]
