"""The deliverability watch: every ten seconds one of the event workers looks at what was counted, and brakes.

    whose turn is it → what is off, and since when is what evidence → count → judge → brake → keep what was found

What is off is read before anything is counted, and a brake is refused where a switch was turned since: so whoever lifts
a brake has the last word, whatever a slow process may still be about to do.
Falls open: while the store or every worker is away nothing is braked, and what was found last grows old where it shows.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from app.core import deliverability
from app.core.deliverability import ROWS_MAX, Judgement, Turn
from policy.codes import SwitchKind
from policy.watch import WATCH, brakes, table

if TYPE_CHECKING:  # handed in by the composition root
    from app.core.deliverability import Since
    from app.store.control import Change, ControlStore
    from app.store.watch import WatchStore
    from policy.outcome_rules import Watch

LOOK_EVERY_S = 10.0
#: Others keep still for a little less than the time between two looks, so that who looked last is the next one again,
#: and has what was read of earlier hours.
TURN_MS = 9_500
#: Hours before the last two hardly change; they are read again in this time, some at each look.
ANEW_AFTER_MS = 300_000

log = logging.getLogger("nextbest.deliverability")


class DeliverabilityWatch:
    """Looks at all outcomes of a deployment. One a process; one of them looks."""

    def __init__(
        self,
        store: WatchStore,
        switches: ControlStore,
        rules: Watch,
        spared: frozenset[str],
        owner: str,
        trouble: Callable[[str], None],
    ) -> None:
        """`spared`: messages that are never braked. `owner`: a name that no other process has. `trouble(what)`: for
        what went wrong and is tried again."""
        self._store = store
        self._switches = switches
        self._rules = rules
        self._spared = spared
        self._owner = owner
        self._trouble = trouble
        self.look_every_s = LOOK_EVERY_S
        self.looks = 0  # how often it has looked
        self._hours: dict[int, dict[str, int]] = {}
        self._read_at_ms: dict[int, int] = {}

    async def run(self, stopped: asyncio.Event) -> None:
        """Look until it is stopped."""
        while not stopped.is_set():
            try:
                if await self._store.take_turn(self._owner, TURN_MS):
                    await self.look()
            except Exception as error:
                self._trouble(type(error).__name__)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.look_every_s):
                    await stopped.wait()

    async def look(self) -> Judgement:
        """Look once. Raises Problem `store_unavailable`, `durability_unmet`: then some messages may be braked already,
        and the next look does the rest."""
        last = await self._store.last()
        off, changes, newest = await self._switches.board()
        now_ms = await self._store.now_ms()
        await self._count(now_ms)
        lifted = deliverability.lifts(_turn(change) for change in reversed(changes))
        since = deliverability.raised({} if last is None else last.since, lifted, self._hours, now_ms)
        judgement = self._judge(now_ms, since)
        # Kept before anything is braked: since when there is evidence must not be lost.
        await self._store.keep(judgement)
        silent = {each.name for each in off if each.kind is SwitchKind.MESSAGE and each.in_force(now_ms)}
        for brake in brakes(deliverability.evidence(self._hours, since), self._rules, self._spared):
            if brake.message in silent:
                continue
            turned = await self._switches.brake(brake.message, WATCH, brake.why, newest, now_ms)
            if turned is None:
                break  # somebody turned a switch: the next look begins with that
            log.error("a message is switched off: %s", brake.why, extra={"brake": brake.message})
            newest = turned
        self.looks += 1
        return judgement

    async def _count(self, now_ms: int) -> None:
        """Bring the hours up to date: the last two always, others in turn, and those never read."""
        hours = deliverability.hours_of(now_ms, self._rules.window_ms)
        for gone in self._hours.keys() - set(hours):
            del self._hours[gone], self._read_at_ms[gone]
        earlier = sorted(hours[:-2], key=lambda hour: self._read_at_ms.get(hour, 0))
        a_few = 1 + len(earlier) * round(LOOK_EVERY_S * 1000) // ANEW_AFTER_MS
        due = [hour for n, hour in enumerate(earlier) if n < a_few or hour not in self._hours]
        for hour in [*hours[-2:], *due]:
            self._hours[hour] = await self._store.hour(hour)
            self._read_at_ms[hour] = now_ms

    def _judge(self, now_ms: int, since: dict[str, Since]) -> Judgement:
        rows = table(deliverability.cells_of(deliverability.whole(self._hours)), self._rules)
        limits = {kind: (rate.alert, rate.brake) for kind, rate in self._rules.rates.items()}
        return Judgement(
            now_ms,
            self._rules.window_ms,
            self._rules.at_least,
            limits,
            tuple(rows[:ROWS_MAX]),
            max(0, len(rows) - ROWS_MAX),
            since,
        )


def _turn(change: Change) -> Turn:
    return Turn(change.kind, change.name, change.state == "off", change.by, change.key, change.at_ms)
