"""Which column of a file is which field of a customer. Pure.

A field is written as in the API, with dots: `customer`, `attributes.recency`, `identities.user_id`, `region`,
`preferences.best_hours`, `consent.marketing.email`, `consent.marketing.email.at`. Four more are an import's own:

    email, phone   in clear: only their digest leaves the process
    as_of          when what the row says of consents was so, where it does not say it of each
    ignore         nothing
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import NamedTuple

from app.core.identity import KINDS
from app.importing.trouble import Trouble
from policy.bundle import Bundle

IGNORE = "ignore"
PLACES = ("region", "timezone", "language")
CLEAR = ("email", "phone")
#: What others call a field. Names are compared without case, spaces and signs.
SYNONYMS = {
    "customerid": "customer",
    "customerkey": "customer",
    "cusid": "customer",
    "country": "region",
    "countrycode": "region",
    "tz": "timezone",
    "emailaddress": "email",
    "mail": "email",
    "phonenumber": "phone",
    "emailhash": "identities.email_sha256",
}
_CONSENT = re.compile(r"consent\.(?P<purpose>[a-z0-9_]+)\.(?P<channel>\*|[a-z0-9_]+)(?P<at>\.at)?")
_PREFERENCE = re.compile(r"preferences\.[a-z0-9_]{1,48}")


class What(StrEnum):
    """What is imported."""

    CUSTOMERS = "customers"
    CONSENT = "consent"
    SUPPRESSIONS = "suppressions"


#: Fields of one entry that a row of these is.
ENTRY = {
    What.CUSTOMERS: (),
    What.CONSENT: ("purpose", "channel", "state", "source", "basis", "at", "expires_at"),
    What.SUPPRESSIONS: ("scope", "reason", "source", "at", "why"),
}
_ENTRY_SYNONYMS = {
    What.CUSTOMERS: {},
    What.CONSENT: {"status": "state", "legalbasis": "basis", "timestamp": "at", "expires": "expires_at"},
    What.SUPPRESSIONS: {"channel": "scope", "type": "reason", "timestamp": "at", "createdat": "at"},
}


class Column(NamedTuple):
    """A column, and the field that it fills; None: nobody knows it. `nearest` is a field that may be meant."""

    name: str
    field: str | None
    nearest: str | None = None


def mapped(names: Iterable[str], what: What, bundle: Bundle, told: Mapping[str, str]) -> tuple[Column, ...]:
    """The columns of a file. `told`: column → field, as the operator says; it wins over what names suggest. Raises
    Trouble for fields that do not exist, columns that are not there, and two columns for one field."""
    names = list(names)
    fields = _fields(what, bundle)
    missing = [name for name in told if name not in names]
    if missing:
        raise Trouble(f"the file has no column {_listed(missing)}: it has {_listed(names)}")
    known = {word: field for word, field in (SYNONYMS | _ENTRY_SYNONYMS[what]).items() if field in fields}
    # The first of several fields that a name may mean wins: an address is an identity before it is an attribute.
    known |= {
        _bare(field): field for field in reversed(fields) if field.split(".")[0] not in ("consent", "preferences")
    }
    columns = []
    for name in names:
        field = _exact(told[name], what, bundle, fields) if name in told else known.get(_bare(name))
        if field is None and _is_field(name, what, bundle, fields):
            field = name
        columns.append(Column(name, field, _nearest(name, fields) if field is None else None))
    _check_twice(columns)
    return tuple(columns)


def _fields(what: What, bundle: Bundle) -> tuple[str, ...]:
    """Every field whose name is known beforehand."""
    who = ("customer", *(f"identities.{kind}" for kind in KINDS), *CLEAR, "as_of")
    if what is What.SUPPRESSIONS:
        return (*who, *ENTRY[what])
    consents = tuple(f"consent.{purpose}.*" for purpose in bundle.purposes)
    if what is What.CONSENT:
        return (*who, *ENTRY[what], "consent", "why", *consents)
    attributes = tuple(f"attributes.{fact.name}" for fact in bundle.facts if fact.kind == "attribute")
    return (*who, *attributes, *PLACES, "consent", "why", "preferences.best_hours", *consents)


def _bare(name: str) -> str:
    """A name without what writers differ in: case, spaces, signs, and the group that it lies in."""
    for group in ("attributes.", "identities.", "traits."):
        name = name.removeprefix(group)
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _exact(field: str, what: What, bundle: Bundle, fields: tuple[str, ...]) -> str:
    for candidate in (field, f"attributes.{field}", f"identities.{field}"):
        if candidate == IGNORE or _is_field(candidate, what, bundle, fields):
            return candidate
    near = _nearest(field, fields)
    raise Trouble(f"there is no field `{field}`" + (f": did you mean `{near}`?" if near else f": {_listed(fields)}"))


def _is_field(name: str, what: What, bundle: Bundle, fields: tuple[str, ...]) -> bool:
    if name in fields:
        return True
    if what is What.SUPPRESSIONS:
        return False
    consent = _CONSENT.fullmatch(name)
    if consent:
        return consent["purpose"] in bundle.purposes
    return what is What.CUSTOMERS and _PREFERENCE.fullmatch(name) is not None


def _nearest(name: str, fields: tuple[str, ...]) -> str | None:
    by_bare = {_bare(field): field for field in fields}
    near = difflib.get_close_matches(_bare(name), by_bare, 1, 0.75)
    return by_bare[near[0]] if near else None


def _check_twice(columns: Iterable[Column]) -> None:
    seen: dict[str, str] = {}
    for column in columns:
        if column.field not in (None, IGNORE) and seen.setdefault(str(column.field), column.name) != column.name:
            raise Trouble(
                f"both `{seen[str(column.field)]}` and `{column.name}` are `{column.field}`: "
                f"say `--map {column.name}=ignore` of one"
            )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
