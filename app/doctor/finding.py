"""What `nextbest doctor` finds. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from policy.rates import wilson


class Severity(IntEnum):
    """`NOTE`: worth knowing. `WARNING`: decisions are worse for it. `SEVERE`: decisions are wrong, or are not made."""

    NOTE = 1
    WARNING = 2
    SEVERE = 3


@dataclass(frozen=True, slots=True)
class Finding:
    """`code` is stable. `count` of `of` things looked at are so; `of` 0: it was not counted against anything.
    `sampled`: they are a sample, and `interval` holds for all."""

    severity: Severity
    code: str
    what: str
    remedy: str
    count: int = 0
    of: int = 0
    sampled: bool = False

    @property
    def share(self) -> float | None:
        return self.count / self.of if self.of else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """The share among all, with 95 % confidence; None where all were looked at."""
        return wilson(self.count, self.of) if self.of and self.sampled else None


def by_share(count: int, of: int, *, warning: float, severe: float = 2.0) -> Severity:
    """How severe a share is; the default of `severe` is never reached."""
    share = count / of if of else 0.0
    return Severity.SEVERE if share >= severe else Severity.WARNING if share >= warning else Severity.NOTE
