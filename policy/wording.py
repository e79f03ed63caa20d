"""Says what the validator found in the author's words: a stable code, what is wrong, and what to write instead."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, get_args, get_origin

from pydantic_core import ErrorDetails

from policy.rule_types import did_you_mean
from policy.schema.types import Authored

_TYPES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "string_type": ("text", "put it in quotes"),
        "int_type": ("a whole number", "write it without quotes and without a fraction"),
        "int_from_float": ("a whole number", "write it without a fraction"),
        "float_type": ("a number", "write it without quotes"),
        "finite_number": ("a number", "write a finite one"),
        "bool_type": ("`true` or `false`", "write one of the two, without quotes"),
        "list_type": ("a list", "write `[first, second]`, or one `- item` a line"),
        "dict_type": ("a mapping", "write `name: value` lines"),
        "model_type": ("a mapping", "write `name: value` lines"),
        "model_attributes_type": ("a mapping", "write `name: value` lines"),
    }
)
_PATTERNS: Mapping[str, tuple[str, str, str]] = MappingProxyType(
    {
        r"^[a-z0-9_]{1,48}$": ("bad_id", "a name", "use up to 48 lower-case letters, digits and `_`"),
        r"^[A-Za-z0-9_]{1,64}$": ("bad_id", "a property's name", "use up to 64 letters, digits and `_`"),
        r"^(\*|[a-z0-9_]{1,48})$": ("bad_id", "a placement", 'write its name, or `"*"` for all'),
        r"^([01][0-9]|2[0-3]):[0-5][0-9]$": ("bad_time", "a time of day", 'write `"08:00"`'),
        r"^[A-Z]{3}$": ("bad_currency", "a currency", "write its ISO 4217 code, such as `EUR`"),
        r"^(default|[A-Z]{2}(-[A-Z0-9]{1,3})?)$": ("bad_region", "a region", "write `default`, `DE` or `US-CA`"),
        r"^[A-Z]{2}(-[A-Z0-9]{1,3})?$": ("bad_region", "a region", "write `DE` or `US-CA`"),
        r"^sensitive:[a-z0-9_]{1,48}$": ("bad_sensitivity", "a sensitive kind", 'write `"sensitive:health"`'),
        r"^(none|personal|sensitive:[a-z0-9_]{1,48})$": (
            "bad_sensitivity",
            "a sensitivity",
            'write none, personal or `"sensitive:<kind>"`',
        ),
        r"^[a-z0-9-]+(\.[a-z0-9-]+)+$": ("bad_domain", "a domain", "write it in small letters, such as `gmail.com`"),
        r"^(customer|message)\.[a-z0-9_]{1,48}$": (
            "unknown_input",
            "a model input",
            "write `customer.<attribute or feature>` or `message.<feature>`",
        ),
    }
)


def of(error: ErrorDetails, model: type[Authored]) -> tuple[str, str, str]:
    """(code, message, remedy) of one error of the validator."""
    loc = error["loc"]
    name = next((step for step in reversed(loc) if isinstance(step, str) and step != "[key]"), "the file")
    code, message, remedy = _about_field(error, model, name) or _about_value(error, name)
    if "window" in loc and code in ("bad_duration", "not_a_choice", "wrong_type"):
        code = "bad_window"
    return code, message, remedy


def _about_field(error: ErrorDetails, model: type[Authored], name: str) -> tuple[str, str, str] | None:
    if error["type"] == "extra_forbidden":
        known = fields_at(model, error["loc"][:-1])
        return "unknown_field", f"unknown field `{name}`", did_you_mean(name, known, "use " + ", ".join(known))
    if error["type"] == "missing":
        return "missing_field", f"`{name}` is missing", f"add `{name}:`"
    return None


def _about_value(error: ErrorDetails, name: str) -> tuple[str, str, str]:
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    if "remedy" in context:  # one of our own checks
        return kind, error["msg"], context["remedy"]
    if kind == "literal_error":
        choices = [choice.strip("'") for choice in context["expected"].replace(" or ", ", ").split(", ")]
        return (
            "not_a_choice",
            f"`{value}` is no {name}",
            did_you_mean(str(value), choices, f"write {context['expected']}"),
        )
    if kind == "string_pattern_mismatch" and context["pattern"] in _PATTERNS:
        code, what, remedy = _PATTERNS[context["pattern"]]
        return code, f"`{value}` is not {what}", remedy
    if kind in _TYPES:
        wanted, remedy = _TYPES[kind]
        return "wrong_type", f"`{name}` must be {wanted}", remedy
    return "out_of_range", f"`{name}`: {error['msg'][:1].lower()}{error['msg'][1:]}", "correct the value"


def fields_at(model: type[Authored], loc: tuple[str | int, ...]) -> list[str]:
    """The field names that are known at a place in a file."""
    current: type[Authored] | None = model
    inside_collection = False
    for step in loc:
        if current is None:
            return []
        if inside_collection:  # the step is a position or a key
            inside_collection = False
            continue
        fields = {field.alias or name: field.annotation for name, field in current.model_fields.items()}
        annotation = fields.get(str(step))
        current, inside_collection = _model_in(annotation), _is_collection(annotation)
    return [] if current is None else [field.alias or name for name, field in current.model_fields.items()]


def _model_in(annotation: Any) -> type[Authored] | None:
    if isinstance(annotation, type) and issubclass(annotation, Authored):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_in(part))), None)


def _is_collection(annotation: Any) -> bool:
    return get_origin(annotation) in (list, dict)
