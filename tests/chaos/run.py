"""One fault under load: callers, the fault, quiet, judgement."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.crowd import Crowd
from tests.chaos.fault import Fault
from tests.chaos.judging import identifiers, judged, late, reckon
from tests.chaos.reckoning import Reckoned
from tests.chaos.seen import Row, Seen, row
from tests.chaos.site import Site
from tests.chaos.waits import Waits, watched
from tests.support.aftermath import in_the_log, read_log
from tests.support.everything import EXPIRING, PAUSED

CUSTOMERS, QUICK_CUSTOMERS = 8, 4
ASKERS = 8
#: Times that new customers are pressed upon while a fault lasts, and how many of them.
TIMES, QUICK_TIMES, PRESSED = 5, 1, 4
#: Twice what a server waits between two tries, and what a commit may be late: where something will stay unsettled.
UNSETTLED_S = 0.7
#: Elsewhere a busy machine is waited for.
SETTLED_S = 5.0
#: Answers that are waited for after the fault's end, beside those that say that all is well.
AFTER = 20


@dataclass
class Endured:
    """What was seen, and everything that was wrong."""

    row: Row
    wrong: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return self.row.as_json() | {"wrong": self.wrong}


async def endure(fault: Fault, site: Site) -> Endured:
    """Raises AssertionError only where the fault itself could not be made, or nothing ever became well again."""
    asked = QUICK_CUSTOMERS if site.quick else CUSTOMERS
    times = QUICK_TIMES if site.quick else TIMES
    async with site.crowd(asked + times * PRESSED, fault.through_door) as crowd:
        fresh = crowd.customers[asked:]
        del crowd.customers[asked:]
        crowd.placements = tuple(
            each for each in crowd.placements if not (fault.forgets and each in (EXPIRING, PAUSED))
        )
        crowd.expiring = crowd.expiring and not fault.forgets
        if not fault.forgets:  # a merge that is forgotten is said again by nobody
            crowd.couples = list(zip(crowd.customers[::4], crowd.customers[1::4], strict=True))
        async with watched(site.pids) as waits:
            raging = asyncio.create_task(crowd.rage(seconds=600, askers=ASKERS))
            try:
                begun, ended, well_after_s = await _under_load(fault, site, crowd, fresh)
            finally:
                crowd.over()
                await raging
            await crowd.calm()
            await _settled(site, crowd)
            reckoned = reckon(crowd, site.inside, site.served.bundle, site.same_clock)
            # Where a grant must wait nothing can be used up.
            left = [] if crowd.clock_set_back else await crowd.use_up()
            await _settled(site, crowd)
        struck = [each for each in crowd.seen if fault.everybody or each.server >= crowd.struck_from]
        during = [each for each in struck if begun <= each.asked_s <= ended]
        assert during, "nobody asked while it lasted"
        wrong = [*left, *_verdict(site, crowd, reckoned, during, waits)]
        seen = row(fault.name, during, waits, ended - begun, well_after_s, reckoned.words)
        return Endured(seen, wrong)


async def _under_load(fault: Fault, site: Site, crowd: Crowd, fresh: list[str]) -> tuple[float, float, float]:
    await crowd.answered(AFTER)
    await asyncio.sleep(fault.before_s)
    async with fault.strike(site, crowd):
        begun, seconds = time.time(), fault.quick_s if site.quick else fault.seconds
        pressing = asyncio.create_task(_press(crowd, fresh, seconds))
        merging = asyncio.create_task(crowd.become_one(seconds))
        await asyncio.sleep(seconds)
    ended = time.time()
    await pressing
    await merging
    well_after_s = await crowd.well_since(ended, fault.symptoms)
    await crowd.answered(AFTER)
    return begun, ended, well_after_s


async def _press(crowd: Crowd, fresh: list[str], seconds: float) -> None:
    """The first at once, the others over the time that the fault lasts."""
    async with asyncio.TaskGroup() as group:
        for number in range(0, len(fresh), PRESSED):
            group.create_task(crowd.press(fresh[number : number + PRESSED]))
            await asyncio.sleep(seconds * PRESSED / len(fresh))


async def _settled(site: Site, crowd: Crowd) -> None:
    """What servers have still to take back or to log comes to its end: until the log is as was answered, or does not
    change any more."""
    wait_s = UNSETTLED_S if crowd.never_settled or crowd.losses else SETTLED_S
    before, since_s = list[str](), time.monotonic()
    while wrong := list(in_the_log(crowd, *read_log(site.inside, crowd, site.served.bundle))):
        if wrong != before:
            before, since_s = wrong, time.monotonic()
        elif time.monotonic() > since_s + wait_s:
            return
        await asyncio.sleep(0.05)


def _verdict(site: Site, crowd: Crowd, reckoned: Reckoned, during: list[Seen], waits: Waits) -> Iterator[str]:
    if not site.quick:  # in small, a process that begins takes as long as the fault lasts
        yield from late(crowd.seen, waits)
        yield from late(during, waits)
    yield from judged(crowd, site.inside, site.served.bundle, reckoned, site.same_clock)
    yield from identifiers(site.servers, site.inside)
