"""`nextbest webhooks`: what the webhook door did not understand, as it was kept."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

from app.command_context import in_words
from app.copy_log import store_address
from app.settings import Settings
from app.store.clients import open_client
from app.store.webhooks import PUZZLES_KEPT, WebhookStore


def puzzles(settings: Settings, address: str | None, provider: str | None) -> list[dict[str, Any]]:
    """Items that were unknown or rejected, the newest first. Raises Trouble."""
    with in_words(), store_address(settings, address) as url:
        found = asyncio.run(_found(url))
    return [_document(each) for each in found if provider in (None, each["provider"])]


async def _found(url: str) -> list[dict[str, str]]:
    async with open_client(url, client_name="nextbest-webhooks") as client:
        return await WebhookStore(client).puzzles(PUZZLES_KEPT)


def _document(puzzle: dict[str, str]) -> dict[str, Any]:
    at = datetime.fromtimestamp(int(puzzle["at_ms"]) / 1000, UTC)
    return {
        "received_at": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "provider": puzzle["provider"],
        "code": puzzle["code"],
        "raw_type": puzzle["type"] or None,
        "item": json.loads(puzzle["item"]),
    }


def as_lines(found: list[dict[str, Any]]) -> list[str]:
    """One line an item."""
    return [
        f"{each['received_at']}  {each['provider']:<11} {each['code']:<15} {each['raw_type'] or '':<24} "
        + json.dumps(each["item"], ensure_ascii=False)[:200]
        for each in found
    ]
