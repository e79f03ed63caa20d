"""What no server on this stack can do without: reading a request and writing a refusal, and nothing in between.

`python -m loadtests.overload.floor PORT` serves so. Under overload most of what comes is refused, so what that costs
(the system's work on the sockets, mostly) bounds the goodput that is possible.
"""

from __future__ import annotations

import asyncio
import sys

import uvloop

from loadtests.standard.servers import HOST

BODY = b'{"type":"urn:nextbest:problem:overloaded","status":503,"code":"overloaded"}'.ljust(199)
REFUSAL = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\nretry-after: 1\r\n"
    b"server-timing: admit;dur=0.000\r\ncontent-length: 199\r\n\r\n" + BODY
)
READY = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"  # to the one question of who waits for it to start


class Refuses(asyncio.Protocol):
    """A connection that is told the same whatever it asks."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.WriteTransport = transport  # type: ignore[assignment]  # a stream's can write

    def data_received(self, data: bytes) -> None:
        self._transport.write(READY if data.startswith(b"GET") else REFUSAL)


async def serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Refuses, HOST, port)
    await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(int(sys.argv[1])))
