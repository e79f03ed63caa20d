"""What active customers take in the store: a history of sixty days, folded and written as the worker writes it."""

from __future__ import annotations

import random

import redis

from loadtests.features.bench import TWELVE, folded, history, plan_of, stored

NAME = "{t017}:f:cus_%05d"  # as long as a real one, and nobody's


def bytes_a_customer(store: redis.Redis) -> float:
    """Mean memory of a customer's key, with its name, for twelve windowed features."""
    plan = plan_of(TWELVE)
    customers = [stored(plan, state) for state in folded(plan, history(random.Random(1)))]
    names = [NAME % number for number in range(len(customers))]
    for name, fields in zip(names, customers, strict=True):
        store.hset(name, mapping=fields)  # type: ignore[arg-type]  # bytes are as good as texts
    sizes = [int(store.memory_usage(name, samples=0) or 0) for name in names]
    store.delete(*names)
    return sum(sizes) / len(sizes)
