"""What is counted of outcomes, hour by hour, and since when it is evidence against a message. Pure.

After somebody lifted a brake, only what is counted from then on may stop the message again: whoever lifted it knew what
was counted before. Since when is told by the history of the switches, and is kept beside the judgement, so that it
survives restarts and a history that is cut. Hours are whole: what the hour of the lift held at the first look after it
is its `before`, and is taken off again.

An hour is that of the decision, not of the outcome: complaints are compared with the mails that they are about, however
late they come, and those about mails from before a lift count for nothing. Weakness: of what was decided in the hour of
the lift itself, before it, what is told later counts; and what is told after the window has passed is never looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

from policy.codes import SwitchKind
from policy.mailboxes import UNKNOWN
from policy.watch import WATCH, Cell, Counts, Kind, Row

HOUR_MS = 3_600_000
#: How the store names what it counts → where `Counts` has it.
LETTERS = "sdbocu"
#: Lines of a judgement that is kept. Two dozen messages in a dozen classes of mailboxes are some 300.
ROWS_MAX = 2_000

#: What is counted, as the store names it: `<placement>/<message>/<domain>:<letter>` → how many.
Numbers: TypeAlias = Mapping[str, int]


class Turn(NamedTuple):
    """What the history of switches says of one."""

    kind: SwitchKind
    name: str
    is_off: bool
    by: str | None
    key: str  # empty: it happened by itself
    at_ms: int


class Since(NamedTuple):
    """From when on counts are evidence against a message."""

    at_ms: int
    before: Numbers | None = None  # what the hour of `at_ms` held already; None: leave out that hour


class Judgement(NamedTuple):
    """What the last look found."""

    at_ms: int
    window_ms: int
    at_least: int
    limits: Mapping[str, tuple[float | None, float | None]]  # kind → alert, brake
    rows: tuple[Row, ...]
    left_out: int  # lines beyond `ROWS_MAX`, those with the fewest mails
    since: Mapping[str, Since]


def hours_of(now_ms: int, window_ms: int) -> range:
    """The hours that a window which ends now touches."""
    return range((now_ms - window_ms) // HOUR_MS, now_ms // HOUR_MS + 1)


def cells_of(numbers: Numbers) -> dict[Cell, Counts]:
    """Counts by cell. Names that cannot be read are passed over."""
    found: dict[Cell, list[int]] = {}
    for name, number in numbers.items():
        read = _read(name)
        if read is not None:
            cell, place = read
            found.setdefault(cell, [0] * len(LETTERS))[place] += number
    return {cell: Counts(*counts) for cell, counts in found.items() if any(counts)}


def _read(name: str) -> tuple[Cell, int] | None:
    path, _, letter = name.rpartition(":")
    parts = path.split("/")
    if len(parts) != 3 or len(letter) != 1 or letter not in LETTERS:
        return None
    placement, message, domain = parts
    return Cell(placement, message, domain or UNKNOWN), LETTERS.index(letter)


def message_of(name: str) -> str:
    """Whose counts lie under a name; empty where it cannot be read."""
    read = _read(name)
    return "" if read is None else read[0].message


def whole(hours: Mapping[int, Numbers]) -> dict[str, int]:
    """The sums over hours."""
    sums: dict[str, int] = {}
    for numbers in hours.values():
        for name, number in numbers.items():
            sums[name] = sums.get(name, 0) + number
    return sums


def evidence(hours: Mapping[int, Numbers], since: Mapping[str, Since]) -> dict[Cell, Counts]:
    """What may stop messages: everything of those that were never lifted, and what came after the lift of others."""
    sums: dict[str, int] = {}
    for hour, numbers in hours.items():
        for name, number in numbers.items():
            counts = _after(since.get(message_of(name)), hour, name, number)
            if counts:
                sums[name] = sums.get(name, 0) + counts
    return cells_of(sums)


def _after(since: Since | None, hour: int, name: str, number: int) -> int:
    if since is None or hour > since.at_ms // HOUR_MS:
        return number
    if hour < since.at_ms // HOUR_MS or since.before is None:
        return 0
    return max(0, number - since.before.get(name, 0))


def lifts(turns: Iterable[Turn]) -> dict[str, int]:
    """Message → when the last brake of it was lifted, by whomever and however, Unix ms. `turns`: oldest first.

    A message that somebody turned off for another reason, and on again, is not lifted: nobody has looked at its rates.
    """
    braked: set[str] = set()
    lifted: dict[str, int] = {}
    for turn in turns:
        if turn.kind is not SwitchKind.MESSAGE:
            continue
        if turn.is_off and turn.by == WATCH and not turn.key:
            braked.add(turn.name)
        elif not turn.is_off and turn.name in braked:
            braked.discard(turn.name)
            lifted[turn.name] = turn.at_ms
    return lifted


def raised(
    since: Mapping[str, Since], lifted: Mapping[str, int], hours: Mapping[int, Numbers], now_ms: int
) -> dict[str, Since]:
    """Since when each message's counts are evidence, now. Lifts that lie before all of the hours are forgotten."""
    found = dict(since)
    for message, at_ms in lifted.items():
        if message not in found or at_ms > found[message].at_ms:
            hour = at_ms // HOUR_MS
            before = None
            if hour == now_ms // HOUR_MS:
                before = {name: n for name, n in hours.get(hour, {}).items() if message_of(name) == message}
            found[message] = Since(at_ms, before)
    first = min(hours, default=0)
    return {message: each for message, each in found.items() if each.at_ms // HOUR_MS >= first}


def document(judgement: Judgement) -> dict[str, Any]:
    """A judgement as it is kept; `judgement_of` reads it."""
    rows = [[*row.cell, list(row.counts), list(row.alerts)] for row in judgement.rows]
    return {**judgement._asdict(), "rows": rows, "since": {name: list(each) for name, each in judgement.since.items()}}


def judgement_of(kept: Any) -> Judgement:
    """Raises ValueError, TypeError, KeyError for what is none."""
    known = {name: kept[name] for name in Judgement._fields}
    known["rows"] = tuple(_rows(kept["rows"]))
    known["limits"] = {kind: (alert, brake) for kind, (alert, brake) in kept["limits"].items()}
    known["since"] = {name: Since(at_ms, before) for name, (at_ms, before) in kept["since"].items()}
    return Judgement(**known)


def _rows(kept: Iterable[Any]) -> Iterator[Row]:
    for placement, message, domain, counts, alerts in kept:
        yield Row(Cell(placement, message, domain), Counts(*counts), tuple(Kind(each) for each in alerts))
