"""Peak figures with little driver: `python -m loadtests.peak http://127.0.0.1:8000 --rps 2000 --seconds 10`.

One endpoint (`POST /v1/decide`), open arrival at a fixed rate, evenly spaced: a latency counts from when its request
was due. Several times leaner than Locust (docs/load.md), and of one thread, so it says of itself how late it was and
how much of a core it used. Without `--rps`: a closed loop of `--connections`, which says what the server can do.
`--write DIR` writes the same requests for `h2load` and `wrk` instead of sending them.
"""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import orjson
import typer

from loadtests.beside import run
from loadtests.driver import Tally, Target, closed_loop, http_request, open_loop
from loadtests.latency import Percentiles, nearest_rank, percentiles
from loadtests.mix.deployment import find
from loadtests.mix.traffic import Deployment
from loadtests.standard.machine import own_cpu_s, require_linux

SEED = 20_261_124
PREPARED = 20_000  # requests that are sent again and again, in an order that no cache likes
BUSY = 0.9  # of its core: from here on the driver is as much in the figures as the server
H2LOAD_BODY, WRK_SCRIPT = "decide.json", "decide.lua"


class NotPlain(SystemExit):
    """This driver speaks HTTP/1.1 without TLS: point it behind what ends TLS, or take `h2load`."""


def bodies(on: Deployment, count: int) -> list[bytes]:
    """So many questions, each of one placement, about customers at random."""
    chance = random.Random(SEED)
    placement = [on.placements[0]]
    return [orjson.dumps({"customer": chance.choice(on.customers), "placements": placement}) for _ in range(count)]


def requests(on: Deployment, host: str, count: int) -> list[bytes]:
    """The whole bytes of so many requests."""
    key = f"authorization: Bearer {on.key}\r\n" if on.key else ""
    head = f"\r\n{key}\r\n".encode()
    return [http_request("/v1/decide", body, host).replace(b"\r\n\r\n", head, 1) for body in bodies(on, count)]


def say(tally: Tally, used: float, rps: float | None) -> None:
    """Prints what was found, and whether it is the server's own."""
    found = percentiles(tally.latencies_ns)
    print(f"{tally.rate:,.0f} answers/s" + (f" of {rps:,.0f} due" if rps else ""), _words(found), sep="\n")
    print("failures: " + (", ".join(f"{count:,} × {what}" for what, count in tally.failures.items()) or "none"))
    late_ms = nearest_rank(sorted(tally.late_ns), 0.99) / 1e6 if tally.late_ns else 0.0
    print(f"the driver used {used:.0%} of a core" + (f" and was late by {late_ms:.2f} ms (p99)" if rps else ""))
    if used > BUSY or late_ms > found.p99 / 4:
        print("driver-bound: these latencies are the driver's as much as the server's")


def _words(found: Percentiles) -> str:
    named = ("p50", found.p50), ("p90", found.p90), ("p99", found.p99), ("p99.9", found.p999), ("worst", found.worst)
    return "  ".join(f"{name} {value:.2f} ms" for name, value in named)


def write(on: Deployment, url: str, folder: Path) -> None:
    """A body for `h2load -d` and a script for `wrk -s`, with the commands that use them."""
    folder.mkdir(parents=True, exist_ok=True)
    some = bodies(on, 1_000)
    # It sends one body only, and real decisions for one customer take turns: this one is decided and not written.
    (folder / H2LOAD_BODY).write_bytes(orjson.dumps({**orjson.loads(some[0]), "dry_run": True}))
    (folder / WRK_SCRIPT).write_text(_script(some), encoding="utf-8")
    headers = "-H 'content-type: application/json'" + (' -H "authorization: Bearer $NEXTBEST_KEY"' if on.key else "")
    print(f"h2load --h1 --rps 50 -c 20 -D 10 -t 1 -d {folder / H2LOAD_BODY} {headers} {url}/v1/decide")
    print(f"wrk -t 1 -c 16 -d 10 --latency -s {folder / WRK_SCRIPT} {url}/v1/decide")


def _script(some: Sequence[bytes]) -> str:
    """Lua that asks about one customer after the other. The key is read from the environment, not written down."""
    quoted = ",\n".join(f"  [==[{body.decode()}]==]" for body in some)
    return f"""-- Requests of loadtests/peak.py for wrk.
local bodies = {{
{quoted}
}}
local headers = {{ ["content-type"] = "application/json" }}
local key = os.getenv("NEXTBEST_KEY")
if key then headers["authorization"] = "Bearer " .. key end
local sent = 0
request = function()
  sent = sent % #bodies + 1
  return wrk.format("POST", "/v1/decide", headers, bodies[sent])
end
local failed = 0
response = function(status)
  if status ~= 200 then failed = failed + 1 end
end
"""


def main(
    url: str,
    rps: Annotated[float | None, typer.Option(min=1, help="Requests a second; without, as many as go.")] = None,
    seconds: Annotated[float, typer.Option(min=1)] = 10.0,
    connections: Annotated[int, typer.Option(min=1, help="Of the closed loop.")] = 16,
    customers: Annotated[str, typer.Option(help="A file of keys, one a line, or how many to make.")] = "1000",
    write_to: Annotated[Path | None, typer.Option("--write", help="Only write files for h2load and wrk.")] = None,
) -> None:
    """Ask for decisions at a fixed rate, and say how long answers took."""
    require_linux()
    parts = urlsplit(url)
    if parts.scheme != "http" or parts.hostname is None:
        raise NotPlain(f"{url}: {NotPlain.__doc__}")
    on = find(url, customers)
    if write_to is not None:
        write(on, url.rstrip("/"), write_to)
        return
    prepared = requests(on, parts.hostname, PREPARED)
    target = Target(parts.hostname, parts.port or 80, itertools.cycle(prepared))
    warm_up_s = min(2.0, seconds / 5)
    began_s, began_cpu_s = time.monotonic(), own_cpu_s()
    if rps is None:
        tally = run(closed_loop(target, connections, warm_up_s=warm_up_s, seconds=seconds))
    else:
        tally = run(open_loop(target, rps, warm_up_s=warm_up_s, seconds=seconds))
    used = (own_cpu_s() - began_cpu_s) / (time.monotonic() - began_s)
    say(tally, used, rps)
    raise SystemExit(1 if tally.failures else 0)


if __name__ == "__main__":
    typer.run(main)
