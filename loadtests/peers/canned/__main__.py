"""`python -m loadtests.peers.canned PORT`: answers each POST with one decision, and says what a bundle says.

It looks for no more than the end of a request, so that any load generator is slower than it.
"""

from __future__ import annotations

import asyncio
import json
import sys

import uvloop

from loadtests.driver import content_length

PLACEMENT = {"id": "standard", "channel": "email", "class": "marketing", "purpose": "marketing"}
DECISION = {
    "decision_id": "dec_0110197a1c2b3c4d5e6f70819200",
    "placement": "standard",
    "action": "send",
    "rung": "model",
    "reason": "model_ranked",
    "message": {"id": "m0", "version": 1, "variant": None, "template": "t0", "subject": None, "params": {}},
    "retryable": False,
}


def answer(said: object) -> bytes:
    body = json.dumps(said).encode()
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


DECIDED = answer({"customer": "load00000", "decisions": [DECISION]})
SERVED = answer({"placements": [PLACEMENT]})


class Canned(asyncio.Protocol):
    """One request at a time on a connection, as load generators send them."""

    def __init__(self) -> None:
        self._part = b""
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # a stream's transport can write

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        data = self._part + data
        end = data.find(b"\r\n\r\n")
        if end < 0 or (data.startswith(b"POST") and len(data) < end + 4 + content_length(data, end)):
            self._part = data
            return
        self._part = b""
        self._transport.write(DECIDED if data.startswith(b"POST") else SERVED)


async def serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Canned, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(int(sys.argv[1])))
