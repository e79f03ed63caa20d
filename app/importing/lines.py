"""A row as a line of a bulk route, or why it is none. Pure.

A grant without a time is refused: the server would take it for said now, and an old list would undo a withdrawal. A
denial, or a stop, without one is taken: now is the stricter reading.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import orjson

from app.core.events.masking import email_digest, phone_digest
from app.core.identity import KINDS
from app.importing import cells
from app.importing.columns import ENTRY, IGNORE, Column, What
from app.importing.trouble import Unfit
from policy.bundle import Bundle

#: Of several aliases in a row without a key, the one that it is about.
STRONGEST = ("user_id", "external", "email_sha256", "phone_sha256", "anonymous_id")


class Said(NamedTuple):
    """What the operator says of all rows, where they do not say it themselves."""

    source: str = "import"
    basis: str = "consent"
    purpose: str | None = None
    channel: str | None = None
    reason: str | None = None
    scope: str | None = None
    as_of: str | None = None  # ISO 8601 with a zone
    zone: ZoneInfo | None = None
    undated_is_now: bool = False
    empty_is_null: bool = False


class LineMaker:
    """Makes lines of the rows of one file."""

    def __init__(self, what: What, columns: Sequence[Column], bundle: Bundle, said: Said) -> None:
        self._what = what
        self._said = said
        self._fields = [(each.name, each.field) for each in columns if each.field is not None and each.field != IGNORE]
        self._read = {f"attributes.{fact.name}": cells.reader_of(fact) for fact in bundle.facts}

    def line(self, row: Mapping[str, Any]) -> bytes:
        """The line, without its newline. Raises Unfit."""
        known = {field: row.get(name) for name, field in self._fields if name in row}
        line = self._who(known)
        if self._what is What.SUPPRESSIONS:
            self._stop(known, line)
        else:
            self._customer(known, line)
        try:
            return orjson.dumps(line)
        except TypeError:  # orjson's own error is one
            raise Unfit("invalid_request", "expected text in Unicode, and numbers of 64 bits") from None

    def _who(self, known: Mapping[str, Any]) -> dict[str, Any]:
        told = {str(kind): known.get(f"identities.{kind}") for kind in KINDS}
        aliases = {kind: cells.text(cell) for kind, cell in told.items() if not cells.is_empty(cell)}
        aliases |= _digests(known)
        key = known.get("customer")
        if not cells.is_empty(key):
            line: dict[str, Any] = {"customer": cells.text(key)}
        elif aliases:
            kind = next(kind for kind in STRONGEST if kind in aliases)
            line = {"customer": {kind: aliases.pop(kind)}}
        else:
            raise Unfit("no_customer", "the row names no customer: a key, an address, or another identity")
        if aliases and self._what is What.CUSTOMERS:
            line["identities"] = aliases
        return line

    def _customer(self, known: Mapping[str, Any], line: dict[str, Any]) -> None:
        consents = [] if self._what is What.CUSTOMERS else self._entry(known)
        for field, cell in known.items():
            group, _, name = field.partition(".")
            if group == "consent":
                consents += self._consents(name, cell, known)
            elif group in ("identities", "as_of", "customer", "email", "phone") or field in ENTRY[self._what]:
                continue
            elif cells.is_empty(cell):
                if self._said.empty_is_null and field != "why":
                    _put(line, group, name, None)
            else:
                _put(line, group, name, self._read.get(field, _plain)(cell))
        if consents:
            line["consent"] = consents

    def _consents(self, name: str, cell: Any, known: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Of a column `consent.<purpose>.<channel>`, or of a member `consent` that lists them as the API does."""
        if cells.is_empty(cell) or name.endswith(".at"):
            return []
        if not name:
            if not isinstance(cell, list | tuple) or not all(isinstance(each, dict) for each in cell):
                raise Unfit("invalid_request", "`consent` is a list of consents, as in the API")
            return [self._dated({k: v for k, v in each.items() if v is not None}, known) for each in cell]
        purpose, _, channel = name.partition(".")
        entry = {"purpose": purpose, "channel": channel, "state": cells.state(cell)}
        at = known.get(f"consent.{name}.at")
        return [self._dated(entry if cells.is_empty(at) else entry | {"at": at}, known)]

    def _entry(self, known: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The one consent that a row of columns `purpose`, `channel`, `state` is."""
        entry = {name: known[name] for name in ENTRY[What.CONSENT] if not cells.is_empty(known.get(name))}
        if "state" not in entry:
            if any(field.startswith("consent") for field in known):
                return []
            raise Unfit("invalid_request", "the row says neither `granted` nor `denied`: which column is `state`?")
        entry["state"] = cells.state(entry["state"])
        for name, default in (("purpose", self._said.purpose), ("channel", self._said.channel)):
            if default is not None:
                entry.setdefault(name, default)
            if name not in entry:
                raise Unfit("invalid_request", f"the row names no {name}: map a column to it, or say --{name}")
        return [self._dated(entry, known)]

    def _dated(self, entry: dict[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
        as_of = known.get("as_of")
        at = entry.pop("at", None)
        at = as_of if cells.is_empty(at) else at
        if not cells.is_empty(at):
            entry["at"] = cells.instant(at, self._said.zone)
        elif self._said.as_of is not None:
            entry["at"] = self._said.as_of
        elif entry.get("state") != "denied" and not self._said.undated_is_now:
            raise Unfit(
                "consent_without_time",
                "a grant without a time would undo later withdrawals: map a column to its time or to `as_of`, or say "
                "--as-of-time",
            )
        if "expires_at" in entry:
            entry["expires_at"] = cells.instant(entry["expires_at"], self._said.zone)
        return {"source": self._said.source, "basis": self._said.basis, **entry}

    def _stop(self, known: Mapping[str, Any], line: dict[str, Any]) -> None:
        said = {"scope": self._said.scope, "reason": self._said.reason, "source": self._said.source}
        line |= {name: each for name, each in said.items() if each is not None}
        line |= {
            name: cells.text(known[name])
            for name in ("scope", "reason", "source", "why")
            if not cells.is_empty(known.get(name))
        }
        for at in (known.get("at"), known.get("as_of"), self._said.as_of):
            if not cells.is_empty(at):
                line["at"] = cells.instant(at, self._said.zone)
                return


def _digests(known: Mapping[str, Any]) -> dict[str, str]:
    """Addresses and numbers in clear, as their digests. One that cannot be understood refuses its row: it was meant to
    say whom the row is about."""
    found: dict[str, str] = {}
    ways: tuple[tuple[str, str, Callable[[str], str | None], str], ...] = (
        ("email", "email_sha256", email_digest, "an e-mail address such as `reader@example.com`"),
        ("phone", "phone_sha256", phone_digest, "a telephone number with its country, as `+` and digits"),
    )
    for field, kind, digest, expected in ways:
        cell = known.get(field)
        if not cells.is_empty(cell):
            made = digest(cells.text(cell))
            if made is None:
                raise Unfit("invalid_request", f"`{field}`: expected {expected}")
            found[kind] = made
    return found


def _put(line: dict[str, Any], group: str, name: str, value: Any) -> None:
    if name:
        line.setdefault(group, {})[name] = value
    else:
        line[group] = value


def _plain(cell: Any) -> Any:
    return cell.strip() if isinstance(cell, str) else cell
