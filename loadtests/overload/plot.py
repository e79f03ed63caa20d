"""Answers in time, second by second, at each load: against the peak, with what was refused written beside."""

from __future__ import annotations

from collections.abc import Iterator

from loadtests.overload.results import Found, Results

WIDTH, HEIGHT = 760, 360
LEFT, RIGHT, TOP, BOTTOM = 64, 24, 72, 48
FONT = 'font-family="sans-serif" font-size="12"'
COLOURS = ("#0d9488", "#1d4ed8", "#c2410c")


def plot(results: Results) -> str:
    longest = max(len(one.by_second) for one in results.found)
    top = 1.2 * results.peak
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" {FONT}>',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        *_grid(results.peak, top),
    ]
    for place, (one, colour) in enumerate(zip(results.found, COLOURS, strict=True)):
        title = f"{one.factor:g} × the peak: {one.goodput:.0%} in time, {one.refused:,.0f}/s refused"
        parts.append(f'<text x="{LEFT + 8}" y="{18 + 15 * place}" fill="{colour}">{title}</text>')
        parts.append(f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{_line(one, longest, top)}"/>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{HEIGHT - 10}" text-anchor="middle">seconds</text>')
    return "\n".join([*parts, "</svg>", ""])


def _grid(peak: float, top: float) -> Iterator[str]:
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = _y(share * peak, top)
        colour = "#111827" if share == 1.0 else "#e5e7eb"
        yield f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="{colour}"/>'
        yield f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{share * peak:,.0f}</text>'
    yield f'<text x="{WIDTH - RIGHT}" y="{_y(peak, top) - 6:.1f}" text-anchor="end">the peak, decisions/s</text>'


def _line(one: Found, longest: int, top: float) -> str:
    """Without the first and the last second, which are not whole."""
    whole = one.by_second[1:-1]
    step = (WIDTH - LEFT - RIGHT) / max(longest - 3, 1)
    return " ".join(f"{LEFT + n * step:.1f},{_y(counts.get('useful', 0), top):.1f}" for n, counts in enumerate(whole))


def _y(value: float, top: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * min(value / top, 1.0)
