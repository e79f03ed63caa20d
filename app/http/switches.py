"""`/v1/switches`: what operators turn off at once, on every node, without a release.

Fails closed: a switch is acknowledged only when the store has it and this process goes by it; every other node does
within a second. A region is checked against ISO 3166, since a switch for `UK` would look like one and stop nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Path, Request, Response
from pydantic import AwareDatetime, BaseModel, Field, TypeAdapter

from app.core.identity import looks_direct
from app.errors import Problem
from app.http import places
from app.http.customer_bodies import DIRECT_IN_TEXT, STRICT, parse
from app.http.customer_view import iso
from app.http.decisions import json_response
from app.http.openapi import answered, problems, request_body
from app.store.control import OFF, ON
from policy.codes import SwitchKind
from policy.control import EVERYTHING, is_known

if TYPE_CHECKING:
    from app.services import Services
    from app.store.control import Change
    from policy.control import Switch

router = APIRouter(prefix="/v1/switches", tags=["switches"])

#: The row of a bundle's consent table for regions that have none of their own.
OTHERWISE = "default"
ID = re.compile(r"[a-z0-9_]{1,48}")
ALL_DIGITS_PHONE = re.compile(r"\d{7,}")
TEXT_MAX = 200

Kind = Annotated[SwitchKind, Path(description="What is turned off.")]
Name = Annotated[
    str, Path(description="Its id in the bundle; for a region `DE`, `US-CA` or `default`; for `all` it is `*`.")
]
Text = Annotated[str, Field(min_length=1, max_length=TEXT_MAX, pattern=r"\S")]


class SwitchBody(BaseModel):
    """Turn something off or on."""

    model_config = STRICT

    state: Literal["off", "on"]
    by: Text | None = Field(None, description="Who says so: a role or a handle, never an address. `off` needs it.")
    why: Text | None = Field(None, description="For whoever finds it off. `off` needs it.")
    until: AwareDatetime | None = Field(
        None,
        le=datetime(9999, 1, 1, tzinfo=UTC),
        description="`off` ends by itself then: ISO 8601 with a zone, still to come; absent: until turned on.",
    )


class SwitchState(BaseModel):
    """A switch as it is now."""

    kind: SwitchKind
    name: str
    state: Literal["on", "off"]
    known: bool = Field(description="Whether the bundle that this node serves has such a part.")
    by: str | None = None
    why: str | None = None
    until: str | None = None
    at: str | None = Field(None, description="Since when it is off.")
    note: str | None = None


class SwitchChange(BaseModel):
    """What somebody did; a switch that ended by itself was turned on by `nextbest`."""

    kind: SwitchKind
    name: str
    state: Literal["on", "off"]
    by: str | None
    why: str | None
    key: str = Field(description="The id of the API key that it was done with; empty where it happened by itself.")
    until: str | None
    at: str


class Switches(BaseModel):
    """All that is off, and the last changes."""

    switches: list[SwitchState]
    changes: list[SwitchChange] = Field(description="The last 100, newest first.")
    unreadable: int = Field(description="Entries of the store that nobody can read: they suppress marketing.")


BODY = TypeAdapter(SwitchBody)
REFUSALS = (
    "malformed_json", "payload_too_large", "invalid_request", "direct_identifier", "store_unavailable",
    "durability_unmet",
)  # fmt: skip
TURN_OFF = {
    "state": "off", "by": "crm_oncall", "why": "the price in the offer is wrong", "until": "2099-01-01T00:00:00Z",
}  # fmt: skip
TURN_ON = {"state": "on", "by": "crm_oncall", "why": "corrected"}
IS_OFF = {
    "kind": "message", "name": "mens_email", "state": "off", "known": True, "by": "crm_oncall",
    "why": "the price in the offer is wrong", "until": None, "at": "2026-11-24T08:00:00.000Z",
}  # fmt: skip
CHANGED = {name: value for name, value in IS_OFF.items() if name != "known"} | {"key": "key_4f0c9a1b2c3d"}


@router.get(
    "",
    summary="What is switched off",
    responses={
        **answered(Switches, "All that is off", {"switches": [IS_OFF], "changes": [CHANGED], "unreadable": 0}),
        **problems("store_unavailable"),
    },
    response_model=None,
)
async def read_switches(request: Request) -> Response:
    """Everything that is off now, on every node, and who turned what, when and why."""
    services = request.app.state.services
    board = await services.switches.switchboard()
    return json_response(
        {
            "switches": [_off(services, switch) for switch in board.switches],
            "changes": [_change(change) for change in board.changes],
            "unreadable": board.unreadable,
        }
    )


@router.get(
    "/{kind}/{name}",
    summary="Is this switched off?",
    responses={
        **answered(SwitchState, "The switch", IS_OFF),
        **problems("invalid_request", "store_unavailable"),
    },
    response_model=None,
)
async def read_switch(request: Request, kind: Kind, name: Name) -> Response:
    """What was never turned is on."""
    services = request.app.state.services
    _check_name(kind, name)
    board = await services.switches.switchboard()
    found = next((switch for switch in board.switches if (switch.kind, switch.name) == (kind, name)), None)
    return json_response(_on(services, kind, name) if found is None else _off(services, found))


@router.put(
    "/{kind}/{name}",
    summary="Switch something off, or on again",
    openapi_extra=request_body(SwitchBody, {"off": TURN_OFF, "on": TURN_ON}),
    responses={
        **answered(SwitchState, "The store has it, and every node goes by it within a second", IS_OFF),
        **problems(*REFUSALS),
    },
    response_model=None,
)
async def turn_switch(request: Request, kind: Kind, name: Name) -> Response:
    """A name that the bundle served here does not know is taken all the same, and the answer says so: another release
    may have it."""
    services = request.app.state.services
    _check_name(kind, name)
    body = _checked(parse(BODY, await request.body()))
    key = services.authenticator.who(request.scope["headers"])
    if body.state == OFF:
        until_ms = None if body.until is None else int(body.until.timestamp() * 1000)
        switch = await services.switches.turn_off(kind, name, body.by, body.why, until_ms, key)
        answer = _off(services, switch)
    else:
        await services.switches.turn_on(kind, name, body.by, body.why, key)
        answer = _on(services, kind, name)
    await services.control.poll()
    if not answer["known"]:
        answer["note"] = f"the bundle served here has no such {kind}; the switch holds for every release that has"
    return json_response(answer)


def _check_name(kind: SwitchKind, name: str) -> None:
    """Raises Problem for what no bundle can have; it repeats nothing, since anything may stand in a path."""
    if kind is SwitchKind.ALL:
        expected = None if name == EVERYTHING else "`all` has one switch: `*`"
    elif kind is SwitchKind.REGION:
        expected = _expected_region(name)
    else:
        expected = None if ID.fullmatch(name) else "an id is 1 to 48 lower-case letters, digits or `_`"
    if expected is not None:
        raise Problem("invalid_request", expected, [{"path": "name", "detail": expected}])


def _expected_region(name: str) -> str | None:
    if name == OTHERWISE:
        return None
    try:
        places.region(name)
    except ValueError as error:
        return str(error)
    return None


def _checked(body: SwitchBody) -> SwitchBody:
    """A body whose parts fit each other."""
    missing = [name for name in ("by", "why") if body.state == OFF and getattr(body, name) is None]
    wrong = [{"path": name, "detail": "who finds it off must learn it: say it"} for name in missing]
    if body.state == ON and body.until is not None:
        wrong.append({"path": "until", "detail": "only `off` ends by itself"})
    if wrong:
        raise Problem(
            "invalid_request", "1 field does not fit" if len(wrong) == 1 else f"{len(wrong)} fields do not fit", wrong
        )
    if body.by is not None and (looks_direct(body.by) or ALL_DIGITS_PHONE.fullmatch(body.by)):
        raise Problem("direct_identifier", "`by` looks like an address or a phone number: name a role or a handle")
    if any(DIRECT_IN_TEXT.search(text) for text in (body.by, body.why) if text is not None):
        raise Problem("direct_identifier", "`why` holds an e-mail address or a phone number: name a role or a handle")
    return body


def _off(services: Services, switch: Switch) -> dict[str, Any]:
    known = is_known(services.bundle, switch.kind, switch.name)
    said = {"kind": switch.kind, "name": switch.name, "state": OFF, "known": known}
    return {**said, "by": switch.by, "why": switch.why, **_times(switch.until_ms, switch.at_ms)}


def _on(services: Services, kind: SwitchKind, name: str) -> dict[str, Any]:
    return {"kind": kind, "name": name, "state": ON, "known": is_known(services.bundle, kind, name)}


def _change(change: Change) -> Mapping[str, Any]:
    said = {"kind": change.kind, "name": change.name, "state": change.state, "by": change.by, "why": change.why}
    return {**said, "key": change.key, **_times(change.until_ms, change.at_ms)}


def _times(until_ms: int | None, at_ms: int) -> dict[str, str | None]:
    return {"until": None if until_ms is None else iso(until_ms), "at": iso(at_ms)}
