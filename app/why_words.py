"""What the server said, in plain words: an answer in one sentence, the gate, every candidate, and one message's whole
way through the checks. Pure.

The order of checks is that of `app.core.decision`: gate, eligible, limits, arbitrate. A candidate carries the first
that stopped it, so those before it are passed, and those after it were not looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, NamedTuple, cast
from zoneinfo import ZoneInfo

from app.why import Told
from policy.calendar import period
from policy.codes import STOPS_TRANSACTIONAL, Action, Exclusion, Reason
from policy.consent import EVERY_CHANNEL, PERSONALISATION, entry_in_force
from policy.durations import seconds
from policy.facts import ConsentEntry


class Mark(StrEnum):
    PASSED = "✓"
    STOPPED = "✗"
    OPEN = "·"  # not looked at, or of no weight here


class Line(NamedTuple):
    mark: Mark
    what: str
    detail: str = ""


_HOW = {
    Reason.MODEL_RANKED: "the model ranks it first",
    Reason.EXPLORED: "it is tried now and then, to learn",
    Reason.RULE_RANKED: "it is the first of the approved order that may be sent",
    Reason.CATEGORY_DEFAULT: "the model was not sure enough, and this is its category's message",
    Reason.PLACEMENT_DEFAULT: "it is the placement's default, which needs nothing personal",
    Reason.BASELINE: "the customer is in the baseline arm: what the business did before",
}
_WHY_NOT = {
    Reason.HOLDOUT: "the customer is held out, to measure what sending is worth",
    Reason.SUPPRESSED: "the customer is suppressed",
    Reason.CONSENT_UNKNOWN: "the customer has not said that they may be contacted, and silence permits nothing here",
    Reason.CONSENT_DENIED: "the customer does not want to be contacted",
    Reason.FACTS_UNAVAILABLE: "what must be known could not be read; asking again may help",
    Reason.NO_ADMISSIBLE_MESSAGE: "no message of the placement may be sent",
    Reason.QUIET_HOURS: "it is not the time of day",
    Reason.CONFLICT: "too much happened to this customer at once; asking again may help",
    Reason.MERGE_PENDING: "another profile is being merged into this one; asking again may help",
    Reason.DEADLINE: "there was not enough time; asking again may help",
    Reason.SWITCHED_OFF: "it is switched off",
}


def sentence(told: Told) -> str:
    """The answer in one sentence."""
    decision, place = told.decision, f"`{told.placement['id']}`"
    code, _, more = str(decision["reason"]).partition(":")
    reason = Reason(code)
    if decision["action"] == Action.SEND:
        message = decision["message"]
        subject = f", “{message['subject']}”" if message["subject"] else ""
        wording = f"`{message['id']}` ({message['variant']}{subject})"
        return f"{told.customer} would get {wording} in {place}: {_HOW[reason]}."
    about = more.replace("_", " ") or decision.get("detail") or ""
    why = _WHY_NOT.get(reason, code) + (f" ({about})" if about else "")
    if decision["action"] == Action.DEFER:
        begins = told_time(told, decision["send_window"]["not_before"])
        return f"{told.customer} would get nothing in {place} now: {why}. Ask again from {begins} on."
    return f"{told.customer} would get nothing in {place}: {why}."


def window(told: Told) -> str:
    """When it may be sent, and how sure the choice was."""
    decision = told.decision
    found = decision["send_window"]
    if decision["action"] != Action.SEND or found is None:
        return ""
    words = f"To be sent from {told_time(told, found['not_before'])} to {told_time(told, found['not_after'])}"
    chance = decision["propensity"]
    return words + ("" if chance in (None, 1.0) else f"; chosen with probability {chance:.3g}") + "."


def gate(told: Told) -> Iterator[Line]:
    """Where the customer is, switches, suppressions, both consents."""
    profile = told.profile or {}
    place = [profile[name] for name in ("region", "timezone") if profile.get(name)]
    yield Line(Mark.OPEN, f"lives in {', '.join(place)}" if place else "nobody knows where they live")
    yield from _switches(told)
    yield from _suppressions(told)
    yield _contact(told)
    yield _personalisation(told)


def _switches(told: Told) -> Iterator[Line]:
    placement = told.placement
    concerned = {
        ("all", "*"), ("placement", placement["id"]), ("purpose", placement["purpose"]), ("purpose", PERSONALISATION),
        ("model", placement["model"]), *(("message", name) for name in placement["messages"]),
    }  # fmt: skip
    wide = ("region", "feature")  # whether one of these matters here, only the server can tell
    off = [each for each in told.switches if each["kind"] in wide or (each["kind"], each["name"]) in concerned]
    for switch in off:
        until = f", until {told_time(told, switch['until'])}" if switch.get("until") else ", until it is turned on"
        yield Line(
            Mark.STOPPED if _stops(told, switch) else Mark.OPEN,
            f"{switch['kind']} {switch['name']} is switched off",
            f"by {switch['by']}: {switch['why']}{until}",
        )
    if not off:
        yield Line(Mark.PASSED, "nothing that matters here is switched off")


def _stops(told: Told, switch: Mapping[str, Any]) -> bool:
    """Whether this switch is the reason of the answer."""
    decision = told.decision
    return decision["reason"] == Reason.SWITCHED_OFF and decision.get("detail") == f"{switch['kind']} {switch['name']}"


def _suppressions(told: Told) -> Iterator[Line]:
    found = told.profile["suppressions"] if told.profile else ()
    if not found:
        yield Line(Mark.PASSED, "not suppressed")
    for each in found:
        covers = each["scope"] in (EVERY_CHANNEL, told.placement["channel"])
        stops = covers and (told.placement["class"] == "marketing" or each["reason"] in STOPS_TRANSACTIONAL)
        scope = "every channel" if each["scope"] == EVERY_CHANNEL else each["scope"]
        said = f"said by {each['source']}, since {told_time(told, each['at'])}"
        yield Line(Mark.STOPPED if stops else Mark.OPEN, f"suppressed on {scope}: {each['reason']}", said)


def _contact(told: Told) -> Line:
    """Consent to contact. The answer tells whether it sufficed; the profile, what was said."""
    placement, reason = told.placement, str(told.decision["reason"])
    purpose, channel = placement["purpose"], placement["channel"]
    state, said = _said(told, purpose, channel)
    what = f"contact for {purpose} by {channel}: {state}"
    if reason in (Reason.CONSENT_UNKNOWN, Reason.CONSENT_DENIED):
        return Line(Mark.STOPPED, what, said or told.decision.get("detail") or "")
    if reason.partition(":")[0] in (
        Reason.SUPPRESSED,
        Reason.SWITCHED_OFF,
        Reason.MERGE_PENDING,
        Reason.FACTS_UNAVAILABLE,
    ):
        return Line(Mark.OPEN, what, said)
    if state == "granted":
        return Line(Mark.PASSED, what, said)
    if placement["class"] == "transactional":
        return Line(Mark.PASSED, what, f"{said}; transactional mail needs no consent")
    return Line(Mark.PASSED, what, _ground(told, "contact") or said)


def _personalisation(told: Told) -> Line:
    state, said = _said(told, PERSONALISATION, told.placement["channel"])
    what = f"personalisation: {state}"
    if told.decision["rung"] == "suppress":
        return Line(Mark.OPEN, what, said)
    if "no_personalisation" in told.decision["degraded"]:
        more = "only the placement's default, and nothing personal was read"
        return Line(Mark.STOPPED, what, "; ".join(filter(None, (said, more))))
    return Line(Mark.PASSED, what, said if state == "granted" else _ground(told, "personalisation") or said)


def _ground(told: Told, what: str) -> str:
    """On what ground silence was taken for a permission, as the answer says it: `contact: opt_out in US; …`."""
    parts = str(told.decision.get("detail") or "").split("; ")
    return next((part.removeprefix(f"{what}: ") for part in parts if part.startswith(f"{what}: ")), "")


def _said(told: Told, purpose: str, channel: str) -> tuple[str, str]:
    """What was said of a purpose on a channel, and where, since when, until when."""
    found = {
        (each["purpose"], each["channel"]): ConsentEntry(
            each["purpose"], each["channel"], each["state"], each["basis"], each["source"], _ms(each["at"]),
            _ms(each["expires_at"]) if each.get("expires_at") else None,
        )
        for each in (told.profile["consent"] if told.profile else ())
    }  # fmt: skip
    entry = entry_in_force(found.values(), purpose, channel, told.now_ms)
    if entry is None:
        ended = any(key[0] == purpose and key[1] in (channel, EVERY_CHANNEL) for key in found)
        return "unknown", "what was said has ended" if ended else "nothing was said"
    until = "no end" if entry.expires_ms is None else f"until {shown(told, entry.expires_ms)}"
    return entry.state, f"on {entry.basis}, said by {entry.source} on {shown(told, entry.at_ms)}, {until}"


def candidates(told: Told) -> Iterator[Line]:
    """One line a message of the placement, in the bundle's order."""
    chosen = told.decision["message"]["id"] if told.decision["message"] else None
    excluded = {line["message"]: line for line in told.decision["excluded"]}
    for name in told.placement["messages"]:
        if name == chosen:
            score = told.decision["score"]
            yield Line(Mark.PASSED, name, "chosen" + ("" if score is None else f", worth {score:.4g}"))
        elif name in excluded:
            yield Line(
                Mark.STOPPED,
                name,
                _and_more(told, excluded[name]),
            )
        elif told.decision["reason"] == Reason.HOLDOUT:
            yield Line(Mark.OPEN, name, "could be sent, and is held out")
        else:
            yield Line(Mark.OPEN, name, "not looked at: the gate is closed")


def _why_not(line: Mapping[str, Any]) -> str:
    detail = line["detail"]
    return f"{line['code']}: {detail}" if detail else str(line["code"])


def _and_more(told: Told, line: Mapping[str, Any]) -> str:
    """Why not, and what would help."""
    return "; ".join(filter(None, (_why_not(line), room_again(told, line), how_stale(told, line))))


def how_stale(told: Told, line: Mapping[str, Any]) -> str:
    """Until when the events of a stale feature are complete, or how what it lacks is filled; empty for other lines, and
    for attributes."""
    name = str(line["detail"]).split("`")[1:2]
    feature = (told.profile or {}).get("features", {}).get(name[0].removeprefix("customer.")) if name else None
    if feature is not None and "is not_filled" in str(line["detail"]):
        return "fill it: `nextbest features backfill`, where the workers run with this bundle"
    if line["code"] != Exclusion.STALE_FEATURE or feature is None:
        return ""
    events = " and ".join(feature["events"])
    if feature["as_of"] is None:
        return f"nobody tells how complete {events} is: is it sent, or heartbeats for it, and does a worker run?"
    return f"{events} is known to be complete until {told_time(told, feature['as_of'])}"


def room_again(told: Told, line: Mapping[str, Any]) -> str:
    """When a limit that was reached has room for one more, if nothing else is sent; empty where that is not known."""
    limit = told.limits.get(str(line["detail"]).partition(":")[0])
    if line["code"] != Exclusion.LIMIT_REACHED or limit is None or limit["at_most"] == 0:
        return ""
    kind, _, length = str(limit["window"]).partition(" ")
    contacts = line.get("contacts") or ()
    if kind == "rolling":
        ends = sorted(told.sent_by[each] + seconds(length) * 1000 for each in contacts if each in told.sent_by)
        gone = len(contacts) - limit["at_most"]  # when one more of them has left there is room
        if len(ends) < len(contacts) or gone < 0:
            return ""
        return f"room again by {shown(told, ends[gone])}"
    unit, _, zone = length.partition(" in ")
    zone = (told.profile or {}).get("timezone") or "" if zone.startswith("customer") else zone
    return f"room again from {shown(told, period(cast(Any, unit), zone, told.now_ms)[1])}" if zone else ""


class Check(NamedTuple):
    """A check on a message's way: what passing it means, and whether an exclusion says that it was not."""

    passed: str
    stops: Callable[[str, str], bool]  # code, detail


def _is(code: Exclusion, starts: str = "", but: tuple[str, ...] = ()) -> Callable[[str, str], bool]:
    return lambda found, detail: found == code and detail.startswith(starts) and not detail.startswith(but or "\0")


_PERSONAL = ("only the placement's default", "needs personal facts")
_PURPOSE = "consent for "
_WAIT = "not before "
CHECKS = (
    Check("not switched off", _is(Exclusion.SWITCHED_OFF)),
    Check("no sensitive class is restricted here", _is(Exclusion.SENSITIVE_IN_REGION)),
    Check("it reveals nothing sensitive without a grant", _is(Exclusion.SENSITIVE_MESSAGE)),
    Check(
        "it may be considered with what may be read",
        lambda code, detail: code == Exclusion.NOT_ELIGIBLE and detail.startswith(_PERSONAL),
    ),
    Check("not chosen for another placement", _is(Exclusion.CHOSEN_ELSEWHERE)),
    Check("valid now", _is(Exclusion.NOT_VALID_NOW)),
    Check("the consent that it needs itself", _is(Exclusion.NOT_ELIGIBLE, _PURPOSE)),
    Check("the facts that it reads are fresh", _is(Exclusion.STALE_FEATURE)),
    Check("its rules hold", _is(Exclusion.NOT_ELIGIBLE, but=(*_PERSONAL, _PURPOSE))),
    Check("there is a permitted time", _is(Exclusion.QUIET_HOURS, but=(_WAIT,))),
    Check("no limit is reached", _is(Exclusion.LIMIT_REACHED)),
    Check("no cooldown", _is(Exclusion.COOLDOWN)),
    Check("no message was sent that excludes it", _is(Exclusion.EXCLUDED_BY)),
    Check("the customer is not tired of messages", _is(Exclusion.FATIGUE)),
    Check("its budget has room", _is(Exclusion.BUDGET_EXHAUSTED)),
    Check("now is a permitted time", _is(Exclusion.QUIET_HOURS, _WAIT)),
    Check("nothing ranks above it", _is(Exclusion.OUTRANKED)),
)


def chain(told: Told, message: str) -> Iterator[Line]:
    """A message's whole way through the checks."""
    closed = told.decision["rung"] == "suppress"
    yield Line(Mark.STOPPED if closed else Mark.PASSED, "the gate is closed" if closed else "the gate is open")
    line = next((each for each in told.decision["excluded"] if each["message"] == message), None)
    at = _stopped_at(line) if line is not None else len(CHECKS)
    for number, check in enumerate(CHECKS):
        if closed or number > at:
            yield Line(Mark.OPEN, check.passed, "not looked at")
        elif number == at and line is not None:
            yield Line(Mark.STOPPED, check.passed, _and_more(told, line))
        else:
            yield Line(Mark.PASSED, check.passed)
    if not closed and line is None and told.decision["reason"] == Reason.HOLDOUT:
        yield Line(Mark.STOPPED, "the customer is not held out", Reason.HOLDOUT.value)


def _stopped_at(line: Mapping[str, Any]) -> int:
    found = (number for number, check in enumerate(CHECKS) if check.stops(line["code"], line["detail"]))
    return next(found, len(CHECKS) - 1)


def would_get(told: Told, message: str | None) -> bool:
    """Whether the customer would get a message; `message`: this one."""
    if told.decision["action"] != Action.SEND:
        return False
    return message is None or told.decision["message"]["id"] == message


def told_time(told: Told, iso: str) -> str:
    return shown(told, _ms(iso))


def shown(told: Told, at_ms: int) -> str:
    """An instant as the customer's clock shows it, where their zone is known: `Tue 24 Nov 2026 10:00 EST`."""
    zone = (told.profile or {}).get("timezone") or (told.decision["send_window"] or {}).get("timezone")
    moment = datetime.fromtimestamp(at_ms / 1000, UTC)
    return f"{moment.astimezone(ZoneInfo(zone)) if zone else moment:%a %-d %b %Y %H:%M %Z}"


def _ms(iso: str) -> int:
    return round(datetime.fromisoformat(iso).timestamp() * 1000)
