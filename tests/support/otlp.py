"""A small real OTLP/HTTP collector: takes protobuf on `POST /v1/traces` and keeps the decoded spans."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Collector:
    """What has been received. Deliveries are answered with `status`, and not at all while `hold` is clear."""

    def __init__(self) -> None:
        self.endpoint = ""
        self.status = 200
        self.hold = threading.Event()
        self.hold.set()
        self.bodies: list[bytes] = []
        self.requests: list[ExportTraceServiceRequest] = []
        self._arrived = threading.Condition()

    def take(self, body: bytes) -> None:
        with self._arrived:
            self.bodies.append(body)
            self.requests.append(ExportTraceServiceRequest.FromString(body))
            self._arrived.notify_all()

    @property
    def spans(self) -> list[Span]:
        return [
            span
            for request in list(self.requests)
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    @property
    def resource(self) -> dict[str, object]:
        return attributes(self.requests[0].resource_spans[0].resource.attributes)

    def wait_for_spans(self, n: int, timeout_s: float = 60.0) -> list[Span]:
        """The spans, once there are `n`. Raises TimeoutError."""
        with self._arrived:
            if not self._arrived.wait_for(lambda: len(self.spans) >= n, timeout_s):
                raise TimeoutError(f"{len(self.spans)} of {n} spans arrived")
        return self.spans

    def wait_for_delivery(self, timeout_s: float = 60.0) -> None:
        """Returns once a first delivery has come in, whatever it is answered with. Raises TimeoutError."""
        with self._arrived:
            if not self._arrived.wait_for(lambda: self.bodies, timeout_s):
                raise TimeoutError("no delivery arrived")


@contextmanager
def collector() -> Iterator[Collector]:
    """A collector on a free port of the loopback interface; `endpoint` is what OTEL_EXPORTER_OTLP_ENDPOINT takes."""
    received = Collector()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(received))
    server.daemon_threads = True
    received.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield received
    finally:
        received.hold.set()
        server.shutdown()
        server.server_close()
        thread.join()


def attributes(pairs: Iterable[KeyValue]) -> dict[str, object]:
    """OTLP's key-value list as a dictionary."""
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> object:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(member) for member in value.array_value.values]
    return None if kind is None else getattr(value, kind)


def _handler(received: Collector) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            right = self.path == "/v1/traces" and self.headers["content-type"] == "application/x-protobuf"
            if right:
                received.take(body)
            received.hold.wait(10)
            answer = ExportTraceServiceResponse().SerializeToString()
            try:
                self.send_response(received.status if right else 400)
                self.send_header("content-type", "application/x-protobuf")
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)
            except OSError:
                self.close_connection = True  # the sender gave up waiting

        def log_message(self, format: str, *args: object) -> None:
            """Tests read what was received, not a log."""

    return Handler
