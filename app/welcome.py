"""What a newcomer sees: demo customers in the store, and two lines to paste.

Speaks to the server from outside, over HTTP, as any client would.
"""

from __future__ import annotations

import json
import sys
import time
import urllib.error
import urllib.request
from http import HTTPStatus
from pathlib import Path
from typing import Any

CUSTOMERS = 2_000  # loads in well under a second, and shows every kind of consent many times
SEED = 7
READY_WITHIN_S = 60.0


def welcome(url: str, bundle: Path) -> None:
    """Waits until the server is ready, loads the demo's customers, prints what to paste. Runs beside the server."""
    try:
        wait_until_ready(url, READY_WITHIN_S)
        answer = load(url, CUSTOMERS)
    except (OSError, TimeoutError, ValueError) as error:
        print(f"the demo's customers were not loaded: {error}", file=sys.stderr)
        return
    print(_lines_to_paste(url, bundle.name, answer["accepted"]), flush=True)


def wait_until_ready(url: str, within_s: float) -> None:
    """Returns when `/health/ready` says so; raises `TimeoutError` with its findings when it does not in time."""
    until = time.monotonic() + within_s
    reason = "it did not answer"
    while time.monotonic() < until:
        try:
            with urllib.request.urlopen(f"{url}/health/ready", timeout=2):  # noqa: S310  (our own address)
                return
        except urllib.error.HTTPError as error:
            reason = "; ".join(json.load(error).get("findings", []))
        except (OSError, ValueError):
            pass
        time.sleep(0.05)
    raise TimeoutError(f"the server was not ready within {within_s:g} s: {reason}")


def load(url: str, count: int, seed: int = SEED) -> dict[str, Any]:
    """Sends `count` demo customers; the same seed gives the same customers, so loading again changes nothing. Raises
    OSError and ValueError in words for whoever started it."""
    from app.demo import demo_customers

    body = b"".join(json.dumps(customer).encode() + b"\n" for customer in demo_customers(count, seed))
    headers = {"content-type": "application/x-ndjson"}
    request = urllib.request.Request(f"{url}/v1/customers/bulk", body, headers)  # noqa: S310  (http, as told)
    try:
        with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310  (http, as told)
            answer: dict[str, Any] = json.load(response)
    except urllib.error.HTTPError as refused:
        if refused.code != HTTPStatus.UNAUTHORIZED:
            raise
        raise PermissionError(
            "the server asks for keys and the demo sends none: leave NEXTBEST_KEYS_FILE unset"
        ) from None
    if answer["rejected"]:
        raise ValueError(f"the server refused {len(answer['rejected'])} customers: {answer['rejected'][0]}")
    return answer


def _lines_to_paste(url: str, bundle: str, customers: int) -> str:
    body = json.dumps({"customer": "cus_000001", "placements": ["weekly_offer"], "explain": True})
    return (
        f"\nnextbest is ready: bundle {bundle}, {customers} demo customers. Ctrl-C stops it, the data stays. Paste:\n\n"
        f"curl -s {url}/v1/decide -H 'content-type: application/json' -d '{body}'\n"
        f"{url}/docs\n"
    )
