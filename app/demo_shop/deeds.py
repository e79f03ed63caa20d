"""What customers do, and the form in which the server is told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from app.demo_shop.goods import Product

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS


class Deed(NamedTuple):
    """One thing that one customer does."""

    customer: str
    event: str  # as the bundle declares it
    properties: Mapping[str, Any]


class Past(NamedTuple):
    """A deed that was done before the demo began."""

    at_ms: int  # Unix ms
    deed: Deed


class Due(NamedTuple):
    """A deed of the demo itself."""

    after_s: float  # seconds of the shop's time since the demo began
    deed: Deed


class Shop(NamedTuple):
    """A shop: who its customers are, what they have done, what they will do, and whom to watch."""

    customers: Sequence[Mapping[str, Any]]  # lines of `POST /v1/customers/bulk`
    past: Sequence[Past]  # in order of time; told once in the life of a store
    lately: Sequence[Past]  # what the watched ones did, in order of time; told whenever the shop opens
    future: Iterator[Due]  # in order of time
    watched: Sequence[str]


def views(customer: str, product: Product) -> Deed:
    return Deed(customer, "product_viewed", _shown(product))


def adds(customer: str, product: Product) -> Deed:
    return Deed(customer, "product_added", _shown(product))


def starts_checkout(customer: str, value: float) -> Deed:
    return Deed(customer, "checkout_started", {"value": round(value, 2)})


def orders(customer: str, order_id: str, revenue: float) -> Deed:
    return Deed(customer, "order_completed", {"order_id": order_id, "revenue": round(revenue, 2)})


def sends_back(customer: str, order_id: str, total: float) -> Deed:
    return Deed(customer, "order_refunded", {"order_id": order_id, "total": round(total, 2)})


def _shown(product: Product) -> dict[str, Any]:
    return {"product_id": product.id, "category": product.category, "price": product.price}


def told(deed: Deed, opening: str, number: int, at_ms: int | None = None) -> dict[str, Any]:
    """The body of the `number`th event of one opening of the shop; without a time it happened when it is received.

    Its own id and that of its order hold the opening's: what happens in another one is no repeat.
    """
    properties = dict(deed.properties)
    if "order_id" in properties:
        properties["order_id"] = f"{opening}_{properties['order_id']}"
    body = {"event": deed.event, "customer": deed.customer, "id": f"{opening}_{number}", "properties": properties}
    if at_ms is not None:
        body["at"] = datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")
    return body


def person(
    customer: str, *, marketing: str = "granted", personal: str = "granted", region: str = "GB"
) -> dict[str, Any]:
    """A line of `POST /v1/customers/bulk`: where somebody lives and what they agreed to. Nothing else is imported;
    all that is known besides comes from events."""
    said = {"source": "signup_form", "basis": "consent", "at": "2026-01-01T00:00:00Z"}
    return {
        "customer": customer,
        "region": region,
        "timezone": {"GB": "Europe/London", "DE": "Europe/Berlin"}[region],
        "language": {"GB": "en", "DE": "de"}[region],
        "consent": [
            {"purpose": "marketing", "channel": "*", "state": marketing, **said},
            {"purpose": "personalisation", "channel": "*", "state": personal, **said},
        ],
    }
