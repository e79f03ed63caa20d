"""`nextbest why`: asks a running server why a customer gets a message, or none. It asks dry: nothing is reserved, and
nothing is logged.

Speaks to the server from outside, over HTTP, as any client would, with the scopes `decide` and `read`.
"""

from __future__ import annotations

import difflib
import json
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from urllib.parse import quote

TIMEOUT_S = 10
#: The widest budget there is: nobody waits for this answer.
PATIENT_MS = 2000
#: Contacts that are looked up to say when there is room again.
CONTACTS_MAX = 50


class CannotTell(Exception):
    """There is no answer; the message says why and what to do."""


class Told(NamedTuple):
    """All that the server said."""

    customer: str
    placement: Mapping[str, Any]  # of `/v1/bundle`
    limits: Mapping[str, Mapping[str, Any]]  # by id, of `/v1/bundle`
    decision: Mapping[str, Any]  # of `/v1/decide`
    profile: Mapping[str, Any] | None  # of `/v1/customers/{customer}`; None: nothing is known of them
    switches: Sequence[Mapping[str, Any]]  # what is off
    sent_by: Mapping[str, int]  # counted contacts (decision ids) → until when each may be sent, Unix ms
    now_ms: int


class Server:
    """Where to ask."""

    def __init__(self, url: str, key: str | None) -> None:
        self._url = url.rstrip("/")
        self._headers = {"content-type": "application/json"}
        if key:
            self._headers["authorization"] = f"Bearer {key}"

    def ask(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The JSON of an answer. Raises `Refused`, or `CannotTell` where there is no answer of ours."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self._url}{path}", data, self._headers)  # noqa: S310  (http, as told)
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:  # noqa: S310  (http, as told)
                return json.load(response)
        except urllib.error.HTTPError as error:
            raise _refusal(error) from error
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise CannotTell(
                f"no server answers at {self._url} ({reason}): start one, or name it with `--url`"
            ) from error


class Refused(CannotTell):
    """The server refused; `code` says why."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


def _refusal(error: urllib.error.HTTPError) -> CannotTell:
    try:
        problem = json.load(error)
        code, detail = str(problem["code"]), f"{problem['title']}: {problem['detail']}"
    except (ValueError, KeyError, TypeError):
        return CannotTell(f"the server answered {error.code} to {error.url}: is this nextbest?")
    if code in ("unauthenticated", "forbidden"):
        detail += " (name a key that may `decide` and `read` with `--key` or NEXTBEST_KEY)"
    return Refused(code, detail)


def ask(server: Server, customer: str, placement: str, message: str | None) -> Told:
    """Ask for everything that one screen says. Raises `CannotTell`."""
    served = server.ask("/v1/bundle")
    named = _placement(served, placement)
    if message is not None and message not in named["messages"]:
        raise CannotTell(_no_candidate(served, named, message))
    body = {"customer": customer, "placements": [placement], "budget_ms": PATIENT_MS, "explain": True, "dry_run": True}
    answer = server.ask("/v1/decide", body)
    decision = answer["decisions"][0]
    return Told(
        customer=answer["customer"],
        placement=named,
        limits={limit["id"]: limit for limit in served["limits"]},
        decision=decision,
        profile=_profile(server, answer["customer"]),
        switches=server.ask("/v1/switches")["switches"],
        sent_by=_sent_by(server, decision["excluded"]),
        now_ms=_decided_at_ms(decision["decision_id"]),
    )


def _profile(server: Server, customer: str) -> Mapping[str, Any] | None:
    try:
        found: Mapping[str, Any] = server.ask(f"/v1/customers/{quote(customer, safe='')}")
    except Refused as refused:
        if refused.code == "unknown_customer":
            return None
        raise
    return found


def _sent_by(server: Server, excluded: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Until when each counted contact may be sent; what the log no longer holds is left out."""
    ids = dict.fromkeys(contact for line in excluded for contact in line.get("contacts") or ())
    found = {}
    for decision_id in list(ids)[:CONTACTS_MAX]:
        try:
            window = server.ask(f"/v1/decisions/{decision_id}")["send_window"]
        except Refused:
            continue
        if window is not None:
            found[decision_id] = _ms(window["not_after"])
    return found


def _decided_at_ms(decision_id: str) -> int:
    """The store's clock, which a decision id carries."""
    from app.core.decision.ids import parse_id

    parsed = parse_id(decision_id)
    if parsed is None:
        raise CannotTell("the server gave a decision id that this version does not know")
    return parsed.at_ms


def _ms(iso: str) -> int:
    return round(datetime.fromisoformat(iso).timestamp() * 1000)


def _placement(served: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    placements: dict[str, Mapping[str, Any]] = {each["id"]: each for each in served["placements"]}
    if name not in placements:
        raise CannotTell(f"there is no placement `{name}`{_near(name, placements)}")
    return placements[name]


def _no_candidate(served: Mapping[str, Any], placement: Mapping[str, Any], message: str) -> str:
    elsewhere = [each["id"] for each in served["placements"] if message in each["messages"]]
    if elsewhere:
        return f"`{message}` is no candidate of `{placement['id']}`, but of {_listed(elsewhere)}"
    return f"there is no message `{message}`{_near(message, placement['messages'])}"


def _near(name: str, known: Iterable[str]) -> str:
    names = list(known)
    near = difflib.get_close_matches(name, names, 3, 0.5)
    return f": did you mean {_listed(near, 'or')}?" if near else f": there are {_listed(names)}"


def _listed(names: Sequence[str], last: str = "and") -> str:
    quoted = [f"`{name}`" for name in names]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} {last} {quoted[-1]}"
