"""Events and letters as bytes in their streams: MessagePack arrays, append-only. The first element is the layout.

An entry of an event without links takes about 60 bytes and its properties.
"""

from __future__ import annotations

from typing import Any

import ormsgpack

from app.core.events.event import Collected, Edge, Letter, Misfit, Misfits
from app.core.identity import KINDS

LAYOUT = 1
_NUMBER_OF_KIND = {kind: number for number, kind in enumerate(KINDS)}


def encode(event: Collected) -> bytes:
    """An event of the stream. What is empty at the end is left out."""
    parts: list[Any] = [
        LAYOUT,
        event.customer,
        event.type,
        event.version,
        event.occurred_at_ms,
        event.received_at_ms - event.occurred_at_ms,
        event.message_id,
        event.once,
        event.properties,
    ]
    if event.source or event.edges or event.previous or event.known or event.previous_customer:
        parts += [event.source, _flat(event.edges), _flat(event.previous)]
    if event.known or event.previous_customer:
        parts += [event.known, event.previous_customer]
    return ormsgpack.packb(parts)


def decode(raw: bytes) -> Collected:
    """Raises ValueError on what no release wrote."""
    parts = _unpacked(raw)
    _, customer, kind, version, occurred, waited, message_id, once, properties, *rest = parts
    source, edges, previous, *who = rest or ("", (), ())
    return Collected(
        customer,
        kind,
        version,
        occurred,
        occurred + waited,
        message_id,
        once,
        properties,
        _edges(edges),
        _edges(previous),
        source,
        *who,
    )


def encode_letter(letter: Letter) -> bytes:
    """A letter of the dead-letter stream."""
    return ormsgpack.packb(
        [
            LAYOUT,
            letter.misfit.code.value,
            letter.misfit.detail,
            letter.customer,
            letter.type,
            letter.version,
            letter.occurred_at_ms,
            letter.received_at_ms,
            letter.message_id,
            letter.properties,
            _flat(letter.edges),
            _flat(letter.previous),
            letter.source,
            letter.whole,
            letter.known,
            letter.previous_customer,
        ]
    )


def decode_letter(raw: bytes) -> Letter:
    """Raises ValueError on what no release wrote."""
    _, code, detail, customer, kind, version, occurred, received, message_id, properties, *rest = _unpacked(raw)
    edges, previous, source, whole, *who = rest
    return Letter(
        Misfit(Misfits(code), detail),
        customer,
        kind,
        version,
        occurred,
        received,
        message_id,
        properties,
        _edges(edges),
        _edges(previous),
        source,
        whole,
        *who,
    )


def _unpacked(raw: bytes) -> list[Any]:
    parts = ormsgpack.unpackb(raw)
    if not isinstance(parts, list) or not parts or parts[0] != LAYOUT:
        raise ValueError("an entry of another layout")
    return parts


def _flat(edges: tuple[Edge, ...]) -> list[int | bytes]:
    flat: list[int | bytes] = []
    for kind, digest in edges:
        flat += (_NUMBER_OF_KIND[kind], digest)
    return flat


def _edges(flat: Any) -> tuple[Edge, ...]:
    return tuple(Edge(KINDS[number], digest) for number, digest in zip(flat[::2], flat[1::2], strict=True))
