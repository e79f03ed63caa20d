"""A request for a decision and its answer, where a connection hands them over whole, past ASGI."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from app.http.decide import DecideEndpoint


class Connection(Protocol):
    """What an exchange needs of its connection when its turn comes."""

    def work_on(self, exchange: Exchange) -> None: ...
    def turn_away(self, exchange: Exchange) -> None: ...


class _NoEvent:
    """Stands in for the event that wakes an application: nothing waits for a body that is handed over whole."""

    def set(self) -> None:
        pass


class Exchange:
    """A request for a decision and its answer, in the place of uvicorn's cycle, whose fields its protocol looks at.

    ASGI's scope, its two bodies of messages and the task around them cost as much as the rest of the HTTP work of a
    decision; whole requests for the one hot path do without. Everything unusual goes the usual way.
    """

    __slots__ = (
        "body",
        "budget_s",
        "connection",
        "disconnected",
        "endpoint",
        "first_byte_s",
        "headers",
        "keep_alive",
        "response_complete",
        "response_started",
    )
    message_event = _NoEvent()

    def __init__(
        self, endpoint: DecideEndpoint, headers: list[tuple[bytes, bytes]], first_byte_s: float, keep_alive: bool
    ) -> None:
        self.endpoint = endpoint
        self.headers = headers
        self.first_byte_s = first_byte_s
        self.keep_alive = keep_alive
        self.body = bytearray()
        self.disconnected = False
        self.response_started = False
        self.response_complete = False
        # Only while it waits in line: one that is begun at once never points to its connection, which points to it.
        self.connection: Connection | None = None
        self.budget_s = 0.0

    def begin(self) -> None:
        """It waited in line, and is worked on now."""
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.work_on(self)

    def refuse(self) -> None:
        """It waited in line for nothing."""
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.turn_away(self)
