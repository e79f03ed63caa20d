"""What a caller may say about a customer, checked against the bundle and put into the form that is stored. Pure."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import orjson

from app.core.identity import Alias
from app.core.keeping import NOT_HANDLED
from policy.bundle import Bundle, Fact

#: A stored value's limit: above it the store gives up its compact encoding.
VALUE_BYTES_MAX = 64
#: What one machine word, and so every reader of the store, can hold.
INT_MAX = 2**63 - 1
FLOAT_MAX = sys.float_info.max


class ConsentChange(NamedTuple):
    """What a customer said of a purpose on a channel (`*`: every channel). `at_ms` None: now, by the store's clock.
    From `expires_ms` on nothing was said; None: it holds until something else is said."""

    purpose: str
    channel: str
    state: Literal["granted", "denied"]
    source: str
    basis: str
    at_ms: int | None
    expires_ms: int | None = None


@dataclass(frozen=True, slots=True)
class CustomerWrite:
    """A checked change to one customer; only what it names changes, and None deletes.

    Values are JSON scalars as stored, at most 64 bytes each. `owners` are those of the attributes that were set: their
    as-of time becomes the time of the write. `dropped` names attributes that the bundle wants not kept. `why` is the
    caller's reason, for the history; None: the sources say it. `about`: the customer is told by this alias; `customer`
    is empty until the store has found whose it is.
    """

    customer: str
    attributes: tuple[tuple[str, str | None], ...] = ()
    owners: tuple[str, ...] = ()
    places: tuple[tuple[Literal["region", "timezone", "language"], str | None], ...] = ()
    preferences: tuple[tuple[str, str | None], ...] = ()
    consents: tuple[ConsentChange, ...] = ()
    identities: tuple[Alias, ...] = ()
    dropped: tuple[str, ...] = ()
    why: str | None = None
    about: Alias | None = None


class Mistake(NamedTuple):
    """One thing in a body that cannot be stored: where, and what is expected there. Never repeats a value."""

    path: str
    detail: str


class CheckedAttributes(NamedTuple):
    stored: tuple[tuple[str, str | None], ...]
    owners: tuple[str, ...]
    undeclared: tuple[str, ...]
    mistakes: tuple[Mistake, ...]
    dropped: tuple[str, ...] = ()


class AttributeChecker:
    """Checks attributes against a bundle. Features are folded from events and cannot be set, so they are not declared
    here. Imports run this for every attribute of every customer: what depends on the bundle alone is done once.

    What the PII matrix wants dropped is not even looked at, and what it wants hashed is given on as the hash that
    `hashed` makes of name and text. Only text can be hashed: a number that ought to be is dropped, not kept in clear.
    """

    __slots__ = ("_dropped", "_owner_of", "_texts")

    def __init__(self, bundle: Bundle, hashed: Callable[[str, str], str]) -> None:
        facts = [fact for fact in bundle.facts if fact.kind == "attribute"]
        handling = {fact.name: bundle.handling.get(fact.name, NOT_HANDLED) for fact in facts}
        self._dropped = frozenset(
            fact.name
            for fact in facts
            if handling[fact.name].drop or (handling[fact.name].hash and fact.type != "string")
        )
        self._texts = {
            fact.name: _hashed_text(fact, hashed) if handling[fact.name].hash else text_function(fact)
            for fact in facts
            if fact.name not in self._dropped
        }
        self._owner_of = {fact.name: fact.owner for fact in facts}

    def check(self, given: Mapping[str, Any]) -> CheckedAttributes:
        """All attributes of a body at once, so that a caller learns of every mistake in one answer."""
        stored: list[tuple[str, str | None]] = []
        undeclared: list[str] = []
        dropped: list[str] = []
        mistakes: list[Mistake] = []
        texts = self._texts
        for name, value in given.items():
            text = texts.get(name)
            if text is None:
                (dropped if name in self._dropped else undeclared).append(name)
                continue
            try:
                stored.append((name, None if value is None else text(value)))
            except ValueError as error:
                mistakes.append(Mistake(f"attributes.{name}", str(error)))
        owners = {self._owner_of[name] for name, value in stored if value is not None}
        return CheckedAttributes(tuple(stored), tuple(owners), tuple(undeclared), tuple(mistakes), tuple(dropped))


def text_function(fact: Fact) -> Callable[[Any], str]:
    """Value → the JSON scalar that is stored. It raises ValueError that says what is expected instead."""
    if fact.type == "int":
        return _whole_number_text(fact)
    if fact.type == "float":
        return _number_text(fact)
    if fact.type == "bool":
        return _truth_text
    if fact.type == "enum":
        return _choice_text(fact)
    return _string_text(fact)


def _hashed_text(fact: Fact, hashed: Callable[[str, str], str]) -> Callable[[Any], str]:
    text = _string_text(fact)

    def hashed_text(value: Any) -> str:
        text(value)  # what does not fit is refused, hashed or not
        return f'"{hashed(fact.name, value)}"'

    return hashed_text


def scalar_text(value: object) -> str:
    """A JSON scalar of at most 64 bytes; ValueError otherwise."""
    try:
        text = orjson.dumps(value)
    except (TypeError, orjson.JSONEncodeError) as error:
        raise ValueError("expected text in Unicode, or a number of 64 bits") from error
    if len(text) > VALUE_BYTES_MAX:
        raise ValueError(f"expected at most {VALUE_BYTES_MAX - 2} bytes of text")
    return text.decode()


def _number_text(fact: Fact) -> Callable[[Any], str]:
    low = -FLOAT_MAX if fact.minimum is None else float(fact.minimum)
    high = FLOAT_MAX if fact.maximum is None else float(fact.maximum)

    def text(value: Any) -> str:
        if type(value) is int and abs(value) <= INT_MAX:
            value = float(value)
        if type(value) is not float:
            raise ValueError("expected a number")
        if not low <= value <= high:  # also false for NaN, which JSON parsers let in
            raise ValueError(_expected_range(fact))
        return orjson.dumps(value).decode()

    return text


def _whole_number_text(fact: Fact) -> Callable[[Any], str]:
    low = -INT_MAX if fact.minimum is None else fact.minimum
    high = INT_MAX if fact.maximum is None else fact.maximum

    def text(value: Any) -> str:
        if type(value) is float and value.is_integer():  # some exporters write 3.0
            value = int(value)
        if type(value) is not int:
            raise ValueError("expected a whole number")
        if not low <= value <= high:
            raise ValueError(_expected_range(fact))
        return str(value)

    return text


def _truth_text(value: Any) -> str:
    if value is True:
        return "true"
    if value is False:
        return "false"
    raise ValueError("expected true or false")


def _choice_text(fact: Fact) -> Callable[[Any], str]:
    texts = {value: scalar_text(value) for value in fact.values}
    expected = "expected one of " + ", ".join(f"`{value}`" for value in fact.values)

    def text(value: Any) -> str:
        found = texts.get(value) if type(value) is str else None
        if found is None:
            raise ValueError(expected)
        return found

    return text


def _string_text(fact: Fact) -> Callable[[Any], str]:
    length_max = VALUE_BYTES_MAX if fact.max_length is None else fact.max_length

    def text(value: Any) -> str:
        if type(value) is not str:
            raise ValueError("expected a string")
        if len(value) > length_max:
            raise ValueError(f"expected at most {length_max} characters")
        return scalar_text(value)

    return text


def _expected_range(fact: Fact) -> str:
    low = "any" if fact.minimum is None else f"{fact.minimum:g}"
    high = "any" if fact.maximum is None else f"{fact.maximum:g}"
    return f"expected a number from {low} to {high}"
