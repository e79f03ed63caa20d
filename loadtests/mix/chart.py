"""Small charts as SVG, to stand in a page: lines over time or by step, on a linear or a logarithmic scale.

Series differ by colour and by dash; colours come from the page's variables, so that they suit its light and dark looks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

WIDTH, HEIGHT = 560, 260
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 30, 52
CHARACTER = 6.4  # its width, about
DASHES = ("", "7 3", "2 3", "10 3 2 3")


class Series(NamedTuple):
    """A line. `place`: which colour and dash; a None is a gap."""

    title: str
    place: int
    points: Sequence[tuple[float, float | None]]


class Limit(NamedTuple):
    """A line from side to side: what was promised."""

    title: str
    place: int
    value: float


class Axis(NamedTuple):
    """What stands across: `ticks` at places, `bands` between them where they are of interest."""

    title: str
    low: float
    high: float
    ticks: Sequence[tuple[float, str]]
    bands: Sequence[tuple[float, float, str]] = ()


def chart(
    name: str, title: str, across: Axis, unit: str, series: Sequence[Series], limits: Sequence[Limit] = (), *, log: bool
) -> str:
    """One chart. `name` is its own on the page; `title` says in words what is drawn."""
    values = [value for line in series for _, value in line.points if value is not None]
    values += [limit.value for limit in limits]
    scale = _Scale.of(values, log=log)
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="{name}-title">',
        f'<title id="{name}-title">{escape(title)}</title>',
        *_bands(across),
        *_grid(across, scale, unit),
        *(part for line in series for part in _line(line, across, scale)),
        *(_limit(limit, scale) for limit in limits),  # last, so that its name stays legible
        *_legend(series),
        "</svg>",
    ]
    return "\n".join(parts)


class _Scale(NamedTuple):
    low: float
    high: float
    log: bool
    ticks: Sequence[float]

    @staticmethod
    def of(values: Sequence[float], *, log: bool) -> _Scale:
        """From a round number under the least to one over the greatest; zero is the foot of a linear one."""
        above = [value for value in values if value > 0] or [1.0]
        if log:
            low, high = math.floor(math.log10(min(above))), math.ceil(math.log10(max(above)))
            high = max(high, low + 1)
            return _Scale(low, high, True, [10.0**power for power in range(low, high + 1)])
        step = 10.0 ** math.floor(math.log10(max(above)))
        step = next(step * part for part in (0.2, 0.5, 1, 2) if max(above) / (step * part) <= 6)
        count = math.ceil(max(above) / step)
        return _Scale(0.0, count * step, False, [number * step for number in range(count + 1)])

    def y(self, value: float) -> float:
        at = math.log10(max(value, 10.0**self.low)) if self.log else value
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (at - self.low) / (self.high - self.low)


def _x(across: Axis, value: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * (value - across.low) / (across.high - across.low)


def _bands(across: Axis) -> list[str]:
    parts = []
    for number, (from_, until, title) in enumerate(across.bands):
        x, end = _x(across, from_), _x(across, until)
        shade = "band" if number % 2 else "band other"
        parts.append(
            f'<rect class="{shade}" x="{x:.1f}" y="{TOP}" width="{end - x:.1f}" height="{HEIGHT - TOP - BOTTOM}"/>'
        )
        if end - x > CHARACTER * len(title):  # wide enough for its name
            parts.append(
                f'<text class="small" x="{(x + end) / 2:.1f}" y="{TOP + 11}" text-anchor="middle">'
                f"{escape(title)}</text>"
            )
    return parts


def _grid(across: Axis, scale: _Scale, unit: str) -> list[str]:
    parts = []
    for value in scale.ticks:
        y = scale.y(value)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
    room = (WIDTH - LEFT - RIGHT) / len(across.ticks)
    crowded = any(CHARACTER * len(title) > room for _, title in across.ticks)
    for number, (place, title) in enumerate(across.ticks):
        y = HEIGHT - BOTTOM + (28 if crowded and number % 2 else 15)
        parts.append(f'<text x="{_x(across, place):.1f}" y="{y}" text-anchor="middle">{escape(title)}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text x="{middle:.0f}" y="{HEIGHT - 6}" text-anchor="middle">{escape(across.title)}</text>')
    parts.append(f'<text x="4" y="{TOP - 16}">{escape(unit)}</text>')
    return parts


def _limit(limit: Limit, scale: _Scale) -> str:
    y = scale.y(limit.value)
    return (
        f'<line class="limit s{limit.place}" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text class="small f{limit.place}" x="{WIDTH - RIGHT - 2}" y="{y - 3:.1f}" text-anchor="end">'
        f"{escape(limit.title)}</text>"
    )


def _line(line: Series, across: Axis, scale: _Scale) -> list[str]:
    """Pieces between gaps; a piece of one point is a dot."""
    dash = f' stroke-dasharray="{DASHES[line.place]}"' if DASHES[line.place] else ""
    parts = []
    for piece in _pieces(line.points):
        places = [(_x(across, at), scale.y(value)) for at, value in piece]
        drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline class="s{line.place}"{dash} points="{drawn}"/>')
        if len(line.points) <= 12 or len(piece) == 1:
            parts += [f'<circle class="f{line.place}" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>' for x, y in places]
    return parts


def _pieces(points: Sequence[tuple[float, float | None]]) -> list[list[tuple[float, float]]]:
    pieces: list[list[tuple[float, float]]] = [[]]
    for at, value in points:
        if value is None:
            pieces.append([])
        else:
            pieces[-1].append((at, value))
    return [piece for piece in pieces if piece]


def _legend(series: Sequence[Series]) -> list[str]:
    parts, x = [], LEFT + 24
    for line in series:
        dash = f' stroke-dasharray="{DASHES[line.place]}"' if DASHES[line.place] else ""
        parts.append(f'<line class="s{line.place}"{dash} x1="{x}" x2="{x + 24}" y1="{TOP - 14}" y2="{TOP - 14}"/>')
        parts.append(f'<text class="f{line.place}" x="{x + 29}" y="{TOP - 10}">{escape(line.title)}</text>')
        x += 40 + round(CHARACTER * len(line.title))
    return parts
