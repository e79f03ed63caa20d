"""What the demo's shop sells: gifts in five categories, invented."""

from __future__ import annotations

import random
from typing import NamedTuple

#: Category → (what it sells, the cheapest and the dearest in pounds). The bundle has one offer for each.
CATEGORIES = {
    "bags": (("tote", "jumbo bag", "lunch bag", "purse", "suitcase"), 2.0, 45.0),
    "kitchen": (("mug", "teapot", "cake tin", "apron", "egg cup"), 1.5, 35.0),
    "lighting": (("lantern", "candle", "fairy lights", "lamp", "t-light holder"), 1.0, 60.0),
    "garden": (("plant pot", "parasol", "bird box", "watering can", "bunting"), 2.0, 80.0),
    "christmas": (("bauble", "wreath", "stocking", "advent calendar", "cracker"), 0.8, 30.0),
}
PER_KIND = 6


class Product(NamedTuple):
    id: str
    category: str
    price: float  # pounds


def _assortment() -> dict[str, tuple[Product, ...]]:
    chance = random.Random(11)  # the same shop every time
    return {
        category: tuple(
            Product(f"{kind.replace(' ', '_')}_{number}", category, round(chance.uniform(cheapest, dearest), 2))
            for kind in kinds
            for number in range(1, PER_KIND + 1)
        )
        for category, (kinds, cheapest, dearest) in CATEGORIES.items()
    }


PRODUCTS = _assortment()
