"""Where the payloads of providers lie."""

from __future__ import annotations

from pathlib import Path

PAYLOADS = Path(__file__).parents[2] / "unit" / "webhooks" / "payloads"


def payload(provider: str, name: str) -> bytes:
    """A whole body from the vendor's documentation, as it would arrive."""
    return (PAYLOADS / provider / name).read_bytes()
