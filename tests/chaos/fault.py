"""What a fault is: a name, what happens while it lasts, and what may be forgiven."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TypeAlias

from tests.chaos.crowd import Crowd
from tests.chaos.seen import TROUBLE
from tests.chaos.site import Site

#: Enters the fault and leaves it again. May check, when it is left, what is its own business alone.
Strike: TypeAlias = Callable[[Site, Crowd], AbstractAsyncContextManager[None]]


@dataclass(frozen=True)
class Fault:
    """`strike` happens to a crowd for so many seconds: a few in a test, more where the table is made."""

    name: str
    words: str  # in the table
    strike: Strike
    seconds: float
    quick_s: float = 0.6
    before_s: float = 0.2  # of load, before it begins
    everybody: bool = False  # it strikes both servers, and not only the one
    manned: bool = False
    through_door: bool = False
    #: What tells that it is not over yet.
    symptoms: frozenset[str] = TROUBLE
    #: Placements of which the store forgets when reservations expire and purchases were, are left out.
    forgets: bool = False
