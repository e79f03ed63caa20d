"""The small types that authored files are made of, each with the words an author sees when it does not fit.

Values stay as they were authored (`7d`, `08:00`, `2026-01-01T00:00:00Z`): the canonical form of a bundle is then
plain JSON, and `policy.compile` turns them into seconds and instants once.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from typing import Annotated, Any, Protocol
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
)
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from policy import durations


class Authored(BaseModel):
    """What an author writes: nothing unknown, nothing converted silently, never changed after reading."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


def refuse(code: str, message: str, remedy: str) -> PydanticCustomError:
    """A mistake with the code and the remedy that lint will show."""
    return PydanticCustomError(code, "{message}", {"message": message, "remedy": remedy})


def _duration(text: str) -> str:
    try:
        durations.seconds(text)
    except ValueError as error:
        raise refuse(
            "bad_duration", str(error), "write a whole number and a unit, such as `15m`, `24h` or `7d`"
        ) from error
    return text


def instant_ms(text: str) -> int:
    """Unix milliseconds of an ISO 8601 time with zone; a bare date is its midnight in UTC. Raises ValueError."""
    if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
        moment = datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC)
    else:
        moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("no zone")
    return round(moment.timestamp() * 1000)


def _instant(text: str) -> str:
    try:
        instant_ms(text)
    except ValueError as error:
        remedy = "write ISO 8601 with a zone, such as `2026-01-01T00:00:00Z`"
        raise refuse("bad_time", f"`{text}` is not a time with a zone", remedy) from error
    return text


def _date(text: str) -> str:
    try:
        date.fromisoformat(text)
    except ValueError as error:
        raise refuse("bad_time", f"`{text}` is not a date", "write one such as `2026-12-25`") from error
    return text


def _zone(text: str) -> str:
    """IANA zones only. Fixed offsets (`+02:00`, `Etc/GMT-2`, `EST`) know no summer time, so a customer's day would
    begin an hour off for half of the year."""
    if text == "UTC":
        return text
    try:
        # Some systems keep the whole database twice more, under `posix/` and, with leap seconds, `right/`.
        fits = "/" in text and not text.startswith(("Etc/", "posix/", "right/")) and bool(ZoneInfo(text))
    except (KeyError, ValueError, OSError):  # ZoneInfoNotFoundError is a KeyError; a folder (`Europe/`) an OSError
        fits = False
    if not fits:
        raise refuse(
            "unknown_zone", f"`{text}` is not an IANA time zone", "write one such as `Europe/Berlin`, or `UTC`"
        )
    return text


def _window_zone(text: str) -> str:
    return text if text in ("customer", "customer_timezone") else _zone(text)


def _either_list_or_mapping(value: Any) -> Any:
    """A collection may be written as a mapping from id to fields, or as a list of fields with an `id`."""
    if not isinstance(value, dict):
        return value
    return [{"id": key, **body} if isinstance(body, dict) else body for key, body in value.items()]


def _one_or_many(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _text_of_condition(value: Any) -> Any:
    """`eligible: true` without quotes is a YAML boolean; it means the rule `"true"`."""
    return str(value).lower() if isinstance(value, bool) else value


def _text_of_number(value: Any) -> Any:
    return repr(float(value)) if isinstance(value, int | float) and not isinstance(value, bool) else value


Id = Annotated[str, Field(pattern=r"^[a-z0-9_]{1,48}$")]
Purpose = Id
PropertyName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]{1,64}$")]
Duration = Annotated[str, AfterValidator(_duration), Field(json_schema_extra={"pattern": durations.PATTERN})]
Instant = Annotated[str, AfterValidator(_instant)]
LocalDate = Annotated[str, AfterValidator(_date)]
RegionCode = Annotated[str, Field(pattern=r"^[A-Z]{2}(-[A-Z0-9]{1,3})?$")]
TimeOfDay = Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]
Zone = Annotated[str, AfterValidator(_zone)]
WindowZone = Annotated[str, AfterValidator(_window_zone)]
Sensitivity = Annotated[str, Field(pattern=r"^(none|personal|sensitive:[a-z0-9_]{1,48})$")]
SensitiveKind = Annotated[str, Field(pattern=r"^sensitive:[a-z0-9_]{1,48}$")]
Condition = Annotated[str, BeforeValidator(_text_of_condition, json_schema_input_type=str | bool)]
NumberOrRule = Annotated[str, BeforeValidator(_text_of_number, json_schema_input_type=str | float)]
OneOrMany = Annotated[
    list[Id], BeforeValidator(_one_or_many, json_schema_input_type=Id | list[Id]), Field(min_length=1)
]
Range = Annotated[list[float], Field(min_length=2, max_length=2)]


def check_range(bounds: list[float] | None) -> None:
    if bounds is not None and bounds[0] > bounds[1]:
        raise refuse("bad_range", f"the range {bounds} ends before it starts", "write the smaller number first")


def minute_of_day(text: str) -> int:
    """Minutes since midnight of a `TimeOfDay`."""
    hours, _, minutes = text.partition(":")
    return int(hours) * 60 + int(minutes)


class Identified(Protocol):
    """An item of a collection."""

    @property
    def id(self) -> str: ...


class ById:
    """Marks a list that may also be written as a mapping from id to the other fields."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(_either_list_or_mapping, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        as_list = handler(schema)
        return {"anyOf": [{"type": "object", "additionalProperties": as_list["items"]}, as_list]}
