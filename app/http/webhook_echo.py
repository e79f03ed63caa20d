"""What an item of a webhook was understood as, for whoever sets one up (`?echo=true`). No address is in it."""

from __future__ import annotations

from typing import Any

from app.core.decision.ids import parse_id
from app.core.webhooks.masking import kept_reason, masked, shown_url
from app.core.webhooks.provider import Aside
from app.flows.take_webhooks import Line
from app.http.customer_view import iso


def echoed(provider: str, line: Line) -> dict[str, Any]:
    """One outcome. Of what changes nothing only the type and the time are of interest."""
    said, heard, taken = line.said, line.heard, line.taken
    at_ms = said.at_ms
    if at_ms is None and taken is not None and taken.at_ms:
        at_ms = taken.at_ms
    outcome = None if heard is None else heard.outcome
    rode = parse_id(said.decision_id) if said.decision_id else None
    matched = None if taken is None else taken.decision
    decision = matched or rode
    shown = {
        "index": line.place,
        "event_id": _shown(said.event_id) if outcome is None else outcome.event_id,
        "type": said.type.value,
        "raw_type": _shown(said.raw_type),
        "provider": provider,
        "status": said.type.value if isinstance(said.type, Aside) else "" if taken is None else taken.status.value,
        "recipient_hash": None if heard is None else heard.recipient,
        "occurred_at": None if at_ms is None else iso(at_ms),
        "decision_id": None if decision is None else str(decision),
        "matched": matched is not None,
        "message_id": _shown(said.message_id),
        "machine": (outcome is not None and outcome.machine) or (taken is not None and taken.machine),
        "reason": None if outcome is None else outcome.reason,
        "smtp_code": None if outcome is None else outcome.smtp_code,
        "url": shown_url(said.url),
        "scope": _shown(said.scope),
        "suppressed": None if outcome is None or outcome.suppressed is None else outcome.suppressed.value,
        "user_agent": kept_reason(said.user_agent),
        "effects": [] if taken is None else list(taken.effects),
    }
    return {name: _whole(value) if isinstance(value, str) else value for name, value in shown.items()}


def _shown(text: Any) -> Any:
    """A word of the provider's. Ids of mails look like addresses and are none, but nobody can tell."""
    if not isinstance(text, str):
        return None
    words = text.strip().strip("<>")
    return words if words.replace(" ", "").isalnum() and len(words) <= 64 else masked(words)


def _whole(text: str) -> str:
    """Half a character, which providers' JSON may hold and no answer can, is shown as `?`."""
    return text.encode("utf-8", "replace").decode()
