"""Customers for a first look: invented, with the marginal distributions of the data that the demo's model learnt from.

No row of the data is copied: each attribute is drawn by itself from the tables below (what was bought jointly, since at
least one of `mens` and `womens` is always 1). Consent varies, so that a newcomer sees every kind of answer. Keys are
`cus_000001` …; the first customer has consented to everything. There is nothing personal in any of this.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

#: Shares of the 44,800 customers of the Hillstrom e-mail test (`models.hillstrom`), computed once from the file.
RECENCY_MONTHS = {
    1: 0.1393, 2: 0.1189, 3: 0.0929, 4: 0.0798, 5: 0.0706, 6: 0.0716,
    7: 0.0629, 8: 0.0542, 9: 0.1001, 10: 0.1182, 11: 0.0550, 12: 0.0365,
}  # fmt: skip
MENS_WOMENS = {(0, 1): 0.4504, (1, 0): 0.4487, (1, 1): 0.1009}
ZIP_CODE = {"Surburban": 0.4515, "Urban": 0.3998, "Rural": 0.1487}  # the source's spelling
NEWBIE = {1: 0.5025, 0: 0.4975}
CHANNEL = {"Phone": 0.4398, "Web": 0.4390, "Multichannel": 0.1212}
#: (share of customers, US dollars spent in the past year at that quantile); straight lines between.
HISTORY_USD = (
    (0.0, 29.99), (0.1243, 29.99), (0.2, 49.92), (0.3, 80.44), (0.4, 115.27), (0.5, 157.95), (0.6, 209.82),
    (0.7, 278.91), (0.8, 378.76), (0.9, 557.11), (0.95, 744.09), (0.98, 997.03), (0.99, 1212.21), (0.995, 1407.82),
    (1.0, 3345.93),
)  # fmt: skip

#: Not from the data, which has neither: mostly the United States, roughly by how many live in each zone, and some of
#: Germany.
PLACES = {
    ("US", "America/New_York", "en"): 0.42,
    ("US", "America/Chicago", "en"): 0.26,
    ("US", "America/Denver", "en"): 0.06,
    ("US", "America/Los_Angeles", "en"): 0.14,
    ("DE", "Europe/Berlin", "de"): 0.12,
}
#: For marketing by e-mail and for personalisation. Nobody's consent is usual: enough of each to be met in a short look.
CONTACT_CONSENT = {"granted": 0.82, "unknown": 0.10, "denied": 0.08}
PERSONALISATION_CONSENT = {"granted": 0.80, "unknown": 0.12, "denied": 0.08}
#: Not in the data either: how many have a gap, so that the model's way with gaps can be seen.
WITH_GAP = 0.05
#: Fixed, so that loading the demo again changes nothing.
CONSENT_AT = "2026-01-01T00:00:00Z"


def demo_customers(count: int, seed: int) -> Iterator[dict[str, Any]]:
    """Lines for `POST /v1/customers/bulk`. The same seed gives the same customers, and a larger count only adds."""
    chance = random.Random(seed)
    for number in range(1, count + 1):
        customer = _customer(chance, f"cus_{number:06d}")
        yield _welcoming(customer) if number == 1 else customer


def _customer(chance: random.Random, key: str) -> dict[str, Any]:
    region, timezone, language = _draw(chance, PLACES)
    consent = (
        _consent("marketing", "email", _draw(chance, CONTACT_CONSENT)),
        _consent("personalisation", "*", _draw(chance, PERSONALISATION_CONSENT)),
    )
    return {
        "customer": key,
        "attributes": _attributes(chance),
        "region": region,
        "timezone": timezone,
        "language": language,
        "consent": [entry for entry in consent if entry],
    }


def _attributes(chance: random.Random) -> dict[str, Any]:
    mens, womens = _draw(chance, MENS_WOMENS)
    attributes = {
        "recency": _draw(chance, RECENCY_MONTHS),
        "history": _history_usd(chance.random()),
        "mens": mens,
        "womens": womens,
        "zip_code": _draw(chance, ZIP_CODE),
        "newbie": _draw(chance, NEWBIE),
        "channel": _draw(chance, CHANNEL),
    }
    if chance.random() < WITH_GAP:
        del attributes[chance.choice(list(attributes))]
    return attributes


def _history_usd(share: float) -> float:
    """The inverse of the distribution of `history`, in whole cents."""
    for (low, from_usd), (high, to_usd) in pairwise(HISTORY_USD):
        if share <= high:
            return round(from_usd + (to_usd - from_usd) * (share - low) / (high - low), 2)
    return HISTORY_USD[-1][1]


def _consent(purpose: str, channel: str, state: str) -> dict[str, str] | None:
    """`unknown` is what nobody said, so there is no entry for it."""
    if state == "unknown":
        return None
    entry = {"purpose": purpose, "channel": channel, "state": state}
    return {**entry, "source": "signup_form", "basis": "consent", "at": CONSENT_AT}


def _welcoming(customer: dict[str, Any]) -> dict[str, Any]:
    """The first customer of every demo, whom the printed example asks for: known in full, with every consent."""
    whole = {"recency": 3, "history": 142.4, "mens": 1, "womens": 0, "zip_code": "Urban", "newbie": 0, "channel": "Web"}
    granted = [_consent("marketing", "email", "granted"), _consent("personalisation", "*", "granted")]
    place = {"region": "US", "timezone": "America/New_York", "language": "en"}
    return {**customer, "attributes": whole, **place, "consent": granted}


def _draw(chance: random.Random, shares: dict[Any, float]) -> Any:
    return chance.choices(list(shares), list(shares.values()))[0]
