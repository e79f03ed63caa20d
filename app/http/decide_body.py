"""The body of a decision request: from bytes to a `DecideRequest`, or a problem that says what, where and the remedy.

Shared by `POST /v1/decide` and every line of `/v1/decide/batch`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from app.core.decision.commit import Idempotency
from app.core.decision.request import BUDGET_MS_MAX, BUDGET_MS_MIN, PLACEMENTS_MAX, DecideRequest
from app.core.identity import Alias, Refusal, resolve_reference
from app.core.keeping import MATRIX_NAME, identity_handling
from app.errors import Problem
from app.http import places
from app.http.customer_bodies import OneRefusal
from app.http.customer_bodies import parse as validated
from app.http.problems import shown_name
from policy.bundle import Bundle, ContextField, Placement

EXAMPLE = {
    "customer": "cus_000001",
    "placements": ["weekly_offer"],
    "context": {"region": "US", "timezone": "America/New_York"},
    "explain": True,
}


class DecideBody(BaseModel):
    """Which message, if any, should this customer get now?"""

    model_config = ConfigDict(extra="forbid", strict=True)  # `"40"` is no number, and `"yes"` no truth value

    customer: Annotated[str | dict[str, str], OneRefusal()] = Field(
        description="The key, or one alias: `user_id`, `anonymous_id`, `email_sha256`, `phone_sha256`, `external`."
    )
    placements: Annotated[list[str], Field(min_length=1, max_length=PLACEMENTS_MAX)] = Field(
        description="Slots to fill, the most important first; no message is given twice in one answer."
    )
    context: dict[str, Any] = Field(default_factory=dict, description="Attributes that the bundle declares.")
    budget_ms: int | None = Field(
        None, description=f"Latency budget, {BUDGET_MS_MIN} to {BUDGET_MS_MAX} ms; the placements' own when absent."
    )
    gpc: bool = Field(
        False,
        description="The customer's browser sent Global Privacy Control, as the `Sec-GPC: 1` header says too: what the "
        "bundle's row of their region lists under `gpc_denies` is denied.",
    )
    explain: bool = Field(False, description="Return why each other candidate was not chosen.")
    dry_run: bool = Field(False, description="Decide, and write nothing.")
    unsubscribe: bool | None = Field(
        None,
        description="Whether decisions that send marketing carry `list_unsubscribe`, the headers of a link (RFC 8058). "
        "Absent: where the placement says so.",
    )


class BatchLine(DecideBody):
    """One line of a batch: a decision request with its own idempotency key."""

    idempotency_key: str | None = Field(None, description="As the `Idempotency-Key` header of a single request.")


#: What browsers send, and nothing else is the signal: https://www.w3.org/TR/gpc/#the-sec-gpc-header-field-for-http-requests
GPC_HEADER, GPC_ON = b"sec-gpc", b"1"
_BODY = TypeAdapter(DecideBody)
_LINE = TypeAdapter(BatchLine)
MakeIdempotency = Callable[[str, bytes], Idempotency]


def parse(
    raw: bytes,
    bundle: Bundle,
    request_id: str,
    idempotency_key: str | None,
    trace_id: bytes | None,
    idempotency_of: MakeIdempotency,
    gpc: bool = False,
) -> DecideRequest:
    """A request from its body, its `Idempotency-Key` and whether it carried `Sec-GPC: 1`. Raises `Problem`."""
    return _resolve(validated(_BODY, raw), raw, bundle, request_id, idempotency_key, trace_id, idempotency_of, gpc)


def parse_line(
    raw: bytes,
    bundle: Bundle,
    request_id: str,
    trace_id: bytes | None,
    idempotency_of: MakeIdempotency,
    gpc: bool = False,
) -> DecideRequest:
    """A request from a line of a batch; `gpc`: the batch carried `Sec-GPC: 1`. Raises `Problem`."""
    line = validated(_LINE, raw)
    return _resolve(line, raw, bundle, request_id, line.idempotency_key, trace_id, idempotency_of, gpc)


def _resolve(
    body: DecideBody,
    raw: bytes,
    bundle: Bundle,
    request_id: str,
    idempotency_key: str | None,
    trace_id: bytes | None,
    idempotency_of: MakeIdempotency,
    gpc: bool,
) -> DecideRequest:
    customer = resolve_reference(body.customer)
    if isinstance(customer, Refusal):
        raise Problem(customer.code, customer.detail)
    if isinstance(customer, Alias) and identity_handling(bundle, customer.kind).drop:
        name = MATRIX_NAME[customer.kind]
        detail = f"the bundle collects no `{name}` (data.yaml): name the customer by the key or by another alias"
        raise Problem("invalid_request", detail, [{"path": f"customer.{customer.kind}", "detail": detail}])
    placements = _placements(body.placements, bundle)
    idempotency = None
    if idempotency_key is not None:
        check_idempotency_key(idempotency_key)
        if not body.dry_run:  # a dry run is no answer that could be repeated
            idempotency = idempotency_of(idempotency_key, raw)
    return DecideRequest(  # by position: names would take half as long again
        request_id,
        customer,
        placements,
        check_context(body.context, bundle.context) if body.context else body.context,
        _budget_ms(body.budget_ms, placements),
        body.explain,
        body.dry_run,
        idempotency,
        trace_id,
        gpc or body.gpc,
        body.unsubscribe,
    )


def _placements(names: list[str], bundle: Bundle) -> tuple[Placement, ...]:
    try:
        placements = tuple([bundle.placements[name] for name in names])
    except KeyError:
        unknown = ", ".join(f"`{shown_name(name)}`" for name in names if name not in bundle.placements)
        known = ", ".join(f"`{name}`" for name in bundle.placements)
        raise Problem("unknown_placement", f"{unknown}: the bundle has {known}") from None
    if len(set(names)) < len(names):
        raise Problem("invalid_request", "`placements` names one placement twice: ask for each once")
    return placements


def _budget_ms(asked: int | None, placements: tuple[Placement, ...]) -> int:
    """The caller's; else the strictest of the placements', since one answer serves all."""
    if asked is None:
        return min([placement.budget_ms for placement in placements])
    if not BUDGET_MS_MIN <= asked <= BUDGET_MS_MAX:
        raise Problem(
            "invalid_budget", f"`budget_ms` is {BUDGET_MS_MIN} to {BUDGET_MS_MAX}; leave it out for the placement's own"
        )
    return asked


def check_idempotency_key(key: str) -> None:
    """Raises `Problem` for a key that is not 1 to 255 visible ASCII characters."""
    if not (1 <= len(key) <= 255 and key.isascii() and key.isprintable() and " " not in key):
        raise Problem("invalid_idempotency_key", "an `Idempotency-Key` is 1 to 255 visible ASCII characters")


def check_context(context: Mapping[str, Any], declared: Mapping[str, ContextField]) -> dict[str, Any]:
    """The context with its values checked; null is absent. Raises `Problem` naming every undeclared attribute, or
    every one whose value does not fit. Values are never repeated: callers put anything into them."""
    if not context.keys() <= declared.keys():
        undeclared = [name for name in context if name not in declared]
        named = ", ".join(f"`{shown_name(name)}`" for name in undeclared[:8])
        known = ", ".join(f"`{name}`" for name in declared)
        raise Problem("unknown_context", f"{named}: the bundle declares {known}")
    checked = {}
    misfits = []
    for name, value in context.items():
        if value is None:
            continue
        try:
            checked[name] = _value(declared[name], value)
        except ValueError as error:
            misfits.append({"path": f"context.{name}", "detail": str(error)})
    if misfits:
        raise Problem("invalid_request", f"{len(misfits)} context attribute(s) do not fit", misfits)
    return checked


def _value(field: ContextField, value: Any) -> Any:
    if isinstance(value, str):
        return _checked_text(field, value)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if field.type == "bool" and isinstance(value, bool):
        return value
    if field.type == "int" and number and isinstance(value, int) and -(2**63) <= value < 2**63:  # as rules count
        return _in_range(field, value)
    if field.type == "float" and number and abs(value) <= sys.float_info.max:  # false for NaN too
        return _in_range(field, float(value))
    raise ValueError(f"expected {_EXPECTED[field.type]}")


@lru_cache(maxsize=1024)  # contexts repeat: a few regions, zones, languages, triggers
def _checked_text(field: ContextField, value: str) -> str:
    match field.type:
        case "region":
            return places.region(value)
        case "timezone":
            return places.timezone(value)
        case "language":
            return places.language(value)
        case "enum" if value not in field.values:
            raise ValueError(f"expected one of {', '.join(field.values)}")
        case "string" if field.max_length is not None and len(value) > field.max_length:
            raise ValueError(f"expected at most {field.max_length} characters")
        case "enum" | "string":
            return value
    raise ValueError(f"expected {_EXPECTED[field.type]}")


def _in_range(field: ContextField, value: float) -> float:
    if field.minimum is not None and value < field.minimum:
        raise ValueError(f"expected at least {field.minimum:g}")
    if field.maximum is not None and value > field.maximum:
        raise ValueError(f"expected at most {field.maximum:g}")
    return value


_EXPECTED = {
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "string": "text",
    "enum": "one of the declared words",
    "region": "an ISO 3166 code",
    "timezone": "an IANA time zone",
    "language": "a BCP 47 tag",
}
