"""Records of the demo's customers, as a server would have logged them: made by the real deciding and encoding."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from app.core.decision.answer import render
from app.core.decision.failed import unknown_situation, without_facts
from app.core.decision.gate import UNREAD
from app.core.decision.ids import base_of, id_at, pack_id
from app.core.decision.record import Asked, base_of_record, decode, encode
from app.core.decision.replay import kind_of
from app.demo import demo_customers
from app.records_file import RecordsWriter
from policy.bundle import Bundle
from policy.facts import ConsentEntry, Contact, Facts
from tests.support.deciding import DAY_MS, NOW_MS, Decided, decide

MINUTE_MS = 60_000


def demo_facts(customer: dict[str, Any], now_ms: int, contacts: tuple[Contact, ...] = ()) -> Facts:
    """What a decision would read of a demo customer."""
    consent = tuple(
        ConsentEntry(each["purpose"], each["channel"], each["state"], each["basis"], each["source"], 0)
        for each in customer["consent"]
    )
    return Facts(
        now_ms, True, customer["region"], customer["timezone"], customer["language"], consent,
        values=customer["attributes"], as_of_ms={"crm": now_ms - DAY_MS}, contacts=contacts,
    )  # fmt: skip


def demo_decisions(bundle: Bundle, count: int, asked: int = 5) -> Iterator[Decided]:
    """Requests for a weekly offer (every fourth also for a receipt), each customer five times in eight days or in
    four hours, so that limits are hit. Every tenth customer browses."""
    made = 0
    for number, customer in enumerate(demo_customers(count, 7)):
        contacts: tuple[Contact, ...] = ()
        for times in range(asked):
            if made == count:
                return
            made += 1
            now_ms = NOW_MS + number * 10 * MINUTE_MS + times * (2 * DAY_MS if number % 3 else 60 * MINUTE_MS)
            placements = ["weekly_offer", "order_receipt"] if number % 4 == 0 else ["weekly_offer"]
            decided = decide(
                bundle, demo_facts(customer, now_ms, contacts), placements,
                {"trigger": "browse"} if number % 10 == 0 else {}, seed=number * 100 + times, model=_said(number),
                customer=customer["customer"],
            )  # fmt: skip
            contacts += tuple(_contacts(decided, bundle))
            yield decided


def _said(number: int) -> Any:
    return lambda message: hashlib.blake2b(f"{number} {message}".encode(), digest_size=1).digest()[0] / 255


def _contacts(decided: Decided, bundle: Bundle) -> Iterator[Contact]:
    record = decode(decided.record, bundle)
    for place, each in enumerate(record.decisions):
        if each.message is not None and each.window is not None:
            packed = pack_id(id_at(record.base, place))
            yield Contact(
                packed, kind_of(each.placement, each.message), each.window.not_before_ms, each.window.not_after_ms
            )


def receipt_without_the_store(bundle: Bundle) -> bytes:
    """The record of a receipt that was sent while nothing could be read, and of an offer that was not."""
    placements = (bundle.placements["order_receipt"], bundle.placements["weekly_offer"])
    seen = unknown_situation(bundle, {}, NOW_MS, 5, "cus_1")
    decisions = [without_facts(placement, seen, {}) for placement in placements]
    base = base_of(0, NOW_MS, 7)
    answers = [render(each, id_at(base, place), None, bundle, False) for place, each in enumerate(decisions)]
    return encode(
        base, Asked("cus_1", placements, {}, 40, None), seen, decisions, answers, [UNREAD, UNREAD], 1, "rel_1"
    )


def write_records(path: Path, bundle: Bundle, raws: list[bytes], aborted: tuple[int, ...] = ()) -> Path:
    """A records file; `aborted` are places in `raws`."""
    with RecordsWriter(path) as writer:
        writer.bundle(bundle.digest, bundle.canonical)
        for raw in raws:
            writer.record(raw)
        for place in aborted:
            writer.aborted(bytes.fromhex(base_of_record(raws[place])))
    return path
