"""The targets by name, each read when it is asked for, so that only what it feeds is watched."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module
from random import Random
from typing import NamedTuple

NAMES = (
    "bodies",
    "bundles",
    "decide",
    "events",
    "headers",
    "http",
    "imports",
    "outcomes",
    "records",
    "rules",
    "store",
    "unsubscribe",
    "webhooks",
    "yaml",
)


class Target(NamedTuple):
    """A parser and what it is fed."""

    name: str
    run: Callable[[bytes], object]
    seeds: tuple[bytes, ...]
    words: tuple[bytes, ...]  # what the format gives a meaning to
    #: Changes what an input means, where changes of its bytes rarely get past the syntax; None: not this one.
    mutate: Callable[[bytes, Random], bytes | None] | None = None


def target_of(name: str) -> Target:
    """The target of this name. Raises ModuleNotFoundError."""
    module = import_module(f"tests.fuzz.targets.{name}")
    seeds: Iterable[bytes] = module.seeds()
    return Target(name, module.run, tuple(seeds), tuple(module.WORDS), getattr(module, "mutate", None))
