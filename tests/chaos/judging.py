"""All guarantees and the budget, for what a crowd went through: everything that was broken, in words.

| | by |
|---|---|
| G1 limits, G3 withdrawals, switches, pauses, budgets | `tests.support.verdict`, by the answers, and by the log |
| G2 one key, one answer | every repeat of a key has the same bytes |
| G4 answered and logged | `tests.support.aftermath`, up to what the store may have lost |
| G5 unread facts | no marketing was sent that says so itself |
| G6 the budget | `tests.support.lateness`, of what each answer was late by itself (`tests.chaos.waits`) |
| G7 identifiers | an address that was in every request is nowhere in logs, metrics and the store |
| G8 replay | every record of the log decides again to the bytes that were answered |
"""

from __future__ import annotations

from collections.abc import Iterator

from policy.bundle import Bundle
from tests.chaos import reckoning
from tests.chaos.crowd import CANARY, Crowd
from tests.chaos.reckoning import Reckoned
from tests.chaos.seen import Seen, late_by_itself_ms
from tests.chaos.waits import Waits
from tests.support.aftermath import first_met, in_ledgers, in_the_log, read_log, replays
from tests.support.everything import TRANSACTIONAL
from tests.support.lateness import too_late
from tests.support.look import Inside
from tests.support.server import Server
from tests.support.verdict import verdict, verdict_by_the_log
from tests.support.written import in_store

#: The address without what a URL or a log might write otherwise.
NEEDLE = CANARY.partition("@")[0]


def reckon(crowd: Crowd, inside: Inside, bundle: Bundle, same_clock: bool) -> Reckoned:
    """Tell the history what only the store knows; before every limit is used up."""
    logged, aborted = read_log(inside, crowd, bundle)
    reckoned = Reckoned(adopted=reckoning.adopt(crowd, logged, aborted, same_clock))
    if crowd.losses:
        reckoning.losses(crowd, inside, logged, reckoned)
    return reckoned


def judged(crowd: Crowd, inside: Inside, bundle: Bundle, reckoned: Reckoned, same_clock: bool) -> Iterator[str]:
    """`same_clock`: whether the store's clock is that of the callers, so that the log's times can be compared."""
    logged, aborted = read_log(inside, crowd, bundle)
    yield from verdict(crowd.history)
    if same_clock:
        yield from verdict_by_the_log(crowd.history, {name: each.at for each in logged for name in each.sends})
    for wrong in in_the_log(crowd, logged, aborted):
        if wrong.split(" ", 1)[0] not in reckoned.may_be_lost:
            yield wrong
    yield from in_ledgers(inside, crowd)
    yield from replays(crowd, logged)
    if not crowd.losses:
        yield from first_met(logged)
    yield from unlike_repeats(crowd)
    yield from unread(crowd)
    yield from (f"{each} is not known any more" for each in crowd.forgotten if each not in reckoned.may_be_lost)


def unlike_repeats(crowd: Crowd) -> Iterator[str]:
    for (customer, key), bodies in crowd.repeats.items():
        if len(bodies) > 1:
            yield f"`{key}` of {customer} was answered in {len(bodies)} ways"


def unread(crowd: Crowd) -> Iterator[str]:
    for asked in crowd.history.asked:
        for each in asked.decisions:
            unknown = {"facts_unavailable", "commit_unknown"} & set(each["degraded"])
            if each["action"] == "send" and each["placement"] != TRANSACTIONAL and unknown:
                yield f"{each['decision_id']}: sent, and {unknown}"


def late(seen: list[Seen], waits: Waits) -> Iterator[str]:
    """G6, of each answer what it was late by itself. Of few answers that a fault struck the tenth is a tenth of theirs,
    and not of all that were well."""
    by_servers = [late_ms for each in seen if (late_ms := late_by_itself_ms(each, waits)) is not None]
    callers = [
        each.caller_ms - each.budget_ms - waits.of_server_ms(each.server, each.at) - waits.of_callers_ms(each.at)
        for each in seen
        if each.status
    ]
    yield from too_late(by_servers, callers, 0.0)


def identifiers(servers: list[Server], inside: Inside) -> Iterator[str]:
    """G7: where the address is that was in every request."""
    for server in servers:
        if NEEDLE in server.log:
            yield f"the log of the server on port {server.port} holds an address"
        if NEEDLE.encode() in server.get("/metrics")[1]:
            yield "the metrics hold an address"
    yield from (
        f"the store's `{key}` holds an address" for key, held in in_store(inside).items() if NEEDLE.encode() in held
    )
