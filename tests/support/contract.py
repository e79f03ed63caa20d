"""The contract bundle (`contract_bundle/`), what its customers are, and a caller that asks a server about them."""

from __future__ import annotations

import json
import shutil
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import httpx

from policy.bundle import Bundle
from policy.compile import load

FOLDER = Path(__file__).parent / "contract_bundle"
REGISTRY = Path(__file__).parents[2] / "models" / "registry"
#: Wide, because test machines are slow and busy; tests of budgets name their own.
PATIENT_MS = 2000
_NUMBERS = count(1)


@cache
def contract_bundle() -> Bundle:
    return load(FOLDER)


def served_folder(into: Path) -> Path:
    """The bundle with a registry of its own: the shipped model once more, as `strict`."""
    folder = Path(shutil.copytree(FOLDER, into / "bundle"))
    shipped, strict = REGISTRY / "response" / "1", folder / "registry" / "strict" / "1"
    strict.mkdir(parents=True)
    manifest = json.loads((shipped / "manifest.json").read_text())
    (strict / "manifest.json").write_text(json.dumps(manifest | {"name": "strict"}))
    shutil.copy(shipped / manifest["file"]["name"], strict)
    return folder


def consent(
    purpose: str, state: str = "granted", channel: str = "*", at: str = "2026-01-01T00:00:00Z"
) -> dict[str, str]:
    """One consent, as callers write it."""
    entry = {"purpose": purpose, "channel": channel, "state": state, "source": "signup_form", "basis": "consent"}
    return entry | {"at": at}


EVERYTHING_ALLOWED = [consent("marketing"), consent("personalisation")]
ATTRIBUTES = {
    "recency": 3, "history": 142.4, "mens": 1, "womens": 0, "zip_code": "Urban", "newbie": 0, "channel": "Web",
    "member": True, "nickname": "the reader", "balance": 250.0,
}  # fmt: skip


class Caller:
    """Speaks to a server as its callers do."""

    def __init__(self, http: httpx.Client) -> None:
        self.http = http

    def customer(self, **known: Any) -> str:
        """A new customer: all attributes, everything allowed, in Germany, unless `known` says otherwise."""
        key = f"cus_{next(_NUMBERS):06d}"
        body = {"attributes": ATTRIBUTES, "region": "DE", "timezone": "Europe/Berlin", "language": "de"}
        body |= {"consent": EVERYTHING_ALLOWED} | known
        written = self.http.put(f"/v1/customers/{key}", json=body)
        assert written.status_code == 200, written.text
        return key

    def stranger(self) -> str:
        """A key that nobody ever wrote anything about."""
        return f"cus_{next(_NUMBERS):06d}"

    def ask(
        self, customer: Any, *placements: str, headers: dict[str, str] | None = None, **more: Any
    ) -> httpx.Response:
        """`POST /v1/decide`; keyword arguments are further members of the body."""
        body = {"customer": customer, "placements": list(placements or ("weekly",)), "budget_ms": PATIENT_MS} | more
        return self.http.post("/v1/decide", json=body, headers=headers)

    def decisions(self, customer: Any, *placements: str, **more: Any) -> list[dict[str, Any]]:
        answer = self.ask(customer, *placements, **more)
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()["decisions"]
        return found

    def decision(self, customer: Any, placement: str = "weekly", **more: Any) -> dict[str, Any]:
        return self.decisions(customer, placement, **more)[0]

    def record(self, decision_id: str) -> dict[str, Any]:
        answer = self.http.get(f"/v1/decisions/{decision_id}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found


def said(decision: dict[str, Any]) -> tuple[str, str, str, str | None]:
    """Action, rung, reason, message: what most tests compare."""
    message = decision["message"]
    return decision["action"], decision["rung"], decision["reason"], None if message is None else message["id"]


def why_not(decision: dict[str, Any]) -> dict[str, str]:
    """Message → code of its exclusion."""
    return {line["message"]: line["code"] for line in decision["excluded"]}


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The problem, once it is known to be one of this code."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    body: dict[str, Any] = answer.json()
    assert (body["code"], body["status"], body["type"]) == (code, status, f"urn:nextbest:problem:{code}"), body
    assert body["title"]
    assert body["detail"]
    return body
