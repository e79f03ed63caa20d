"""What happened to what a decision sent, as people read it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.core.decision.answer import instant
from app.core.rewards import FIELD, reward_kept
from app.core.standing import Known, by_person, stage
from policy.codes import OutcomeType


def outcome_view(stored: Mapping[bytes, bytes]) -> dict[str, Any]:
    """From the hash that the store keeps of a decision; empty: nothing was told yet.

    `stage` is how far the contact has come; times are of the first `delivered`, and of the latest of the others. Looks
    of machines have none. `reward` is absent until its window closed, and null where the message was not seen.
    """
    known = Known.of(stored)
    latest = {each.type: each.at_ms for each in known.told}  # they are in order of time
    times = {
        "sent_at": latest.get(OutcomeType.SENT),
        "delivered_at": known.delivered_ms,
        "engaged_at": known.engaged_ms if by_person(known.engaged_ms, known.delivered_ms) else None,
        "responded_at": known.responded_ms if by_person(known.responded_ms, known.delivered_ms) else None,
    }
    shown: dict[str, Any] = {"stage": stage(known).value, "told": len(known.told)}
    shown |= {name: instant(at_ms) for name, at_ms in times.items() if at_ms is not None}
    if FIELD in stored:
        kept = stored[FIELD].decode()
        shown["reward"] = reward_kept(kept)
        if kept.startswith("!"):
            shown["unexposed"] = kept[1:]
    return shown
