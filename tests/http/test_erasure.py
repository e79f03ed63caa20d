"""Erasure and export over HTTP and on the command line, against a real server: what callers are told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from app.core.identity import customer_hash
from tests.support.contract import ATTRIBUTES, Caller, consent
from tests.support.serving import Server


def known(caller: Caller) -> tuple[str, str]:
    """A customer of whom everything is kept, and a decision that sent."""
    customer = caller.customer(identities={"external": f"crm-{caller.stranger()}"}, preferences={"frequency": "weekly"})
    decision = caller.decisions(customer, "thrice")[0]
    assert decision["action"] == "send", decision
    clicked = caller.http.post(f"/v1/decisions/{decision['decision_id']}/outcomes", json={"type": "clicked"})
    assert clicked.status_code == 200
    return customer, decision["decision_id"]


def erase(caller: Caller, customer: str) -> dict[str, Any]:
    answered = caller.http.delete(f"/v1/customers/{customer}")
    assert answered.status_code == 202, answered.text
    receipt: dict[str, Any] = answered.json()
    assert answered.headers["location"] == f"/v1/erasures/{receipt['erasure']}"
    return receipt


def until_done(caller: Caller, erasure: str) -> dict[str, Any]:
    give_up_at = time.monotonic() + 30
    while True:
        receipt: dict[str, Any] = caller.http.get(f"/v1/erasures/{erasure}").json()
        if receipt["done_at"] is not None:
            return receipt
        assert time.monotonic() < give_up_at, (receipt.get("waits_for"), receipt["steps"][-1])
        time.sleep(0.05)


def code_of(answered: Any) -> tuple[int, str]:
    return answered.status_code, answered.json()["code"]


def test_who_was_erased_is_gone_for_everybody_at_once(caller: Caller) -> None:
    customer, decision = known(caller)
    erase(caller, customer)
    http = caller.http
    for path in ("", "/history", "/export", "/identities"):
        assert code_of(http.get(f"/v1/customers/{customer}{path}")) == (410, "erased")
    assert code_of(http.put(f"/v1/customers/{customer}", json={"attributes": ATTRIBUTES})) == (410, "erased")
    assert code_of(http.get(f"/v1/decisions/{decision}")) == (404, "decision_expired")
    told = http.post(f"/v1/decisions/{decision}/outcomes", json={"type": "complained"})
    assert code_of(told) == (404, "decision_expired")
    assert caller.decisions(customer)[0]["reason"] == "suppressed:erased"


def test_the_receipt_is_filled_by_the_server_and_names_nobody(caller: Caller, store: Redis) -> None:
    customer, _ = known(caller)
    begun = erase(caller, customer)
    assert erase(caller, customer)["erasure"] == begun["erasure"]
    receipt = until_done(caller, begun["erasure"])
    assert [step["what"] for step in receipt["steps"]] == [
        "customer", "identities", "decisions", "receipts", "events", "archive", "append_only_file"
    ]  # fmt: skip
    hash_key = store.get("ctl:hash_key")
    assert isinstance(hash_key, bytes)
    assert receipt["customer_hash"] == customer_hash(customer, hash_key)
    assert customer not in json.dumps(receipt)
    assert code_of(caller.http.get("/v1/erasures/ers_of_nobody")) == (404, "not_found")


def test_an_old_import_brings_nobody_back_and_a_new_consent_begins_anew(caller: Caller) -> None:
    customer, _ = known(caller)
    erase(caller, customer)
    line = {"customer": customer, "attributes": ATTRIBUTES, "consent": [consent("marketing")]}
    bulk = caller.http.post("/v1/customers/bulk", content=json.dumps(line))
    assert [each["code"] for each in bulk.json()["rejected"]] == ["erased"]
    path = f"/v1/customers/{customer}/consent/marketing/email"
    old = {"state": "granted", "source": "form", "basis": "consent", "at": "2026-01-01T00:00:00Z"}
    assert caller.http.put(path, json=old).json()["applied"] is False
    assert caller.decisions(customer)[0]["reason"] == "suppressed:erased"
    del old["at"]
    assert caller.http.put(path, json=old).json()["applied"] is True
    shown = caller.http.get(f"/v1/customers/{customer}").json()
    assert (shown["attributes"], shown["contacts"], shown["suppressions"]) == ({}, 0, [])
    lifted = caller.http.get(f"/v1/customers/{customer}/history").json()["history"]
    assert {each["what"] for each in lifted} == {"consent", "suppression_lifted"}


def test_an_export_holds_everything_by_name(caller: Caller) -> None:
    customer, decision = known(caller)
    caller.decisions(customer, "weekly")
    exported = caller.http.get(f"/v1/customers/{customer}/export")
    assert exported.headers["content-disposition"] == f'attachment; filename="{customer}.json"'
    document = exported.json()
    assert document["customer"] == customer
    assert document["profile"]["attributes"] == ATTRIBUTES
    assert {each["purpose"] for each in document["profile"]["consent"]} == {"marketing", "personalisation"}
    assert document["profile"]["preferences"] == {"frequency": "weekly"}
    assert [each["kind"] for each in document["identities"]] == ["external"]
    assert decision in [each["decision_id"] for each in document["contacts"]]
    decided, weekly = document["decisions"]
    assert decided["decision_id"] == decision
    assert weekly["values"]["recency"] == ATTRIBUTES["recency"]
    assert [each["type"] for each in decided["outcomes"]] == ["clicked"]
    assert document["history"]


def test_an_export_of_nobody_is_empty(caller: Caller) -> None:
    document = caller.http.get(f"/v1/customers/{caller.stranger()}/export").json()
    assert document["profile"] is None
    assert not any(document[part] for part in ("decisions", "events", "contacts", "identities", "history"))


def run(server: Server, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from app.cli import main; main()", "customers", *words],
        env={**os.environ, **server.environment},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_the_command_line_exports_erases_and_proves_it(server: Server, caller: Caller, tmp_path: Path) -> None:
    customer, _ = known(caller)
    out = tmp_path / "all.json"
    done = run(server, "export", customer, "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert json.loads(out.read_bytes())["customer"] == customer
    assert out.stat().st_mode & 0o777 == 0o600
    done = run(server, "erase", customer)
    receipt = json.loads(done.stdout)
    assert done.returncode == 0, done.stderr
    assert receipt["done_at"] is not None
    assert caller.decisions(customer)[0]["reason"] == "suppressed:erased"
    assert run(server, "receipt", receipt["erasure"], "--of", customer).returncode == 0
    assert run(server, "receipt", receipt["erasure"], "--of", "cus_somebody_else").returncode == 1
    assert run(server, "export", customer, "--out", str(out)).returncode == 1


@pytest.mark.parametrize("words", [("erase", "mail@example.com"), ("receipt", "ers_none")])
def test_the_command_line_refuses_in_words(server: Server, words: tuple[str, ...]) -> None:
    done = run(server, *words)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "mail@example.com" not in done.stderr
