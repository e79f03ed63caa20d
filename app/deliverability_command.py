"""`nextbest deliverability`: what the watch found, as a table, and as an exit code for scripts."""

from __future__ import annotations

import asyncio
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from app.command_context import Trouble, in_words
from app.copy_log import store_address
from app.core.deliverability_view import braked_by_watch, view
from app.settings import Settings
from app.store.clients import open_client
from app.store.control import ControlStore
from app.store.keys import Keys
from app.store.link import open_link
from app.store.watch import WatchStore
from app.store.whole_log import shards_of

_COLOURS = {"ok": "green", "few": "dim", "alert": "yellow", "braked": "bold red"}
#: The rates that are shown, and over which column.
_RATES = {"delivered": "delivered", "bounced": "bounced", "complained": "complained", "unsubscribed": "unsubscribed"}
#: Exit codes.
WELL, ALERTS, NOBODY_LOOKS = 0, 1, 2


def looked_up(settings: Settings, address: str | None) -> dict[str, Any]:
    """The document that `GET /v1/deliverability` answers with. Raises Trouble."""
    with in_words(), store_address(settings, address) as url:
        return asyncio.run(_looked_up(url))


async def _looked_up(url: str) -> dict[str, Any]:
    async with open_client(url, client_name="nextbest-deliverability") as client:
        shards = await shards_of(client)
        if shards is None:
            raise Trouble("this store was never used by a server: nothing was sent from here")
        store = WatchStore(client, Keys(shards))
        # The link stays closed: what people ask goes over the ordinary client.
        off, _, _ = await ControlStore(open_link(url), client, Keys(shards)).board()
        now_ms = await store.now_ms()
        return view(await store.last(), braked_by_watch(off, now_ms), now_ms)


def exit_code(found: dict[str, Any]) -> int:
    """0: all is well, 1: something alerts or is switched off, 2: nobody looks."""
    if found["brakes"] or any(row["alerts"] for row in found["rows"]):
        return ALERTS
    return NOBODY_LOOKS if found["stale"] else WELL


def as_table(found: dict[str, Any]) -> None:
    """Prints a line for each message in each class of mailboxes, and what is switched off."""
    console = Console()
    if found["rows"]:
        table = Table("", "placement", "message", "mailboxes")
        for title in ("sent", *_RATES.values()):
            table.add_column(title, justify="right")
        for row in found["rows"]:
            table.add_row(Text(row["state"], _COLOURS[row["state"]]), *_cells(row))
        console.print(table)
    for brake in found["brakes"]:
        console.print(f"{brake['message']} is switched off: {brake['why']}", style="bold red", markup=False)
    if found["note"] is not None:
        console.print(found["note"], style="bold", markup=False)
    elif not found["rows"]:
        console.print("no outcome was told of anything that was sent in the window", markup=False)
    if found["left_out"]:
        console.print(f"{found['left_out']:,} further lines, of those with the fewest mails", markup=False)


def _cells(row: dict[str, Any]) -> list[Text]:
    cells = [Text(row[name]) for name in ("placement", "message", "domain")]
    cells.append(Text(f"{row['rates']['delivered']['of']:,}"))
    return cells + [_rate(row["rates"][name], name in row["alerts"]) for name in _RATES]


def _rate(rate: dict[str, Any], alerts: bool) -> Text:
    if rate["rate"] is None:
        return Text("–", style="dim")
    text = f"{rate['rate']:.2%} [{rate['low']:.2%}, {rate['high']:.2%}]"
    return Text(text, style=_COLOURS["alert"] if alerts else "")
