"""Records of the decision log as rows of Parquet: one for each decision, with names where the record has indexes.

| column | |
|---|---|
| `customer`, `shard`, `decided_at`, `appended_at` | whose; when it was decided, and came into its stream (UTC) |
| `decision_id`, `request` | decisions of one request share `request` |
| `placement`, `channel`, `action`, `rung`, `reason`, `detail` | what was decided, and why |
| `message`, `version`, `variant`, `category` | what was chosen; of a holdout, what was withheld |
| `arm`, `trials` | `treatment`, `baseline` or `holdout`; the trials that mattered, as `{trial, arm}` |
| `score`, `probability` | expected value and predicted response of what was chosen; null where no model ranked |
| `propensity`, `variant_propensity` | probability with which it was chosen among the admissible ones; its variant |
| `candidates`, `eligible`, `scored`, `admissible` | how many were left after which step |
| `degraded`, `retryable` | what was missing; whether asking again may help |
| `not_before`, `not_after` | the send window |
| `features`, `as_of`, `context` | JSON: the facts that the decision may have read, how old they were, the context |
| `bundle`, `release`, `model` | under what it was decided |
| `elapsed_us` | until the commit |
| `aborted` | the request was never answered: training and counting skip it. Such a row says only which `request` |
| `position` | the record's id in the stream |
| `unreadable` | the bytes of a record whose bundle is gone, or that no release wrote |
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
import pyarrow as pa

from app.archiving.rows import TIME, RowsOf
from app.core.decision.arbitrate import Decision
from app.core.decision.ids import id_at
from app.core.decision.record import Record, bundle_digest_of, decode, heading_of
from app.core.decision.situation import facts_read
from app.store.archive_positions import Entry, milliseconds
from app.store.bundles import BundleArchive
from app.store.decision_log import ABORTED, RECORD
from policy.bundle import Bundle

SCHEMA = pa.schema(
    [
        ("customer", pa.string()),
        ("shard", pa.uint16()),
        ("decided_at", TIME),
        ("appended_at", TIME),
        ("decision_id", pa.string()),
        ("request", pa.string()),
        ("placement", pa.string()),
        ("channel", pa.string()),
        ("action", pa.string()),
        ("rung", pa.string()),
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("message", pa.string()),
        ("version", pa.int32()),
        ("variant", pa.string()),
        ("category", pa.string()),
        ("arm", pa.string()),
        ("trials", pa.list_(pa.struct([("trial", pa.string()), ("arm", pa.string())]))),
        ("score", pa.float64()),
        ("probability", pa.float64()),
        ("propensity", pa.float64()),
        ("variant_propensity", pa.float64()),
        ("candidates", pa.int16()),
        ("eligible", pa.int16()),
        ("scored", pa.int16()),
        ("admissible", pa.int16()),
        ("degraded", pa.list_(pa.string())),
        ("retryable", pa.bool_()),
        ("not_before", TIME),
        ("not_after", TIME),
        ("features", pa.string()),
        ("as_of", pa.string()),
        ("context", pa.string()),
        ("bundle", pa.string()),
        ("release", pa.string()),
        ("model", pa.string()),
        ("elapsed_us", pa.int64()),
        ("aborted", pa.bool_()),
        ("position", pa.string()),
        ("unreadable", pa.binary()),
    ]
)
_EMPTY: dict[str, Any] = dict.fromkeys(SCHEMA.names)
#: What a record that no release wrote, or none that this one knows, is read with.
UNREADABLE = (ValueError, TypeError, LookupError, AttributeError)


def whose(entry: Entry) -> tuple[str, int] | None:
    """Whom a record is about, and when it was decided; None: that a request was taken back names nobody."""
    try:
        heading = heading_of(entry.fields[RECORD])
    except UNREADABLE:
        return None
    return heading.customer, heading.now_ms


async def with_bundles(bundles: BundleArchive, read: Mapping[int, list[Entry]]) -> RowsOf:
    """What makes rows of these records. Raises redis errors."""
    digests = {digest for entries in read.values() for entry in entries if (digest := _digest(entry)) is not None}
    known = {digest: bundle for digest in sorted(digests) if (bundle := await bundles.get_readable(digest)) is not None}
    return rows_under(known)


def rows_under(known: Mapping[str, Bundle]) -> RowsOf:
    """What makes rows of records, with the bundles that they refer to, by digest."""
    return lambda shard, entry: _rows(shard, entry, known)


def _digest(entry: Entry) -> str | None:
    try:
        return bundle_digest_of(entry.fields[RECORD])
    except UNREADABLE:
        return None


def _rows(shard: int, entry: Entry, known: Mapping[str, Bundle]) -> list[tuple[Any, ...]]:
    place = {"shard": shard, "appended_at": milliseconds(entry.id), "position": entry.id.decode()}
    if (taken_back := entry.fields.get(ABORTED)) is not None:
        return [_tuple(place | {"request": taken_back.hex(), "aborted": True})]
    try:
        record = decode(entry.fields[RECORD], known[bundle_digest_of(entry.fields[RECORD])])
        return [_tuple(place | _row(record, at)) for at in range(len(record.decisions))]
    except UNREADABLE:  # kept as it is, with whose it is where that can be told: an erasure must find it
        about = whose(entry)
        named = {} if about is None else {"customer": about[0], "decided_at": about[1]}
        return [_tuple(place | named | {"unreadable": entry.fields.get(RECORD, b"")})]


def _tuple(values: dict[str, Any]) -> tuple[Any, ...]:
    return tuple((_EMPTY | values).values())


def _row(record: Record, place: int) -> dict[str, Any]:
    decision, facts = record.decisions[place], record.facts
    placement, message, window = decision.placement, decision.message, decision.window
    read = facts_read(placement)
    model = placement.model
    return {
        "customer": record.asked.customer,
        "decided_at": facts.now_ms,
        "decision_id": id_at(record.base, place),
        "request": record.base,
        "placement": placement.id,
        "channel": placement.channel,
        "action": decision.action.value,
        "rung": decision.rung.value,
        "reason": decision.reason.value,
        "detail": decision.detail or None,
        "message": None if message is None else message.id,
        "version": None if message is None else message.version,
        "variant": None if decision.chosen_variant is None else decision.chosen_variant.id,
        "category": None if message is None else message.category,
        "arm": decision.arm.value,
        "trials": [{"trial": trial, "arm": arm} for trial, arm in decision.exposures],
        "score": decision.score,
        "probability": _probability(decision),
        "propensity": decision.propensity,
        "variant_propensity": decision.variant_propensity,
        **decision.funnel._asdict(),
        "degraded": [code.value for code in decision.degraded],
        "retryable": decision.retryable,
        "not_before": None if window is None else window.not_before_ms,
        "not_after": None if window is None else window.not_after_ms,
        "features": orjson.dumps({name: value for name, value in facts.values.items() if name in read}),
        "as_of": orjson.dumps(facts.as_of_ms),
        "context": orjson.dumps(record.asked.context),
        "bundle": record.bundle.digest,
        "release": record.release,
        "model": None if model is None else f"{model.id}@{model.version}",
        "elapsed_us": record.elapsed_us,
        "aborted": False,
    }


def _probability(decision: Decision) -> float | None:
    """What the model said of the chosen message."""
    if decision.position is None or decision.position not in decision.scored:
        return None
    return decision.responses[list(decision.scored).index(decision.position)] if decision.responses else None
