"""What Schemathesis cannot know of this API; it reads this file by itself (`SCHEMATHESIS_HOOKS`)."""

from __future__ import annotations

import json
from typing import Any

import schemathesis

NDJSON = "application/x-ndjson"


@schemathesis.serializer(NDJSON)
def lines(ctx: schemathesis.SerializationContext, value: Any) -> bytes:
    """The body that was made of the schema of one line, as a body of lines; twice, since bodies hold many."""
    line = json.dumps(value).encode()
    return line + b"\n" + line + b"\n"


@schemathesis.deserializer(NDJSON)
def first_line(ctx: schemathesis.DeserializationContext, response: schemathesis.Response) -> Any:
    """What the schema of an answer describes: one line of it."""
    return next((json.loads(line) for line in response.content.split(b"\n") if line), {})
