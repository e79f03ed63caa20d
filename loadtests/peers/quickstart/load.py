"""Loads the standard customers into the quickstart stack's own keys."""

from __future__ import annotations

import redis

from loadtests.standard.job import attributes

FIXED: dict[str, str | float] = {
    "lifecycle": "active",
    "language": "de",
    "region": "DE",
    "consent_email": "granted",
    "consent_personalisation": "granted",
}


def load(redis_url: str) -> None:
    """A hash a customer, with the same numbers that the project gets."""
    with redis.Redis.from_url(redis_url) as client:
        pipe = client.pipeline(transaction=False)
        for key, numbers in enumerate(attributes()):
            pipe.hset(f"qs:customer:{key}", mapping={**numbers, **FIXED})
            if key % 500 == 499:
                pipe.execute()
        pipe.execute()
