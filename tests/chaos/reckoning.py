"""What nobody outside could know, looked up in the store when all is quiet, told to the history before that is judged.

- A caller whose connection ended does not know what was decided. The server counts an answer that it gave as given
  (docs/guarantees.md, G4): what the log holds for such a request, and does not mark as aborted, was answered.
- A store that crashed may have forgotten what was written after its last write to the disk, and nothing else. What is
  missing and lies there is what was lost; what is missing and does not is left for the judges.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from typing import Any

from app.core.decision.ids import unpack_id
from app.core.decision.replay import replay
from tests.chaos.crowd import Crowd
from tests.support.aftermath import Logged
from tests.support.history import FOREVER, REACHED, Asked, Contact, Span, Told
from tests.support.look import KEYS, Inside

#: Between two looks at a clock on one machine, rounded to milliseconds.
CLOCK_S = 0.005


@dataclass
class Reckoned:
    """What had to be looked up, by how much of it there was."""

    adopted: int = 0  # requests without an answer, whose decision is in the log
    contacts: int = 0
    outcomes: int = 0
    may_be_lost: frozenset[str] = frozenset()  # ids of contacts that the log need not hold

    @property
    def words(self) -> str:
        found = [f"{self.contacts} contacts"] * bool(self.contacts) + [f"{self.outcomes} outcomes"] * bool(
            self.outcomes
        )
        return " and ".join(found) or "nothing"


def adopt(crowd: Crowd, logged: list[Logged], aborted: set[str], same_clock: bool) -> int:
    """Give requests that got no answer what the log says that they were answered. How many there were."""
    known = {decision["decision_id"] for asked in crowd.history.asked for decision in asked.decisions}
    known -= _never_taken_back(crowd)
    waiting, adopted = list(crowd.unanswered) + _given_up(crowd), 0
    for each in logged:
        if each.record.base in aborted or not (sends := set(each.sends)) or sends & known:
            continue
        request = _asked_for(crowd, waiting, each, same_clock)
        if request is not None:
            waiting.remove(request)
            crowd.history.asked.append(replace(_until(request, each, same_clock), decisions=_decisions(each)))
            adopted += 1
    return adopted


def _asked_for(crowd: Crowd, waiting: list[Asked], logged: Logged, same_clock: bool) -> Asked | None:
    """The request that this may be the decision of: one that still waited then, else the last one before. A connection
    that ended keeps neither its server from deciding nor the store from committing, later on."""
    asked, placements = logged.record.asked, tuple(each.placement.id for each in logged.record.decisions)
    found = [
        each
        for each in waiting
        # Whose it was then: of who was becoming another one meanwhile, that is the other.
        if asked.customer in {each.customer, crowd.history.winner_of(each.customer)} and each.placements == placements
    ]
    if not same_clock:
        return next(iter(found), None)
    begun = [each for each in found if each.at.start - CLOCK_S <= logged.at.end]
    return max(begun, key=lambda each: (each.at.end + CLOCK_S >= logged.at.start, each.at.start), default=None)


def _until(request: Asked, logged: Logged, same_clock: bool) -> Asked:
    """The request, as long as it went on."""
    if not same_clock:
        return request
    return replace(request, at=request.at._replace(end=max(request.at.end, logged.at.end)))


def _given_up(crowd: Crowd) -> list[Asked]:
    """Requests that a server answered without knowing their fate, and that were not taken back."""
    return crowd.history.lost() if crowd.never_settled else []


def _never_taken_back(crowd: Crowd) -> set[str]:
    return {decision["decision_id"] for asked in _given_up(crowd) for decision in asked.decisions}


def _decisions(logged: Logged) -> tuple[dict[str, Any], ...]:
    """Those that sent something: why not is in the record, and was not asked for."""
    answers = (json.loads(again.answer) for again in replay(logged.record))
    return tuple(answer for answer in answers if answer["action"] == "send")


def losses(crowd: Crowd, inside: Inside, logged: list[Logged], reckoned: Reckoned) -> None:
    """Tell the history what the store forgot, as far as it may have."""
    for loss in crowd.losses:
        _forget_words(crowd, loss)
    may = {each.decision_id for each in crowd.history.contacts() if _within(each.made, crowd.losses)}
    in_log = {name for each in logged for name in each.sends}
    held = {each: _ledger(inside, each) for each in crowd.customers}
    stories: dict[str, list[Told]] = {}
    for told in crowd.history.told:
        stories.setdefault(told.decision_id, []).append(told)
    for contact in crowd.history.contacts():
        story = stories.get(contact.decision_id, [])
        if not (contact.decision_id in may or any(_within(told.at, crowd.losses) for told in story)):
            continue
        is_there = contact.decision_id in held[crowd.history.winner_of(contact.customer)]
        if is_there is contact.released:
            _tell_what_is(crowd, contact, is_there, story)
            reckoned.outcomes += bool(story)
            reckoned.contacts += contact.decision_id not in in_log
    reckoned.may_be_lost = frozenset(may)


def _within(span: Span, losses: list[Span]) -> bool:
    return any(span.meets(loss) for loss in losses)


def _ledger(inside: Inside, customer: str) -> set[str]:
    return {unpack_id(member[:14]) for member in inside.zrange(KEYS.of(customer).ledger, 0, -1)}


def _tell_what_is(crowd: Crowd, contact: Contact, is_there: bool, story: list[Told]) -> None:
    """As if somebody had told it between the loss and now: a contact that is gone was not sent; one that is there
    again was."""
    loss = next(each for each in crowd.losses if contact.made.meets(each) or any(t.at.meets(each) for t in story))
    at = Span(loss.end, time.time())
    reached = [told for told in story if told.what in REACHED]
    if not is_there and reached:  # nothing ends what reached somebody: that was forgotten as well
        crowd.history.told[:] = [told for told in crowd.history.told if told not in reached]
    crowd.history.told.append(Told(contact.decision_id, "sent" if is_there else "not_sent", at, at.end))


def _forget_words(crowd: Crowd, loss: Span) -> None:
    """What was said in the loss may be in force or not, until it was said again."""
    history = crowd.history
    for place, said in enumerate(history.said):
        if said.at.meets(loss):
            later = (each.at for each in history.said if each.customer == said.customer and each.at.start > loss.end)
            history.said[place] = replace(said, at=Span(said.at.start, next(later, Span(0, FOREVER)).end))
    for stop in history.stops:
        if stop.set_at.meets(loss):
            stop.set_at = Span(stop.set_at.start, FOREVER)
        if stop.lifted_at.meets(loss):
            stop.lifted_at = Span(stop.lifted_at.start, time.time())
    for off in history.switches:
        if off.off_at.meets(loss):
            off.off_at = Span(off.off_at.start, FOREVER)
    for (customer, key), bodies in list(crowd.repeats.items()):
        asked = [each for each in history.asked if (each.customer, each.key) == (customer, key)]
        if len(bodies) > 1 and any(each.at.meets(loss) for each in asked):
            del crowd.repeats[customer, key]
