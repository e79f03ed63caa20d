"""One life of a deployment, for tests that look at all of it: server, worker, archiver and commands, over a store whose
user may do what `docs/security.md` grants, asked everything with canaries in it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import redis
from typer.testing import CliRunner

from app import keys_file
from app.cli import app as cli
from tests.support import look
from tests.support.canary import FREE, PERSON, Search, key_canary
from tests.support.otlp import collector
from tests.support.server import ROOT, Answer, Client, Server
from tests.support.surfaces import (
    Ask,
    bundle_of_everything,
    everything,
    free_text,
    unsubscribing,
    webhook_settings,
    welcome,
    with_key,
)
from tests.support.valkey import Store
from tests.support.written import in_archive, in_store

PASSWORD = "a-test-password"
#: Asks, and keeps what came; the second argument says what was in it.
Note = Callable[[Ask, str], Awaitable[Answer]]


@dataclass
class Written:
    """What came out, by where it was found."""

    search: Search
    free: Search = field(default_factory=lambda: Search((FREE,)))
    answers: dict[str, bytes] = field(default_factory=dict)
    asked: set[tuple[str, str]] = field(default_factory=set)  # method and path
    statuses: dict[str, set[int]] = field(default_factory=dict)  # by path
    log: dict[str, bytes] = field(default_factory=dict)
    spans: dict[str, bytes] = field(default_factory=dict)
    metrics: dict[str, bytes] = field(default_factory=dict)
    store: dict[str, bytes] = field(default_factory=dict)
    archive: dict[str, bytes] = field(default_factory=dict)
    commands: dict[str, bytes] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    refused: list[dict[str, str]] = field(default_factory=list)  # the store's ACL LOG
    used: set[str] = field(default_factory=set)  # commands of the store
    store_path: str = ""
    routes: set[tuple[str, str]] = field(default_factory=set)  # of the OpenAPI document


@contextmanager
def whole_life(folder: Path) -> Iterator[Written]:
    """A deployment that is asked everything, and what it left. Its store still runs."""
    bundle = bundle_of_everything(folder / "bundle")
    _, key = keys_file.add(folder / "keys.jsonl", ["admin"])
    found = Written(Search((*PERSON, key_canary(key))))
    store = Store()
    store.start()
    url = f"unix://nextbest:{PASSWORD}@{store.socket_path}"
    try:
        with redis.Redis(unix_socket_path=str(store.socket_path)) as inside:
            inside.execute_command("ACL", "SETUSER", "nextbest", *user_of_the_store())
            inside.config_resetstat()
        with collector() as telemetry:
            settings: dict[str, Any] = {
                "OTEL_EXPORTER_OTLP_ENDPOINT": telemetry.endpoint, "OTEL_BSP_SCHEDULE_DELAY": "100",
                "trace_ratio": "1", "keys_file": str(folder / "keys.jsonl"), "event_worker": "true",
                "archive": str(folder / "archive"), "archive_flush_s": "1", **webhook_settings(folder),
            }  # fmt: skip
            with Server.on(url, bundle, **settings) as server:
                asyncio.run(asked_of(server, key, found))
                with redis.Redis(unix_socket_path=str(store.socket_path)) as inside:
                    server.wait(lambda: worked_off(inside))
                    found.store = in_store(inside)
                telemetry.wait_for_spans(100)
                server.stop()
                found.log = {f"line {n}": line.encode() for n, line in enumerate(server.log.splitlines())}
            found.spans = {f"delivery {n}": body for n, body in enumerate(telemetry.bodies)}
        found.commands = told_by_commands(reading(folder), url, bundle, folder)
        found.archive = in_archive(folder / "archive")
        found.commands |= told_by_commands(changing(), url, bundle, folder)
        for name in ("export.json", "vectors.ndjson", "records"):
            found.commands[name] = (folder / name).read_bytes()
        with redis.Redis(unix_socket_path=str(store.socket_path)) as inside:
            found.refused = [_text(each) for each in inside.execute_command("ACL", "LOG")]
            found.used = {name.removeprefix("cmdstat_") for name in inside.info("commandstats")}
        found.store_path = str(store.socket_path)
        found.files = {"the keys file": (folder / "keys.jsonl").read_bytes()}
        yield found
    finally:
        store.remove()


class Keyed:
    """A client that sends a key with all that has none."""

    def __init__(self, client: Client, key: str) -> None:
        self._client = client
        self._key = key

    async def ask(self, ask: Ask) -> Answer:
        headers = {"authorization": f"Bearer {self._key}"} | dict(ask.headers)
        if headers["authorization"] == "":
            del headers["authorization"]
        if "host" in headers:  # the client sends one, and HTTP knows one
            headers["x-forwarded-host"] = headers.pop("host")
        return await self._client.ask(ask.method, ask.path, ask.body, headers)

    async def get(self, path: str) -> Answer:
        return await self.ask(Ask("GET", path))


async def asked_of(server: Server, key: str, found: Written) -> None:
    """Everything, with every canary."""
    keyed = Keyed(server.client, key)
    document = (await keyed.get("/openapi.json")).json()["paths"]
    found.routes = {(method.upper(), path) for path, methods in document.items() for method in methods}

    async def note(ask: Ask, kind: str) -> Answer:
        answer = await keyed.ask(ask)
        place = f"{ask.method} {ask.path} with {kind} → {answer.status} (#{len(found.answers)})"
        found.answers[place] = answer.body + repr(dict(answer.headers)).encode()
        path = ask.path.partition("?")[0]
        found.asked.add((ask.method, path))
        found.statuses.setdefault(path, set()).add(answer.status)
        return answer

    for ask in welcome("cus_1", "cus_2", "cus_3"):
        assert (await note(ask, "nothing")).status == 200
    for ask in free_text(FREE.word):
        await note(ask, "free text")
    for ask in with_key(key):
        await note(ask, "a key")
    for canary in PERSON:
        sent = await sent_decision(keyed)
        for ask in everything(canary.word, sent):
            await note(ask, canary.kind)
        for ask in unsubscribing(canary.word, await link_of(keyed)):
            await note(ask, canary.kind)
    await whole_way(note)
    found.metrics = {"/metrics": (await keyed.get("/metrics")).body}
    await server.client.close()


async def whole_way(note: Note) -> None:
    """What a store is used for besides: outcomes of every kind, switches, identities, an erasure to its end."""
    sent = (await note(Ask("POST", "/v1/decide", {"customer": "cus_2", "placements": ["open"]}), "nothing")).first
    for kind in ("delivered", "opened", "clicked", "converted", "complained"):
        outcome = {"type": kind, "value": 1.0, "event_id": kind}
        await note(Ask("POST", f"/v1/decisions/{sent['decision_id']}/outcomes", outcome), "nothing")
    for state in ("off", "on"):
        body = {"state": state, "by": "desk", "why": "a drill"}
        await note(Ask("PUT", "/v1/switches/message/open_b", body), "nothing")
    await note(Ask("PUT", "/v1/customers/cus_2", {"identities": {"user_id": "u 2", "external": "e 2"}}), "nothing")
    erasure = (await note(Ask("DELETE", "/v1/customers/cus_3"), "nothing")).json()["erasure"]
    await note(Ask("GET", f"/v1/erasures/{erasure}"), "nothing")


async def sent_decision(keyed: Keyed) -> str:
    body = {"customer": "cus_2", "placements": ["open"], "budget_ms": 2000}
    return str((await keyed.ask(Ask("POST", "/v1/decide", body))).first["decision_id"])


async def link_of(keyed: Keyed) -> str:
    """The path of an unsubscribe link."""
    body = {"customer": "cus_3", "placements": ["receipt", "open"], "budget_ms": 2000, "unsubscribe": True}
    answer = (await keyed.ask(Ask("POST", "/v1/decide", body))).body.decode()
    link = re.search(r"(/v1/unsubscribe/[^>]+)>", answer)
    return "/v1/unsubscribe/none" if link is None else link[1]


def worked_off(store: look.Inside) -> bool:
    """Whether the worker has nothing left to do."""
    return all(
        store.hget(name.replace(b":events", b":worker"), "position") == store.xinfo_stream(name)["last-generated-id"]
        for name in store.scan_iter(b"{s*}:events", count=1000)
    )


def reading(folder: Path) -> Iterator[list[str]]:
    """Commands that show and write what there is."""
    yield ["archive", "--once"]
    yield ["deadletters", "list", "--json"]
    yield ["webhooks", "--json"]
    yield ["webhooks"]
    yield ["deliverability"]
    yield ["doctor", "--json", "--sample", "0"]
    yield ["customers", "export", "cus_1", "--out", str(folder / "export.json")]
    now = datetime.now(UTC).isoformat()
    yield ["features", "vectors", "--at", now, "--out", str(folder / "vectors.ndjson")]
    yield ["records", str(folder / "records")]


def changing() -> Iterator[list[str]]:
    """Commands that change what there is; with names of people where keys belong."""
    yield ["deadletters", "redrive"]
    yield ["features", "backfill", "--partly"]
    yield ["customers", "merge", "cus_1", "cus_2"]
    yield ["customers", "erase", "cus_2"]
    yield ["archive", "--forget"]
    email, phone, name, ip = (canary.word for canary in PERSON)
    yield ["customers", "erase", email]
    yield ["customers", "merge", phone, "cus_1"]
    yield ["customers", "receipt", name]
    yield ["customers", "receipt", "ers_1", "--of", ip]


def told_by_commands(commands: Iterable[list[str]], store_url: str, bundle: Path, folder: Path) -> dict[str, bytes]:
    """What they print, by the command."""
    environment = {"NEXTBEST_REDIS_URL": store_url, "NEXTBEST_BUNDLE": str(bundle), "NEXTBEST_DATA": str(folder)}
    environment |= {"NEXTBEST_ARCHIVE": str(folder / "archive"), "COLUMNS": "400"}
    told = {}
    for command in commands:
        ran = CliRunner().invoke(cli, command, env=environment)
        assert ran.exception is None or isinstance(ran.exception, SystemExit), (command, ran.exception)
        told[" ".join(command)] = ran.output.encode()
    return told


def user_of_the_store() -> list[str]:
    """The words of ACL SETUSER that `docs/security.md` gives."""
    rule = re.search(r"^ACL SETUSER nextbest (.+?)^```", (ROOT / "docs" / "security.md").read_text(), re.M | re.S)
    assert rule is not None
    words = rule[1].replace("\\\n", " ").split()
    return [f">{PASSWORD}" if word.startswith(">") else word for word in words]


def _text(entry: Any) -> dict[str, str]:
    fields = dict(zip(entry[::2], entry[1::2], strict=True)) if isinstance(entry, list) else entry
    return {_word(name): _word(value) for name, value in fields.items()}


def _word(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
