"""Customers of `privacy_bundle`: the standard job's, under that bundle's names, so that costs can be compared."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from loadtests.standard import job

BUNDLE = Path(__file__).parent / "privacy_bundle"
#: In the order of the model's inputs, which is that of the standard job's numbers.
NAMES = (
    "order_recency", "order_frequency", "order_value", "country_demand", "basket_size", "open_rate", "click_rate",
    "return_rate", "discount_share", "visit_rate", "search_rate", "complaint_rate", "review_rate", "loyalty",
    "mens_share", "womens_share", "home_share", "sport_share", "food_share", "app_share",
)  # fmt: skip


def customers(count: int) -> Iterator[dict[str, Any]]:
    """Lines of `/v1/customers/bulk`. Every tenth has a care plan, and has agreed to be written to about it."""
    for index, numbers in enumerate(job.attributes(count, NAMES)):
        line = job.customer(f"c{index}", numbers)
        if index % 10 == 0:
            line["attributes"]["care_plan"] = "diabetes"
            line["consent"].append({**line["consent"][0], "purpose": "care"})
        yield line


def decide_body(key: str, placement: str = "weekly_offer") -> bytes:
    """The body of `POST /v1/decide`."""
    context = {"language": "de", "region": "DE", "timezone": "Europe/Berlin", "trigger": "none"}
    return json.dumps({"customer": key, "placements": [placement], "context": context}).encode()
