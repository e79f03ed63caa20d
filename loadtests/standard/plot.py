"""A latency plot as SVG: percentile across, milliseconds up, both on scales that show the tail."""

from __future__ import annotations

import math
from collections.abc import Sequence

from loadtests.standard.measure import Measurement, select
from loadtests.standard.parts import own_peak, peer_peak
from loadtests.standard.stage import PROJECT, QUICKSTART

WIDTH, HEIGHT = 760, 420
LEFT, RIGHT, TOP, BOTTOM = 64, 24, 56, 48
FONT = 'font-family="sans-serif" font-size="12"'
NINES = ((0.0, "0"), (0.5, "50"), (0.9, "90"), (0.99, "99"), (0.999, "99.9"), (0.9999, "99.99"))
SERIES = (
    (QUICKSTART, own_peak(0.6), "#c2410c", "quickstart at 60 % of its peak"),
    (PROJECT, own_peak(0.6), "#1d4ed8", "project at 60 % of its own, higher peak"),
    (PROJECT, peer_peak(0.6), "#0d9488", "project at the quickstart's rate"),
)

Curve = Sequence[tuple[float, float]]


def latency_plot(measurements: Sequence[Measurement]) -> str | None:
    """The middle round of each series, or None when there is none."""
    drawn = []
    for name, label, colour, title in SERIES:
        rounds = sorted(select(measurements, name, label), key=lambda one: one.latency.p99)
        if rounds:
            middle = rounds[len(rounds) // 2]
            drawn.append((middle.curve, colour, f"{title} ({middle.load:,.0f}/s)"))
    return svg(drawn) if drawn else None


def svg(series: Sequence[tuple[Curve, str, str]]) -> str:
    """`series`: ((share, ms) …, colour, title)."""
    values = [value for curve, _, _ in series for _, value in curve]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" {FONT}>',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        *_grid(low, high),
    ]
    for i, (curve, colour, title) in enumerate(series):
        points = " ".join(f"{_x(share):.1f},{_y(value, low, high):.1f}" for share, value in curve)
        parts.append(f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{points}"/>')
        parts.append(f'<text x="{LEFT + 8}" y="{TOP - 36 + 15 * i}" fill="{colour}">{title}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _grid(low: int, high: int) -> list[str]:
    lines = []
    for share, name in NINES:
        x = _x(share)
        lines.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}" stroke="#e5e7eb"/>')
        lines.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{name}</text>')
    for power in range(low, high + 1):
        y = _y(10.0**power, low, high)
        lines.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e5e7eb"/>')
        lines.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{10.0**power:g}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    lines.append(f'<text x="{middle}" y="{HEIGHT - 10}" text-anchor="middle">percentile of requests</text>')
    lines.append(f'<text x="14" y="{TOP - 8}">ms</text>')
    return lines


def _x(share: float) -> float:
    """Each nine takes the same width."""
    return LEFT + (WIDTH - LEFT - RIGHT) * min(-math.log10(1 - share), 4.0) / 4.0


def _y(value: float, low: int, high: int) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (math.log10(value) - low) / (high - low)
