"""What somebody writes who uses `segment-analytics-python`; only the host is ours."""

import sys
from datetime import UTC, datetime

from segment.analytics.client import Client

url, key, user, hour_ago = sys.argv[1:]
client = Client(key, host=url, gzip=True)
when = datetime.fromtimestamp(int(hour_ago) / 1000, UTC)
client.identify(user, {"email": "ada@example.com", "plan": "gold"}, message_id="identify")
client.track(user, "Product Viewed", {"product_id": "p1", "price": "10.5"}, timestamp=when, message_id="then")
client.track(user, "Product Viewed", {"product_id": "p2", "colour": "red"}, message_id="now")
client.track(
    anonymous_id=f"anonymous {user}", event="Product Viewed", properties={"product_id": 3}, message_id="visitor"
)
client.track(user, "Product Viewed", {"price": 1}, message_id="unfit")
client.page(user, "Home", "Shop", {"url": "/"}, anonymous_id=f"anonymous {user}", message_id="page")
client.group(user, "g1", {"name": "a company"}, message_id="group")
client.alias(f"before {user}", user, message_id="alias")
client.flush()
client.join()
