"""The pharmacy's bundle (`pharmacy_bundle/`), and deciding in it."""

from __future__ import annotations

import dataclasses
from functools import cache
from pathlib import Path

from policy.bundle import Bundle
from policy.codes import SwitchKind
from policy.compile import load
from policy.control import EVERYTHING, Switch

FOLDER = Path(__file__).parent / "pharmacy_bundle"


@cache
def pharmacy(unknown_transactional: str = "generic") -> Bundle:
    return dataclasses.replace(load(FOLDER), unknown_transactional=unknown_transactional)  # type: ignore[arg-type]  # one of three texts


def off(kind: SwitchKind | str, name: str = EVERYTHING, until_ms: int | None = None) -> Switch:
    """A switch that somebody threw."""
    return Switch(SwitchKind(kind), name, "on_call", "a drill", until_ms, 0)
