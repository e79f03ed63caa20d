"""The names of Segment's e-commerce specification, so that shops which send it need no aliases of their own.

Each of its names stands for the event that a bundle declares under the same name in small letters: `Product Viewed` for
`product_viewed`. What a bundle says in `aliases` wins. The table is the specification's second version with the names
of the first as aliases: https://segment.com/docs/connections/spec/ecommerce/v2/
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

NAMES = (
    "Products Searched", "Product List Viewed", "Product List Filtered",
    "Promotion Viewed", "Promotion Clicked",
    "Product Clicked", "Product Viewed", "Product Added", "Product Removed", "Cart Viewed",
    "Checkout Started", "Checkout Step Viewed", "Checkout Step Completed", "Payment Info Entered",
    "Order Completed", "Order Updated", "Order Refunded", "Order Cancelled",
    "Coupon Entered", "Coupon Applied", "Coupon Denied", "Coupon Removed",
    "Product Added to Wishlist", "Product Removed from Wishlist", "Wishlist Product Added to Cart",
    "Product Shared", "Cart Shared", "Product Reviewed",
)  # fmt: skip

#: Names of the first version → those of the second.
FORMER: Mapping[str, str] = MappingProxyType(
    {
        "Viewed Product": "Product Viewed",
        "Clicked Product": "Product Clicked",
        "Added Product": "Product Added",
        "Removed Product": "Product Removed",
        "Viewed Product Category": "Product List Viewed",
        "Viewed Promotion": "Promotion Viewed",
        "Clicked Promotion": "Promotion Clicked",
        "Viewed Checkout Step": "Checkout Step Viewed",
        "Completed Checkout Step": "Checkout Step Completed",
        "Started Order": "Checkout Started",
        "Updated Order": "Order Updated",
        "Completed Order": "Order Completed",
        "Refunded Order": "Order Refunded",
        "Cancelled Order": "Order Cancelled",
    }
)


def _id(name: str) -> str:
    return name.lower().replace(" ", "_")


#: Every name of the specification → the id under which a bundle declares that event.
SHOP_EVENTS: Mapping[str, str] = MappingProxyType(
    {name: _id(name) for name in NAMES} | {former: _id(name) for former, name in FORMER.items()}
)
