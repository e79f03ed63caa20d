"""What must be true of a history, whatever happened inside: `verdict(history)` names everything that is not.

Convicts only on what is sure. A send may have been committed at any time between its question and its answer; but two
contacts that both surely count at one instant were committed one after the other, and the later one was one too many,
if there is no room for both. In the other direction a refusal must have a reason that may have held.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import date, datetime
from typing import Any, TypeAlias
from zoneinfo import ZoneInfo

from tests.support.everything import (
    BUDGET,
    CALENDAR,
    DEFERRED,
    HELD,
    LIMITS,
    PAUSE_S,
    PAUSED,
    RIVALS,
    SCARCE,
    TRANSACTIONAL,
    ZONE,
)
from tests.support.history import FOREVER, Asked, Contact, History, Off, Span, reserved_at_s

SWITCHED_WITHIN_S = 1.0
#: A poll of the switches and the answer to whoever turned one may be this far apart on a busy machine.
QUANTUM_S = 0.02
#: What a caller is told to ask again, and what says so.
MAY_PASS = frozenset({"facts_unavailable", "conflict", "deadline", "merge_pending"})
Window: TypeAlias = date | str


def verdict(history: History) -> list[str]:
    """Everything that is wrong, in words; nothing where all promises were kept."""
    wrong = list(over_budget(history.contacts()))
    for each in history.of_each():
        contacts = each.contacts()
        for judge in (too_many, rivals, after_a_no, in_a_pause, while_off, without_reason):
            wrong += judge(each, contacts)
        wrong += trials(each)
    return wrong


def verdict_by_the_log(history: History, committed: dict[str, Span]) -> list[str]:
    """The same of what the log says more exactly: when each contact was committed. What was acknowledged before must
    have been seen, though the question was asked earlier. (Switches are polled when a decision is made.)"""
    exact = replace(history, committed=committed)
    return [
        f"{wrong} (by the log)"
        for each in exact.of_each()
        for judge in (too_many, rivals, after_a_no, in_a_pause)
        for wrong in judge(each, each.contacts())
    ]


# Never one too many


def too_many(history: History, contacts: list[Contact]) -> Iterator[str]:
    """More contacts in a window of a limit than it allows."""
    for placement, most in LIMITS.items():
        of_placement = [each for each in contacts if each.placement == placement]
        for at_s in sorted({moment for each in of_placement for moment in (each.made.end, each.again_s)}):
            for owner, counted in _by_owner(history, of_placement, at_s).items():
                for window, inside in _windows(placement, counted):
                    one_after_another = _in_turn(history, inside, owner)
                    if len(one_after_another) > most:
                        names = ", ".join(each.decision_id for each in one_after_another)
                        yield f"{len(inside)} of {most} in `{placement}` for {owner} in {window}: {names}"


def _by_owner(history: History, contacts: Iterable[Contact], at_s: float) -> dict[str, list[Contact]]:
    """The contacts that surely count at an instant, by whose they surely are."""
    found: dict[str, list[Contact]] = {}
    for each in contacts:
        if each.surely_at(at_s):
            found.setdefault(history.winner_of(each.customer, at_s), []).append(each)
    return found


def _windows(placement: str, contacts: list[Contact]) -> Iterator[tuple[Window, list[Contact]]]:
    """A test is over long before seven days are; but a day or a month may end in it."""
    unit = CALENDAR.get(placement)
    if unit is None:
        yield "seven days", contacts
        return
    for name in {each for contact in contacts for each in _dates(unit, contact.instant)}:
        yield name, [each for each in contacts if name in _dates(unit, each.instant)]


def _dates(unit: str, span: Span) -> set[Window]:
    days = [datetime.fromtimestamp(at_s, ZoneInfo(ZONE)).date() for at_s in span]
    return {day if unit == "day" else f"{day:%Y-%m}" for day in days}


def _in_turn(history: History, contacts: list[Contact], owner: str) -> list[Contact]:
    """Those of the contacts of which the last one committed must have seen all others.

    What came back (sent although it had been released) or came with a merge was not decided upon: it counts against
    what was asked for after that was acknowledged, and against nothing else.
    """
    joined = {each.decision_id: max(each.again_s, _joined_s(history, each, owner)) for each in contacts}
    plain = [each for each in contacts if joined[each.decision_id] < each.made.start]
    last_s = max((each.made.start for each in plain), default=-FOREVER)
    return [each for each in contacts if each in plain or joined[each.decision_id] <= last_s]


def _joined_s(history: History, contact: Contact, owner: str) -> float:
    """From when on a contact surely was its owner's."""
    merge = next((each for each in history.merges if each.loser == contact.customer), None)
    return -FOREVER if merge is None or contact.customer == owner else merge.at.end


def rivals(history: History, contacts: list[Contact]) -> Iterator[str]:
    """Both of two messages that exclude each other."""
    rivalling = [each for each in contacts if each.placement in RIVALS]
    for at_s in sorted({each.made.end for each in rivalling}):
        for owner, counted in _by_owner(history, rivalling, at_s).items():
            in_turn = _in_turn(history, counted, owner)
            if {each.placement for each in in_turn} == set(RIVALS):
                yield f"{owner} got both of {RIVALS}: {', '.join(each.decision_id for each in in_turn)}"


def over_budget(contacts: list[Contact]) -> Iterator[str]:
    spent: dict[date, int] = {}
    for each in contacts:
        if each.placement == SCARCE:
            for day in {datetime.fromtimestamp(at_s, ZoneInfo("UTC")).date() for at_s in each.window}:
                spent[day] = spent.get(day, 0) + 1
    yield from (f"{n} sends on {day}, where the budget is {BUDGET}" for day, n in spent.items() if n > BUDGET)


# Nothing after a no


def after_a_no(history: History, contacts: list[Contact]) -> Iterator[str]:
    for each in contacts:
        if each.placement == TRANSACTIONAL:
            continue
        keys = _surely_one(history, each)
        if _surely_refused(history, keys, each):
            yield f"{each.decision_id}: {each.customer} had withdrawn consent, or it had expired"
        for stop in history.stops:
            if stop.customer in keys and Span(stop.set_at.end, stop.lifted_at.start).covers(each.made):
                yield f"{each.decision_id}: {each.customer} was suppressed"


def _surely_one(history: History, contact: Contact) -> frozenset[str]:
    """The keys whose refusals surely were the customer's when the question was asked."""
    at_s = contact.made.start
    owner = history.winner_of(contact.customer, at_s)
    return frozenset({owner} | {each.loser for each in history.merges if each.winner == owner and each.at.end <= at_s})


def _surely_refused(history: History, keys: frozenset[str], contact: Contact) -> bool:
    """Statements about one customer were made one after the other; the last one before the question held, unless the
    next one came before the answer. When two became one the refusal of either held until something was said again. A
    question during which its customer became another one may have been answered for that one, of whom other things were
    said meanwhile."""
    if any(
        each.loser in keys and each.at.start <= contact.made.end and each.at.end > contact.made.start
        for each in history.merges
    ):
        return False
    # Who became this customer while the question was on its way could grant for both before it was answered.
    joining = {each.loser for each in history.merges if each.winner in keys and each.at.start <= contact.made.end}
    said = [each for each in history.said if each.customer in keys | joining and each.at.start <= contact.made.end]
    if any(each.at.end > contact.made.start for each in said):
        return False
    said = [each for each in said if each.customer in keys]
    joined_s = max((each.at.start for each in history.merges if each.loser in keys), default=-FOREVER)
    since = [each for each in said if each.at.start > joined_s]
    if since:
        return not since[-1].granted or since[-1].expires_s <= reserved_at_s(contact.decision_id)
    return any(of_key and not of_key[-1].granted for of_key in ([s for s in said if s.customer == key] for key in keys))


def in_a_pause(history: History, contacts: list[Contact]) -> Iterator[str]:
    by_id = {each.decision_id: each for each in contacts}
    bought = [(by_id[told.decision_id], told) for told in history.told if told.what == "converted"]
    bought = [(contact, told) for contact, told in bought if contact.placement == PAUSED]
    for each in contacts:
        if each.placement != PAUSED:
            continue
        keys = _surely_one(history, each)
        for contact, told in bought:
            known = contact.customer in keys and told.at.end <= each.made.start
            if known and reserved_at_s(each.decision_id) < told.happened_s + PAUSE_S:
                yield f"{each.decision_id}: {each.customer} had bought something"


def while_off(history: History, contacts: list[Contact]) -> Iterator[str]:
    once = [each for each in history.asked if each.key is None]  # else another server may have decided it
    servers = {decision["decision_id"]: each.server for each in once for decision in each.decisions}
    for each in contacts:
        for off in history.switches:
            if not _is_about(off, each.placement, each.message):
                continue
            told = servers.get(each.decision_id) == off.server
            since_s = off.off_at.end + (0.0 if told else SWITCHED_WITHIN_S)
            if Span(since_s, off.on_at.start).covers(each.made):
                yield f"{each.decision_id}: `{off.kind}/{off.name}` was off"


def _is_about(off: Off, placement: str, message: str) -> bool:
    match off.kind:
        case "placement":
            return off.name == placement
        case "message":
            return off.name == message
        case "purpose":
            return placement != TRANSACTIONAL
    return off.kind == "all"


# Trials, and time


def trials(history: History) -> Iterator[str]:
    """Nobody changes arms, nobody is sent what they are held out of, and nothing is sent at night."""
    arms: dict[str, set[str]] = {}
    for asked in history.asked:
        for each in asked.decisions:
            if each["placement"] == DEFERRED and each["action"] == "send":
                yield f"{each['decision_id']}: sent in quiet hours"
            if each["placement"] != HELD or each["reason"] in MAY_PASS or each["rung"] == "suppress":
                continue
            arms.setdefault(asked.customer, set()).add(each["arm"])
            if each["arm"] == "holdout" and each["action"] == "send":
                yield f"{each['decision_id']}: {asked.customer} is held out"
    merged = {key for each in history.merges for key in (each.loser, each.winner)}
    for customer, seen in arms.items():
        if len(seen) > 1 and customer not in merged:
            yield f"{customer} was in several arms: {sorted(seen)}"


# Never one too few


def without_reason(history: History, contacts: list[Contact]) -> Iterator[str]:
    """Refusals for which nothing that may have been so is a reason."""
    lost = history.lost()
    for asked in history.asked:
        taken: list[str] | None = None
        for each in asked.decisions:
            if each["action"] == "send":
                continue
            if taken is None:  # the placement of everything that may have counted
                taken = [contact.placement for contact in contacts if contact.maybe_within(asked.at)]
                taken += [name for other in lost if other.at.start <= asked.at.end for name in other.placements]
            if not _may_be_right(history, taken, asked, each):
                codes = sorted({f"{line['message']}: {line['code']}" for line in each["excluded"]})
                yield f"{each['decision_id']}: `{each['placement']}` for {asked.customer}: {each['reason']} ({codes})"


def _may_be_right(history: History, taken: list[str], asked: Asked, decision: dict[str, Any]) -> bool:
    placement = decision["placement"]
    match decision["reason"].split(":")[0]:
        case "consent_denied" | "consent_unknown":
            return _maybe_refused(history, asked.at)
        case "suppressed":
            return any(Span(each.set_at.start, each.lifted_at.end).meets(asked.at) for each in history.stops)
        case "switched_off":
            return _maybe_off(history, asked, placement, "")
        case "no_admissible_message":
            return all(_excused(history, taken, asked, placement, line) for line in decision["excluded"])
        case "holdout":
            return bool(placement == HELD)
        case "quiet_hours":
            return bool(placement == DEFERRED and decision["action"] == "defer")
        case "merge_pending":
            return any(each.at.meets(asked.at) for each in history.merges)
        case reason:
            return reason in MAY_PASS and bool(decision["retryable"])


def _maybe_refused(history: History, at: Span) -> bool:
    said = history.said
    if history.merges:
        joined_s = max(each.at.end for each in history.merges)
        since = [each for each in said if each.at.start > joined_s]
        if not since or since[0].at.end > at.start:  # until it is said again, the stricter of both holds
            return any((not each.granted or each.expires_s < FOREVER) and each.at.start <= at.end for each in said)
        said = since
    for each, after in zip(said, [*said[1:], None], strict=True):
        until_s = FOREVER if after is None else after.at.end
        since_s = each.expires_s - 0.001 if each.granted else each.at.start
        if since_s < FOREVER and Span(since_s, until_s).meets(at):
            return True
    return False


def _maybe_off(history: History, asked: Asked, placement: str, message: str) -> bool:
    return any(
        _is_about(off, placement, message)
        and Span(off.off_at.start, off.on_at.end + SWITCHED_WITHIN_S + QUANTUM_S).meets(asked.at)
        for off in history.switches
    )


def _excused(history: History, taken: list[str], asked: Asked, placement: str, line: dict[str, Any]) -> bool:
    """`taken`: the placement of every contact that may have counted."""
    match line["code"]:
        case "limit_reached":
            return taken.count(placement) >= LIMITS[placement]
        case "excluded_by":
            return any(each in RIVALS and each != placement for each in taken)
        case "cooldown":
            return placement == PAUSED and _may_pause(history, asked)
        case "switched_off":
            return _maybe_off(history, asked, placement, line["message"])
        case "budget_exhausted":
            return placement == SCARCE  # whether it was spent is judged when all is quiet
        case "not_valid_now":
            return placement == "hold"
        case "not_eligible":
            return placement == "tried"
    return False


def _may_pause(history: History, asked: Asked) -> bool:
    return any(
        told.what == "converted" and Span(told.at.start, told.happened_s + PAUSE_S + QUANTUM_S).meets(asked.at)
        for told in history.told
    )
