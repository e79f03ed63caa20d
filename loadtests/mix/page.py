"""Findings as one page that needs nothing else: no script, no font, no picture from elsewhere. By step, every chart's
figures are in a table too."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import groupby
from pathlib import Path

from loadtests.mix.chart import Axis, Limit, Series, chart
from loadtests.mix.findings import Endpoint, Findings, Step
from loadtests.mix.slo import Goal

STYLE = Path(__file__).parent / "style.css"
TITLES = {
    "decide": "Decisions (/v1/decide)",
    "batch": "Batches of 100 decisions (/v1/decide/batch)",
    "events": "Events, 20 a request (Segment's /v1/batch)",
    "webhooks": "Webhooks of 50 outcomes (SendGrid)",
}
WORDS = {True: "met", False: "NOT met", None: "not shown"}
TICKS = 6


def page(found: Findings, more: Sequence[str] = ()) -> str:
    """The whole HTML. `more`: further parts, behind those of the endpoints."""
    body = [
        f"<h1>Load test: {escape(found.shape)}, {found.seconds:g} s</h1>",
        f'<p class="faint">{escape(found.began)} · {escape(found.url)} · {found.rate:g} decisions a second of the '
        f"journey tool at 100 %, all else in proportion · a latency counts from when its request was due · the first "
        f"{found.warm_up_s:g} s are left out</p>",
        _verdict(found.goals),
        "<h2>Budgets</h2>",
        _goals(found.goals),
        *(part for endpoint in found.endpoints for part in _endpoint(endpoint, found)),
        *more,
        "<h2>Rungs reached</h2>",
        _rungs(found.steps, found.rungs),
        "<h2>What a figure means nothing without</h2>",
        "<ul>" + "".join(f"<li>{escape(fact)}</li>" for fact in found.facts) + "</ul>",
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Load test</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE.read_text(encoding='utf-8')}</style></head>\n<body><main>\n"
        + "\n".join(body)
        + "\n</main></body></html>\n"
    )


def _verdict(goals: Sequence[Goal]) -> str:
    missed, unshown = (sum(goal.met is which for goal in goals) for which in (False, None))
    words = f"{missed} of {len(goals)} budgets were NOT met" if missed else "Every budget was kept"
    if unshown:
        words += f"; {unshown} could not be shown by this run"
    return f'<p class="verdict {"missed" if missed else "met"}">{words}.</p>'


def _goals(goals: Sequence[Goal]) -> str:
    """A table for each endpoint, as goals come."""
    tables = []
    for name, some in groupby(goals, lambda goal: goal.what.partition(": ")[0] if ": " in goal.what else "both ends"):
        rows = [(goal.what.partition(": ")[2] or goal.what, goal.wanted, goal.found, WORDS[goal.met]) for goal in some]
        tables.append(table(name, ("", "wanted", "found", "verdict"), rows))
    return '<div class="goals">' + "".join(tables) + "</div>"


def _endpoint(endpoint: Endpoint, found: Findings) -> list[str]:
    time = _time(found)
    name, title = str(endpoint.kind), TITLES[endpoint.kind]
    points, budget = endpoint.over_time, endpoint.budget
    limits = (
        ()
        if budget is None
        else (
            Limit(f"p50 ≤ {budget.p50_ms:g}", 0, budget.p50_ms),
            Limit(f"p99 ≤ {budget.p99_ms:g}", 1, budget.p99_ms),
            Limit(f"p99.9 ≤ {budget.p999_ms:g}", 2, budget.p999_ms),
        )
    )
    over_time = (
        Series("p50", 0, [(point.at_s, point.p50_ms) for point in points]),
        Series("p99", 1, [(point.at_s, point.p99_ms) for point in points]),
        Series("p99.9", 2, [(point.at_s, point.p999_ms) for point in points]),
    )
    rates = (
        Series("due", 1, [(point.at_s, point.due_a_second) for point in points]),
        Series("answered well", 0, [(point.at_s, point.good_a_second) for point in points]),
    )
    steps = Axis("step", -0.5, len(found.steps) - 0.5, [(i, step.name) for i, step in enumerate(found.steps)])
    by_step = (
        Series("p50", 0, [(i, of.p50_ms) for i, of in enumerate(endpoint.by_step)]),
        Series("p99", 1, [(i, of.p99_ms) for i, of in enumerate(endpoint.by_step)]),
        Series("p99.9", 2, [(i, of.p999_ms) for i, of in enumerate(endpoint.by_step)]),
    )
    figures = (
        figure(
            chart(
                f"{name}-time", f"{title}: latency over time, against budget", time, "ms", over_time, limits, log=True
            ),
            "Latency over time. Of pieces with fewer than a thousand requests, p99.9 is the slowest.",
        ),
        figure(
            chart(f"{name}-step", f"{title}: latency by step, against budget", steps, "ms", by_step, limits, log=True),
            "Latency by step.",
        ),
        figure(
            chart(f"{name}-rate", f"{title}: rate reached against rate due", time, "a second", rates, log=False),
            "Rate that fell due, and rate answered well.",
        ),
    )
    return [f"<h2>{escape(title)}</h2>", f'<div class="charts">{"".join(figures)}{_steps(endpoint, found.steps)}</div>']


def figure(drawn: str, words: str) -> str:
    return f"<figure>{drawn}<figcaption>{escape(words)}</figcaption></figure>"


def _time(found: Findings) -> Axis:
    every = found.seconds / TICKS
    ticks = [(number * every, f"{number * every:.0f}") for number in range(TICKS + 1)]
    bands = [(step.from_s, step.until_s, step.name) for step in found.steps]
    return Axis("seconds", 0.0, found.seconds, ticks, bands)


def _steps(endpoint: Endpoint, steps: Sequence[Step]) -> str:
    rows = [
        (
            step.name,
            f"{wanted:.1f}",
            f"{of.due_a_second:.1f}",
            f"{of.good_a_second:.1f}",
            *(_ms(value) for value in (of.p50_ms, of.p99_ms, of.p999_ms)),
            f"{of.requests:,}",
            f"{of.error_rate:.2%}",
        )
        for step, of, wanted in zip(steps, endpoint.by_step, endpoint.wanted_a_second, strict=True)
    ]
    failures = ", ".join(f"{count:,} × {what}" for what, count in endpoint.failures.items()) or "none"
    head = ("step", "planned/s", "due/s", "good/s", "p50 ms", "p99 ms", "p99.9 ms", "requests", "errors")
    return table(f"By step. Failures in the whole run: {failures}.", head, rows)


def _rungs(steps: Sequence[Step], rungs: Sequence[dict[str, int]]) -> str:
    names = sorted(
        {name for each in rungs for name in each}, key=lambda name: -sum(each.get(name, 0) for each in rungs)
    )
    rows = []
    for step, each in zip(steps, rungs, strict=True):
        total = sum(each.values())
        shares = (f"{each.get(name, 0):,} ({each.get(name, 0) / total:.1%})" if total else "–" for name in names)
        rows.append((step.name, *shares))
    return table(
        "How far down the ladder decisions came from, single ones and lines of batches", ("step", *names), rows
    )


def table(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """With a caption. The first cell of a row names it."""
    top = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    lines = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>'
        + "".join(f"<td{_mark(cell)}>{escape(cell)}</td>" for cell in row[1:])
        + "</tr>"
        for row in rows
    )
    # Whoever has no mouse must be able to scroll a table that is too wide.
    region = f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}">'
    return f"{region}<table><caption>{escape(caption)}</caption><tr>{top}</tr>{lines}</table></div>"


def _mark(cell: str) -> str:
    return ' class="NOT"' if cell.startswith("NOT") else ""


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"
