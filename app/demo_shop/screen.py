"""The demo on a terminal: who does what, what that comes to, what they would get now, and why that changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from app.demo_shop.changes import PLACES, Change
from app.demo_shop.deeds import Deed
from app.demo_shop.lines import worker_words
from app.demo_shop.scene import Scene, Told
from app.demo_shop.sight import Answer

#: How long a changed answer stays lit.
LIT_S = 6.0
CHANGES_SHOWN = 5
LINES_ABOVE = 26  # of the head and the customers, and the frame around the changes
#: Codes that are longer than their column.
_SHORT = {"no_personalisation": "not personal"}
_DID = {
    "product_viewed": "looked at {product_id}",
    "product_added": "put {product_id} into the cart",
    "checkout_started": "went to the till",
    "order_completed": "ordered for £{revenue:.2f}",
    "order_refunded": "sent back £{total:.2f}",
}


class Screen:
    """A live screen; what was there before it stays above."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console()
        self._live: Live | None = None

    def step(self, words: str) -> None:
        self._console.print(Text(f"  {words} …", style="dim"))

    def show(self, scene: Scene) -> None:
        if self._live is None:
            self._live = Live(console=self._console, auto_refresh=False)
            self._live.start()
        room = (self._console.height - LINES_ABOVE) // 2
        self._live.update(picture(scene, max(1, min(room, CHANGES_SHOWN))), refresh=True)

    def close(self, words: str) -> None:
        if self._live is not None:
            self._live.stop()
        if words:
            self._console.print(words, markup=False, highlight=False)


def picture(scene: Scene, changes: int = CHANGES_SHOWN) -> RenderableType:
    """The whole screen, with the last so many changes."""
    return Group(_head(scene), _customers(scene), _changes(scene, changes))


def _head(scene: Scene) -> RenderableType:
    head = Text()
    head.append(" nextbest shop ", style="bold reverse")
    head.append(f"  {scene.rate:,.0f} events/s", style="bold")
    head.append(f"  {scene.events:,} in all", style="dim")
    if scene.lag_ms is not None:
        colour = "green" if scene.lag_ms < 1000 else "red"
        head.append("   event → feature ", style="dim")
        head.append(f"{scene.lag_ms:.0f} ms", style=f"bold {colour}")
        head.append(f" (worst {scene.lag_worst_ms:.0f})", style="dim")
    head.append(f"\n{worker_words(scene)}", style="dim" if scene.worker and scene.worker.held else "bold red")
    head.append(f"   {len(scene.seen)} decisions in {scene.decide_ms:.0f} ms", style="dim")
    if scene.waiting:
        head.append(f"\n  {scene.waiting}", style="yellow")
    return head


def _customers(scene: Scene) -> RenderableType:
    table = Table(expand=True, box=SIMPLE_HEAD, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("customer", ratio=1, min_width=12, no_wrap=True)
    table.add_column("views 1h", justify="right", width=5)
    table.add_column("favourite", width=9, no_wrap=True)
    table.add_column("cart", width=8, no_wrap=True)
    table.add_column("90 d", width=6, justify="right", no_wrap=True)
    table.add_column("order", width=6, justify="right", no_wrap=True)
    table.add_column("banner now", width=14, no_wrap=True)
    table.add_column("e-mail now", width=16, no_wrap=True)
    lit = _lit(scene)
    for seen in scene.seen:
        who = Text(seen.customer, style="bold")
        did = _did(scene.last.get(seen.customer)) or scene.parts.get(seen.customer, "")
        who.append(f"\n{did}", style="dim not bold")
        table.add_row(
            who,
            *_values(seen.features),
            *(_answered(seen.answers[placement], (seen.customer, placement) in lit) for placement in PLACES),
        )
    return table


def _lit(scene: Scene) -> set[tuple[str, str]]:
    recent = (each for each in scene.told if scene.seconds - each.at_s < LIT_S)
    return {(each.change.customer, each.change.placement) for each in recent}


def _did(deed: Deed | None) -> str:
    return "" if deed is None else _DID[deed.event].format(**deed.properties).replace("_", " ")


def _values(features: Mapping[str, Any] | None) -> tuple[str, str, str, str, str]:
    """Views, favourite, cart, spent, last order."""
    if features is None:
        return ("?",) * 5
    return (
        str(features.get("product_views_1h", 0)),
        features.get("favourite_category", "–"),
        _cart(features),
        f"£{features.get('spend_90d', 0.0):,.0f}",
        _ago(features),
    )


def _cart(features: Mapping[str, Any]) -> str:
    if features.get("checkout_abandoned"):
        return "at till"
    if features.get("cart_abandoned"):
        return "left"
    return f"{features['adds_24h']} today" if features.get("adds_24h") else "–"


def _ago(features: Mapping[str, Any]) -> str:
    minutes = features.get("minutes_since_order")
    if minutes is None:
        return "–"
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 2880 else f"{minutes // 1440} d"


def _answered(answer: Answer, lit: bool) -> Text:
    """The message, and underneath why it is none, or what was missing from a full answer."""
    style = "bold black on green" if lit else ("" if answer.message else "dim")
    text = Text(answer.message or "nothing", style=style)
    below = ", ".join(_SHORT.get(code, code) for code in answer.degraded) if answer.message else answer.reason
    if below:
        text.append(f"\n{below.replace('_', ' ')}", style="not bold dim yellow on default")
    return text


def _changes(scene: Scene, count: int) -> RenderableType:
    shown = list(scene.told)[-count:][::-1]
    lines = [line for each in shown for line in _change(each, scene.seconds)]
    lines += [Text("")] * (2 * count - len(lines))
    return Panel(Group(*lines), title="why an answer changed", title_align="left", border_style="dim")


def _change(told: Told, now_s: float) -> tuple[Text, Text]:
    """What changed, and why."""
    change: Change = told.change
    fresh = now_s - told.at_s < LIT_S
    line = Text(f"{told.clock} ", style="dim", no_wrap=True, overflow="ellipsis")
    line.append(change.customer, style="bold not dim" if fresh else "not dim")
    line.append(f"  {PLACES[change.placement]}  ")
    line.append(change.before, style="not dim")
    line.append(" → ")
    line.append(change.after, style="not dim bold green" if fresh else "not dim green")
    why = Text("         ", no_wrap=True, overflow="ellipsis")
    why.append("  ".join(change.moved), style="cyan")
    why.append(("   " if change.moved else "") + change.why, style="dim")
    return line, why
