"""A whole answer as bytes, for where no ASGI messages are exchanged."""

from __future__ import annotations

from collections.abc import Callable

from uvicorn.protocols.http.httptools_impl import STATUS_LINE


class Reply:
    """The whole answer to one request, and what is left to do when it has been sent."""

    __slots__ = ("_observe", "body", "headers", "status")

    def __init__(
        self, status: int, headers: list[tuple[bytes, bytes]], body: bytes, observe: Callable[[], None] | None = None
    ) -> None:
        self.status = status
        self.headers = headers  # without `content-length`
        self.body = body
        self._observe = observe

    def wire(self, keep_alive: bool) -> bytes:
        """As it goes over HTTP/1.1."""
        lines = [b"%b: %b\r\n" % header for header in self.headers]
        if not keep_alive:
            lines.append(b"connection: close\r\n")
        head = b"".join([STATUS_LINE[self.status], *lines])
        return b"%bcontent-length: %d\r\n\r\n%b" % (head, len(self.body), self.body)

    def observe(self) -> None:
        """Count and trace. After the answer, so that nobody waits for it."""
        if self._observe is not None:
            self._observe()
