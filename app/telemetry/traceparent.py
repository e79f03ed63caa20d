"""The caller's trace, from the `traceparent` header: W3C Trace Context, https://www.w3.org/TR/trace-context/#traceparent-header.

A malformed header is ignored, as the standard asks: a trace is then started here. `tracestate` is neither read nor
passed on, because a decision calls nobody who could continue the trace.
"""

from __future__ import annotations

import random
import re
from typing import NamedTuple

#: Lower-case hexadecimal only. Versions after 00 may append fields after another dash; ff is forbidden.
_TRACEPARENT = re.compile(rb"(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED = 0x01


class TraceContext(NamedTuple):
    """The trace that a request belongs to. `parent_id` is the caller's span, 0 when the trace starts here; `sampled`
    says that the caller keeps its part of the trace."""

    trace_id: int  # 16 bytes, never 0
    parent_id: int  # 8 bytes
    sampled: bool


def trace_context(header: bytes | None) -> TraceContext:
    """The caller's context when the header is well formed, a new one otherwise."""
    if header is not None and (found := parse_traceparent(header)) is not None:
        return found
    return TraceContext(random.getrandbits(128) or 1, 0, False)


def parse_traceparent(header: bytes) -> TraceContext | None:
    """The caller's context, or None when the header is malformed."""
    match = _TRACEPARENT.fullmatch(header)
    if match is None:
        return None
    version, trace_id, parent_id, flags, more = match.groups()
    if more is not None and version == b"00":
        return None
    context = TraceContext(int(trace_id, 16), int(parent_id, 16), bool(int(flags, 16) & _SAMPLED))
    return context if context.trace_id and context.parent_id else None
