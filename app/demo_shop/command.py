"""`nextbest demo shop`: from its options to the play, and what to try when it is over."""

from __future__ import annotations

import contextlib
import json
import random
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import NamedTuple, NoReturn

import redis

from app.demo_shop import cast, crowd, retail
from app.demo_shop.deeds import Deed, Shop
from app.demo_shop.house import BUNDLE, CannotPlay, House, entered, opened
from app.demo_shop.lines import Lines
from app.demo_shop.play import Play
from app.demo_shop.scene import View
from app.demo_shop.screen import Screen
from app.demo_shop.sight import StoreSight

SEED = 7


class Wanted(NamedTuple):
    """What the demo was asked for."""

    speed: float  # of the crowd: 60 is a minute of the shop a second
    customers: int  # beside those who are watched
    file: Path | None = None  # of Online Retail; None: the invented shop
    folder: Path | None = None  # where the store is kept; None: it is thrown away
    url: str | None = None  # of a server that runs; None: start one
    key: str | None = None
    store_url: str | None = None  # of the store of the server at `url`
    seconds: float | None = None  # None: until Ctrl-C
    plain: bool = False
    port: int | None = None


def play(wanted: Wanted) -> None:
    """Runs until Ctrl-C or its time is over; leaves nothing running that it started. Raises CannotPlay."""
    view: View = Lines() if wanted.plain or not sys.stdout.isatty() else Screen()
    with contextlib.ExitStack() as stack:
        for each in (signal.SIGTERM, signal.SIGINT):  # SIGINT too: a shell's background jobs are born ignoring it
            stack.callback(signal.signal, each, signal.signal(each, _as_ctrl_c))
        house = _house(wanted, view, stack)
        words = ""
        try:
            with contextlib.suppress(KeyboardInterrupt):  # the ordinary way to end it
                _perform(wanted, house, view)
            words = _what_next(wanted)
        except redis.RedisError as error:
            raise CannotPlay(f"the store does not answer any more ({type(error).__name__})") from error
        finally:
            view.close(words)


def _as_ctrl_c(_: int, __: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _house(wanted: Wanted, view: View, stack: contextlib.ExitStack) -> House:
    if wanted.url is not None:
        return entered(wanted.url, wanted.key, wanted.store_url)
    view.step("the shop's server, its store and its event worker start")
    house = stack.enter_context(opened(wanted.folder, wanted.port))
    view.step(f"open at {house.door.url}")
    return house


def _perform(wanted: Wanted, house: House, view: View) -> None:
    now_ms = round(time.time() * 1000)
    shop, parts, script = _shop(wanted, now_ms)
    store = StoreSight(house.store_url) if house.store_url else None
    try:
        performance = Play(house.door, store, shop, parts, view)
        performance.open()
        performance.run(script, wanted.speed, wanted.seconds)
    finally:
        if store:
            store.close()


def _shop(wanted: Wanted, now_ms: int) -> tuple[Shop, dict[str, str], Iterator[tuple[float, Deed]]]:
    """The shop, those who are watched with the parts they play, and what these do."""
    if wanted.file is not None:
        try:
            shop = retail.shop(wanted.file, now_ms, wanted.customers)
        except retail.CannotRead as error:
            raise CannotPlay(str(error)) from error
        return shop, dict.fromkeys(shop.watched, ""), iter(())
    chance = random.Random(SEED)
    shoppers = crowd.shoppers(wanted.customers, chance)
    people = [*cast.people(), *crowd.people(shoppers, chance)]
    past = crowd.past(shoppers, now_ms, chance)
    shop = Shop(people, past, cast.past(now_ms), crowd.future(shoppers, chance), list(cast.PARTS))
    return shop, dict(cast.PARTS), cast.live()


def _what_next(wanted: Wanted) -> str:
    """Lines to paste beside a shop that is open."""
    whom = "long_gone" if wanted.file is None else "cus_17850"
    url = wanted.url or "http://127.0.0.1:8000"
    event = {
        "event": "product_viewed",
        "customer": whom,
        "properties": {"product_id": "lantern_1", "category": "lighting", "price": 12.5},
    }
    ask = {"customer": whom, "placements": ["home_banner", "next_email"], "explain": True, "dry_run": True}
    of = f" --data {wanted.file}" if wanted.file else ""
    again = "" if wanted.url else f"nextbest demo shop{of} --port 8000      # and in another terminal:\n"
    return (
        "\nThe shop is closed. Take part the next time: paste the first curl three times, then ask.\n\n"
        f"{again}"
        f"curl -s {url}/v1/events -d '{json.dumps(event)}'\n"
        f"curl -s {url}/v1/decide -d '{json.dumps(ask)}'\n"
        f"nextbest why {whom} home_banner --url {url}\n\n"
        f"Its rules and features are in {BUNDLE}: change messages.yaml, `nextbest lint` it, open the shop again.\n"
    )
