"""The same HTTP server, parsing the request and answering a constant: no store, no model, no framework.

What is measured here is the ceiling of one Python worker. The constant is as long as a real answer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import orjson

ANSWER = orjson.dumps(
    {
        "request_id": "req_00000000000000000000000000",
        "customer": "0",
        "decisions": [
            {
                "decision_id": "dec_00000000000000000000000000",
                "placement": "standard",
                "action": "send",
                "rung": "model",
                "reason": "model_ranked",
                "message": {"id": "m0", "version": 1, "variant": "default", "template": "standard", "params": {}},
                "score": 0.5,
                "propensity": 1.0,
                "arm": "treatment",
                "degraded": [],
                "funnel": {"candidates": 20, "eligible": 20, "scored": 20, "admissible": 20},
                "retryable": False,
            }
        ],
        "release": "rel_00000000",
        "bundle": "sha256:" + "0" * 64,
        "budget_ms": 40,
        "elapsed_ms": 0.1,
    }
)
HEADERS = [(b"content-type", b"application/json"), (b"content-length", str(len(ANSWER)).encode())]

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Read the whole body, parse it, answer."""
    if scope["type"] != "http":
        return
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    if body:  # a readiness probe has none
        orjson.loads(body)
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": ANSWER})
