"""What is read back from streams and hashes: records of decisions, events, letters, conversions, states of features.

Input: which of them (a byte), and its bytes. A store that was restored, or another program that writes to it, must end
in an error that says so and never in a crash of the process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress

import ormsgpack

from app.core import attribution
from app.core.decision.record import (
    UnreadableRecord,
    base_of_record,
    bundle_digest_of,
    decode,
    heading_of,
    reading_a_record,
)
from app.core.decision.view import view
from app.core.events import entry
from app.core.events.event import Collected, Edge, Letter, Misfit, Misfits
from app.core.features.live import all_features
from app.core.outcome_view import outcome_view
from app.store import waiting
from policy.compile import load
from tests.support import features as feature_support
from tests.support.contract import contract_bundle
from tests.support.deciding import NOW_MS, contact, decide, facts_of, kind

BUNDLE = contract_bundle()
#: What decoding may raise: whoever reads records in numbers sets such a one aside.
DECLARED = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, OSError)
WORDS = (
    b"\x00x\x01", b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xc0", b"\xcb",
    b"\xcf", b"\xff", b"\x7f", b"\x90", b"\x80",
)  # fmt: skip
LIVE = all_features(load(feature_support.FOLDER))


def _record(raw: bytes) -> None:
    for read in (bundle_digest_of, base_of_record, heading_of):
        with suppress(UnreadableRecord):
            hash(read(raw))  # whoever reads looks the name up
    with suppress(UnreadableRecord), reading_a_record():
        record = decode(raw, BUNDLE)
        for place in range(len(record.decisions)):
            view(record, place, False)


def _outcomes(raw: bytes) -> None:
    """A hash as the store keeps it of a decision: names of 8 bytes, a comma, the outcome; one a line."""
    outcome_view({line[:8]: line[9:] for line in raw.split(b"\n")})


def _state(raw: bytes) -> None:
    """Open: a state that cannot be read leaves its features missing, and raises nothing."""
    assert LIVE is not None
    size = len(LIVE.groups)
    at = len(raw) // size
    state = LIVE.state([raw[i * at : (i + 1) * at] or None for i in range(size)])
    same = LIVE.state([raw] * size)
    for each in (state, same):
        if each is not None:
            LIVE.values(each, NOW_MS)


READ: tuple[Callable[[bytes], object], ...] = (
    _record, entry.decode, entry.decode_letter, attribution.Claim.decode, waiting.decode, _outcomes, _state,
)  # fmt: skip


def seeds() -> Iterator[bytes]:
    weekly = BUNDLE.placements["weekly"]
    ledger = (contact(kind(weekly, "alpha"), NOW_MS - 1000, number=7),)
    known = {"recency": 3, "history": 98.4, "newbie": 1, "channel": "Web"}
    yield b"\x00" + decide(BUNDLE, facts_of(known, contacts=ledger), ["weekly", "parcel"], seed=5).record
    many = tuple(contact(kind(BUNDLE.placements["twice"], "alpha"), NOW_MS - n, number=n) for n in range(300, 0, -1))
    yield b"\x00" + decide(BUNDLE, facts_of(contacts=many), ["twice"]).record
    event = Collected("cus_1", "product_viewed", 1, NOW_MS, NOW_MS + 5, bytes(8), bytes(8), {"product_id": "p1"})
    yield b"\x01" + entry.encode(event)
    yield b"\x01" + entry.encode(event._replace(source="shop", edges=(Edge("user_id", bytes(16)),)))
    yield b"\x02" + entry.encode_letter(
        Letter(Misfit(Misfits.BAD_TEXT, "d"), "c", "e", 1, NOW_MS, NOW_MS, bytes(8), {}, (), (), "s", True)
    )
    yield b"\x03" + attribution.Claim("order", NOW_MS, 12.5, bytes(8), "conv:order:1").encode()
    yield b"\x05" + b"\n".join((b"abcdefgh,sent,1796083200000", b"ijklmnop,clicked,1796083201000,,aa,m", b"@1234567,x"))
    assert LIVE is not None
    yield b"\x06" + ormsgpack.packb([NOW_MS, LIVE.groups[0].lane_ids[0], [[0, 1]]])


def run(data: bytes) -> None:
    if not data:
        return
    read = READ[data[0] % len(READ)]
    try:
        read(data[1:])
    except DECLARED:
        assert read is not _state, "features fail open, without an error"
        assert read is not _record, "a broken record is told by one error"
