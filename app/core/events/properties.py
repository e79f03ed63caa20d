"""Properties of an event against what the bundle declares: of the declared type, inside their bounds, masked.

Careless senders write numbers as texts and ids as numbers; what can mean only one thing is taken as that. Null is
absent. Nothing of a value is repeated in what is said of it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from app.core.events.event import Misfit, Misfits, Scalar
from app.core.events.masking import kept_text, shown_name
from app.core.identity import attribute_hash
from policy.event_rules import EventRule, PropertyRule, PropertyType

#: Integers that a double holds exactly; what is beyond could not be folded the same way everywhere.
INT_MAX = 2**53
#: A longer text is not kept in a letter: cut short, it would be another one.
LETTER_TEXT_BYTES_MAX = 1024
_HASH = re.compile(r"[0-9a-f]{32}")
_NUMBER = re.compile(r"-?\d{1,15}(?:\.\d{1,15})?(?:[eE][+-]?\d{1,2})?")


class Unfit(Exception):  # as an exception, because it ends the loop over an event's properties
    """Why a property does not fit."""

    def __init__(self, code: Misfits, detail: str) -> None:
        super().__init__(detail)
        self.misfit = Misfit(code, detail)


def fitting(rule: EventRule, given: Mapping[str, Any], hash_key: bytes, again: bool = False) -> dict[str, Scalar]:
    """The declared properties of an event, as they are stored. `again`: they are a letter's, where what is to be hashed
    is a hash already. Raises Unfit."""
    if rule.refuses_undeclared and (undeclared := undeclared_names(rule, given)):
        # First, because a letter does not hold them: of one that was refused for anything else there are none.
        raise Unfit(Misfits.UNDECLARED_PROPERTY, f"undeclared: {shown_name(undeclared[0])}")
    kept: dict[str, Scalar] = {}
    for name, declared in rule.properties.items():
        value = given.get(name)
        if value is not None:
            kept[name] = _fitting(declared, value, hash_key, again)
        elif declared.required:
            raise Unfit(Misfits.MISSING_PROPERTY, f"`{name}` is missing")
    return kept


def undeclared_names(rule: EventRule, given: Mapping[str, Any]) -> list[str]:
    """Names of what an event brought and its declaration does not know."""
    return [
        name
        for name, value in given.items()
        if name not in rule.properties and name not in rule.dropped and value is not None
    ]


def masked(rule: EventRule, given: Mapping[str, Any], hash_key: bytes) -> tuple[dict[str, Scalar], bool]:
    """What of an event that does not fit may be kept, to be looked at and judged again: the values of its declared
    properties that are texts (masked), numbers or truths; and whether these are all of them."""
    kept: dict[str, Scalar] = {}
    whole = True
    for name, declared in rule.properties.items():
        value = given.get(name)
        if isinstance(value, str) and len(value.encode(errors="replace")) <= LETTER_TEXT_BYTES_MAX:
            kept[name] = _masked_text(declared, value, hash_key)
        elif isinstance(value, bool) or (isinstance(value, int | float) and abs(value) < INT_MAX):
            kept[name] = value
        else:
            whole = whole and value is None
    return kept, whole


def _fitting(declared: PropertyRule, value: Any, hash_key: bytes, again: bool) -> Scalar:
    fitted = _CONVERT[declared.type](declared, value)
    if declared.type != "string" or (again and declared.hashed and _HASH.fullmatch(str(fitted))):
        return fitted
    return _masked_text(declared, str(fitted), hash_key)


def _masked_text(declared: PropertyRule, text: str, hash_key: bytes) -> str:
    if declared.hashed:
        return attribute_hash(declared.name, text, hash_key)
    return kept_text(declared.name, text, hash_key)


def _text(declared: PropertyRule, value: Any) -> Scalar:
    if isinstance(value, int) and not isinstance(value, bool):  # product 4711
        value = str(value) if abs(value) < INT_MAX else value
    if not isinstance(value, str):
        raise _wrong_type(declared)
    if len(value) * 4 > declared.bytes_max and len(_encoded(declared, value)) > declared.bytes_max:
        raise Unfit(Misfits.TOO_LONG, f"`{declared.name}` is longer than {declared.bytes_max} bytes")
    return value


def _listed(declared: PropertyRule, value: Any) -> Scalar:
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str):
        raise _wrong_type(declared)
    if text not in declared.values:
        raise Unfit(Misfits.OUT_OF_RANGE, f"`{declared.name}` is none of the values that are declared")
    return text


def _truth(declared: PropertyRule, value: Any) -> Scalar:
    found = {"true": True, "false": False}.get(value) if isinstance(value, str) else value
    if not isinstance(found, bool):
        raise _wrong_type(declared)
    return found


def _whole(declared: PropertyRule, value: Any) -> Scalar:
    number = _number(declared, value)
    if number != int(number):
        raise _wrong_type(declared)
    return int(_inside(declared, number))


def _float(declared: PropertyRule, value: Any) -> Scalar:
    return float(_inside(declared, _number(declared, value)))


def _number(declared: PropertyRule, value: Any) -> int | float:
    """A finite number: JSON as Python writes it knows others."""
    if isinstance(value, str) and _NUMBER.fullmatch(text := value.strip()):
        value = float(text) if not text.lstrip("-").isdigit() else int(text)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong_type(declared)
    if isinstance(value, float) and not math.isfinite(value):
        raise _wrong_type(declared)
    return value


def _inside(declared: PropertyRule, number: int | float) -> int | float:
    low, high = declared.minimum, declared.maximum
    if (low is not None and number < low) or (high is not None and number > high):
        raise Unfit(Misfits.OUT_OF_RANGE, f"`{declared.name}` is outside of its range")
    if not -INT_MAX <= number <= INT_MAX:
        raise Unfit(Misfits.OUT_OF_RANGE, f"`{declared.name}` is larger than is counted exactly")
    return number


def _encoded(declared: PropertyRule, text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise Unfit(Misfits.BAD_TEXT, f"`{declared.name}` holds half a character") from None


def _wrong_type(declared: PropertyRule) -> Unfit:
    return Unfit(Misfits.WRONG_TYPE, f"`{declared.name}` is no {declared.type}")


_CONVERT: Mapping[PropertyType, Callable[[PropertyRule, Any], Scalar]] = {
    "string": _text,
    "enum": _listed,
    "bool": _truth,
    "int": _whole,
    "float": _float,
}
