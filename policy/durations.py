"""Durations as people write them in a bundle: `90s`, `15m`, `24h`, `7d`.

A duration is a whole, positive number and one unit. Days are 24 hours: calendar days, which summer time makes
longer or shorter, are written as calendar windows instead.
"""

from __future__ import annotations

import re

PATTERN = r"^[1-9][0-9]{0,8}[smhd]$"
SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
LONGEST_S = 3_660 * 86_400  # ten years: nothing in a bundle is kept or counted longer

_DURATION = re.compile(PATTERN)


def seconds(text: str) -> int:
    """Seconds of a duration. Raises ValueError, in words for the author, on anything else."""
    if not _DURATION.fullmatch(text):
        raise ValueError(f"`{text}` is not a duration")
    length_s = int(text[:-1]) * SECONDS[text[-1]]
    if length_s > LONGEST_S:
        raise ValueError(f"`{text}` is longer than ten years")
    return length_s
