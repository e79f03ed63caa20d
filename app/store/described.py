"""All that a profile holds, by name, whatever bundle it was written under: for people and tools, not for decisions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from app.store.fields import FieldRegistry
from app.store.profile import (
    GENERAL_VERSION,
    LANGUAGE,
    LEDGER_VERSION,
    MARKS,
    MERGE,
    REGION,
    TIMEZONE,
    UPDATED,
    consent_entry,
    is_consent,
    kind_of_name,
    merge_of,
    outcome_names,
    registered,
    suppression_of,
    whole_ms,
)
from policy.facts import ConsentEntry, PastOutcome, Suppression


@dataclass(frozen=True, slots=True)
class Profile:
    """All that a profile holds."""

    region: str | None
    timezone: str | None
    language: str | None
    attributes: Mapping[str, Any]  # JSON scalars
    as_of_ms: Mapping[str, int]  # owner → when it last wrote
    set_at_ms: Mapping[str, int]  # attribute with a deadline of its own → when it was set
    consent: tuple[ConsentEntry, ...]
    suppressions: tuple[tuple[Suppression, str], ...]  # with their sources
    preferences: Mapping[str, Any]
    outcomes: tuple[PastOutcome, ...]
    exposures: Mapping[str, str]  # trial → the arm in which the customer was seen first
    merge_pending: bool
    updated_ms: int
    general_version: int
    ledger_version: int


def describe_profile(stored: Mapping[bytes, bytes], registry: FieldRegistry) -> Profile:
    """A profile by name. Raises `UnknownField` when any id is not in the registry: refresh it and try again."""
    plain = [(field, raw) for field, raw in stored.items() if field[0] not in MARKS]
    marked = {mark: [(f[1:], raw) for f, raw in stored.items() if f[:1] == mark] for mark in (b"@", b"%", b"=")}
    times = {registry.name_of(field_id) or "": whole_ms(raw) for field_id, raw in marked[b"@"]}
    return Profile(
        region=_text(stored, REGION),
        timezone=_text(stored, TIMEZONE),
        language=_text(stored, LANGUAGE),
        attributes={registered(registry, f, "a:"): orjson.loads(raw) for f, raw in plain if not is_consent(f)},
        as_of_ms={name[2:]: at_ms for name, at_ms in times.items() if name.startswith("o:")},
        set_at_ms={name[2:]: at_ms for name, at_ms in times.items() if name.startswith("a:")},
        consent=tuple(consent_entry(field, raw, registry) for field, raw in plain if is_consent(field)),
        suppressions=tuple(_stop(field, raw, registry) for field, raw in stored.items() if field[:1] == b"-"),
        preferences={name.decode(): orjson.loads(raw) for name, raw in marked[b"%"]},
        outcomes=tuple(_outcome(field, raw, registry) for field, raw in stored.items() if field[:1] == b"+"),
        exposures={registered(registry, trial, "x:"): arm.decode() for trial, arm in marked[b"="]},
        merge_pending=merge_of(stored.get(MERGE))[0],
        updated_ms=int(stored.get(UPDATED, 0)),
        general_version=int(stored.get(GENERAL_VERSION, 0)),
        ledger_version=int(stored.get(LEDGER_VERSION, 0)),
    )


def _stop(field: bytes, raw: bytes, registry: FieldRegistry) -> tuple[Suppression, str]:
    return suppression_of(field, raw), registered(registry, raw.partition(b",")[2], "s:")


def _outcome(field: bytes, raw: bytes, registry: FieldRegistry) -> PastOutcome:
    return PastOutcome(*outcome_names(field, registry, kind_of_name), whole_ms(raw))


def _text(stored: Mapping[bytes, bytes], field: bytes) -> str | None:
    raw = stored.get(field)
    return None if raw is None else raw.decode()
