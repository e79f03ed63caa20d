"""Headers that are read: trace, key, idempotency key, content types; each alone, as the first byte says."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from app.core.events.cloudevents import BATCHED, UnknownFormat, binary, mode
from app.http.auth import _key_in
from app.http.decide_body import check_idempotency_key
from app.telemetry.traceparent import TraceContext, parse_traceparent, trace_context
from tests.fuzz.targets.choice import one_of

WORDS = (b"-", b"00", b"ff", b"Bearer ", b"Basic ", b"application/cloudevents", BATCHED.encode(), b"%", b"%00", b"\xff")
TRACE = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def _trace(raw: bytes) -> None:
    found = parse_traceparent(raw)
    context: TraceContext = trace_context(raw)
    assert found is None or found == context
    assert 0 < context.trace_id < 2**128
    assert 0 <= context.parent_id < 2**64


def _idempotency(raw: bytes) -> None:
    check_idempotency_key(raw.decode("latin-1"))


def _content_type(raw: bytes) -> None:
    try:
        mode(raw.decode("latin-1"), raw.split(b"\n"))
    except UnknownFormat:
        return


def _cloud_event(raw: bytes) -> None:
    lines = (line.partition(b":") for line in raw.split(b"\n"))
    binary([(name.lower(), value) for name, _, value in lines], None)


READ: tuple[Callable[[bytes], object], ...] = (_trace, _key_in, _idempotency, _content_type, _cloud_event)


def seeds() -> Iterator[bytes]:
    yield b"\x00" + TRACE
    yield b"\x00" + TRACE.replace(b"00-", b"cc-", 1) + b"-more"
    yield b"\x01Bearer nb_0123456789"
    yield b"\x01Basic bmJfMDEyMzQ1Njc4OTo="
    yield b"\x02weekly-2026-48-1"
    yield b"\x03application/cloudevents-batch+json; charset=utf-8"
    yield b"\x04ce-specversion:1.0\nce-id:1\nce-source:/shop\nce-type:product_viewed/v2\nce-subject:u%20%C3%A4"


run = one_of(READ)
