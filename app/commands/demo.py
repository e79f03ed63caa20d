"""`nextbest demo …`: something to look at."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from app.commands.ending import failing_on

commands = typer.Typer(help="Something to look at: the demo's customers, a shop that is open.", no_args_is_help=True)


@commands.command("load")
def load(
    url: Annotated[str, typer.Option(help="Address of the server.")] = "http://127.0.0.1:8000",
    count: Annotated[int, typer.Option(min=1, help="How many customers.")] = 2_000,
) -> None:
    """Loads demo customers into a running server. Loading them again changes nothing."""
    from app import welcome

    with failing_on((OSError, ValueError)):
        welcome.wait_until_ready(url, within_s=10)
        typer.echo(f"{welcome.load(url, count)['accepted']} customers")


@commands.command("shop")
def shop(
    speed: Annotated[
        float, typer.Option(min=0.1, max=3_600, help="How fast the crowd lives: 60 is a minute a second.")
    ] = 60.0,
    customers: Annotated[int, typer.Option(min=0, max=50_000, help="Customers beside the watched ones.")] = 400,
    data: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="A file of Online Retail (CSV) instead.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(file_okay=False, help="Folder to keep the store in; else it is thrown away.")
    ] = None,
    port: Annotated[int | None, typer.Option(help="Port of the server that is started; else a free one.")] = None,
    url: Annotated[str | None, typer.Option(help="A server that runs already, with the shop's bundle.")] = None,
    key: Annotated[
        str | None, typer.Option(envvar="NEXTBEST_KEY", help="A key that may `collect`, `decide` and `read`.")
    ] = None,
    url_of_store: Annotated[
        str | None, typer.Option("--url-of-store", help="With --url: its store, to show the values of features.")
    ] = None,
    seconds: Annotated[float | None, typer.Option(min=1, help="End by itself after so long.")] = None,
    plain: Annotated[bool, typer.Option("--plain", help="Print lines instead of a screen.")] = False,
) -> None:
    """Opens a shop and shows what its customers would get, and why that changes while they look, buy and leave."""
    from app.demo_shop.command import Wanted, play
    from app.demo_shop.house import CannotPlay

    with failing_on(CannotPlay), suppress(KeyboardInterrupt):  # Ctrl-C is the ordinary way to end it
        play(Wanted(speed, customers, data, folder, url, key, url_of_store, seconds, plain, port))
