"""Reading the tables of `policy/cases`: sentences, instants, contacts."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from policy.facts import Contact, ContactKind

CASES = Path(__file__).parents[2] / "policy" / "cases"
#: The messages that the tables of contacts speak of: (channel, class, category).
MESSAGES = {
    "mens_email": ("email", "marketing", "mens"),
    "womens_email": ("email", "marketing", "womens"),
    "mens_sms": ("sms", "marketing", "mens"),
    "plain_email": ("email", "marketing", ""),
    "bare_email": ("email", "marketing", ""),
    "receipt": ("email", "transactional", ""),
}
KINDS = {name: ContactKind(f"{of[1]}_{of[0]}", of[0], of[1], name, of[2], "") for name, of in MESSAGES.items()}


def page(name: str) -> Any:
    """A file of cases; every value is text."""
    return yaml.load((CASES / f"{name}.yaml").read_text(), yaml.BaseLoader)


def table(name: str) -> Any:
    """One parameter a case; the sentence is its name."""
    rows = page(name)["cases"]
    sentences = [each["case"] for each in rows]
    assert len(sentences) == len(set(sentences))
    return pytest.mark.parametrize("case", rows, ids=sentences)


def instant_ms(text: str) -> int:
    form = "%Y-%m-%d %H:%M" if " " in text else "%Y-%m-%d"
    return int(datetime.strptime(text, form).replace(tzinfo=UTC).timestamp() * 1000)


def between_ms(text: str) -> tuple[int, int]:
    first, _, last = text.partition(" to ")
    return instant_ms(first), instant_ms(last or first)


def contact_of(text: str) -> Contact:
    """`mens_email 2026-11-20 10:00 to 2026-11-20 11:00, opened`; sent, unless it says `reserved`."""
    when, *notes = text.split(", ")
    message, _, window = when.partition(" ")
    return Contact(message.encode(), KINDS[message], *between_ms(window), "reserved" not in notes, "opened" in notes)
