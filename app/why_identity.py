"""`nextbest why CUSTOMER --identity`: who a customer is, edge by edge, as a running server knows it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from rich.console import Console
from rich.table import Table
from rich.text import Text

from app.why import Server

_COLOURS = {"belongs": "green", "linked": "green", "pending": "yellow", "shared": "red"}


def answer(server: Server, customer: str, *, as_json: bool) -> None:
    """Asks, and prints what the server says. Raises `CannotTell`."""
    told = server.ask(f"/v1/customers/{quote(customer, safe='')}/identities")
    console = Console()
    if as_json:
        console.out(json.dumps(told, indent=2, ensure_ascii=False), highlight=False)
    else:
        show(told, customer, console)


def show(told: Mapping[str, Any], asked: str, console: Console) -> None:
    """Prints a line for every telling of every identity, then the merges."""
    console.print(Text(sentence(told, asked), style="bold"))
    if told["identities"]:
        console.print(_identities(told))
    if told["merges"]:
        console.print()
        console.print(Text("merges", style="bold"))
        console.print(_merges(told))


def sentence(told: Mapping[str, Any], asked: str) -> str:
    """Who it is, in one line."""
    customer, identities, merges = told["customer"], told["identities"], told["merges"]
    who = customer if customer == asked else f"{asked} became {customer}, who"
    count = f"{len(identities)} {'identity' if len(identities) == 1 else 'identities'}"
    merged = f"; {len(merges)} merged into it" if merges else ""
    waits = "" if told["complete_until"] else " Nothing is settled while no worker reads the events."
    return f"{who} has {count}{merged}.{waits}"


def meaning(identity: Mapping[str, Any]) -> str:
    """What a state comes to."""
    state = identity["state"]
    if state == "pending":
        return f"of {identity['customer']} from {identity['due']}, if nobody earlier turns up"
    if state == "belongs":
        return f"of {identity['customer']}" + ("" if identity["linked_to"] else ", and not linked yet")
    if state == "shared":
        first = f"; {identity['customer']} had it alone before" if identity["customer"] else ""
        return f"of several since {identity['since']}: it merges nothing more{first}"
    return f"of {identity['customer']}, as was written by hand"


def _identities(told: Mapping[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("identity", "told with", "first at", "so it is"):
        table.add_column(name, overflow="fold")
    for each in told["identities"]:
        name, state = f"{each['kind']} {each['hash']}", Text(meaning(each), style=_COLOURS[each["state"]])
        for edge in each["told"] or [{"customer": "", "first_at": ""}]:
            table.add_row(name, edge["customer"], edge["first_at"], state)
            name, state = "", Text("")
    return table


def _merges(told: Mapping[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("who became it", "at", "by", "why"):
        table.add_column(name, overflow="fold")
    for each in told["merges"]:
        table.add_row(each["customer"], each["at"], each["who"], each["why"] or "")
    return table
