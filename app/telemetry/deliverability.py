"""What the deliverability watch found, as metrics.

These are made at the scrape, from what the store keeps of the last look: they are the deployment's and not a worker's.
Every server shows the same, and a series ends when there is nothing to say any more.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from app.core.deliverability import Judgement
from app.core.deliverability_view import shares
from app.telemetry.exposition import header, sample
from policy.watch import Row

#: Lines that are shown: those that alert, then those with the most mails. Each makes a dozen series.
ROWS_MAX = 200
_LABELS = ("placement", "message", "domain")
#: Name, help, of each family, in the order of the answer.
RATE, ALERT, SENT, BRAKED, AGE, LEFT_OUT = (
    "deliverability_rate", "deliverability_alert", "deliverability_sent", "deliverability_braked",
    "deliverability_age_seconds", "deliverability_rows_left_out",
)  # fmt: skip


def render(judgement: Judgement | None, braked: Collection[str], now_ms: int) -> bytes:
    """The lines of all families; empty where nobody ever looked."""
    if judgement is None:
        return b""
    rows = sorted(judgement.rows, key=lambda row: (not row.alerts, -row.counts.tried))
    shown = rows[:ROWS_MAX]
    lines = [
        *header(RATE, "gauge", "Share of mails that were delivered, bounced, complained about, …, in the window."),
        *(line for row in shown for line in _rates(row)),
        *header(ALERT, "gauge", "1 while a rate is above the limit at which it alerts, else 0."),
        *(line for row in shown for line in _alerts(row, judgement)),
        *header(SENT, "gauge", "Mails in the window."),
        *(sample(SENT, _LABELS, tuple(row.cell), str(row.counts.tried)) for row in shown),
        *header(BRAKED, "gauge", "1 for each message that the watch switched off."),
        *(sample(BRAKED, ("message",), (message,), "1") for message in sorted(braked)),
        *header(AGE, "gauge", "How long ago the watch looked; beyond a minute nobody does."),
        sample(AGE, (), (), f"{max(0, now_ms - judgement.at_ms) / 1000:.3f}"),
        *header(LEFT_OUT, "gauge", "Lines of the watch that these metrics do not show."),
        sample(LEFT_OUT, (), (), str(judgement.left_out + len(rows) - len(shown))),
    ]
    return ("\n".join(lines) + "\n").encode()


def _rates(row: Row) -> Iterator[str]:
    for kind, found in shares(row.counts).items():
        if found.of:
            yield sample(RATE, (*_LABELS, "kind"), (*row.cell, kind), f"{found.rate:.6g}")


def _alerts(row: Row, judgement: Judgement) -> Iterator[str]:
    for kind in judgement.limits:
        yield sample(ALERT, (*_LABELS, "kind"), (*row.cell, kind), str(int(kind in row.alerts)))
