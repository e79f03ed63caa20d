"""A small bundle with an attribute of every type, and a server of the customers resource alone, on a real store."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from fastapi import FastAPI
from redis.asyncio import Redis

from app.http import problems, suppressions
from app.http.auth import Authenticator
from app.http.customers import router
from app.store.fields import FieldRegistry, names_of
from app.store.keys import Keys
from app.telemetry.metrics import Metrics
from policy.bundle import Bundle, Fact, Placement

HASH_KEY = b"a key for tests"
RETENTION_S = 1_000


def fact(index: int, name: str, kind: str, sensitivity: str = "personal", **more: Any) -> Fact:
    return Fact(index, name, kind, "attribute", "crm", 1, sensitivity, frozenset({"personalisation"}), **more)  # type: ignore[arg-type]  # texts of closed lists


FACTS = (
    fact(0, "recency", "int", minimum=0, maximum=120),
    fact(1, "history", "float", minimum=0, maximum=100_000),
    fact(2, "member", "bool"),
    fact(3, "zip_code", "enum", values=("Urban", "Surburban", "Rural")),
    fact(4, "nickname", "string", max_length=40),
    fact(5, "newbie", "int", "none", minimum=0, maximum=1, default=0),
)

WEEKLY = Placement(0, "weekly", "email", "marketing", "marketing", 40, None, 0.0, (), 0, (), {}, (), (), (), (), ())

BUNDLE = Bundle(
    name="small",
    owner="growth",
    currency="USD",
    digest="sha256:small",
    facts=FACTS,
    context={},
    rules=(),
    messages=(),
    placements={"weekly": WEEKLY},
    models=(),
    limits=(),
    purposes=("marketing", "personalisation"),
    regions={},
    ledger_retention_s=RETENTION_S,
    profile_retention_s=RETENTION_S,
    fact_by_name={each.name: each for each in FACTS},
    canonical=b"{}",
)


async def nothing_waits(recipients: object) -> None:
    """No outcome waits for anybody here."""


@dataclass
class Services:
    client: Redis
    bundle: Bundle = BUNDLE
    keys: Keys = field(default_factory=lambda: Keys(256))
    hash_key: bytes = HASH_KEY
    settings: Any = field(default_factory=lambda: SimpleNamespace(durability="everysec"))
    metrics: Metrics = field(default_factory=lambda: Metrics(None, {}))
    authenticator: Authenticator = field(default_factory=lambda: Authenticator(None))
    outcome_taker: Any = field(default_factory=lambda: SimpleNamespace(linked=nothing_waits))
    features: Any = field(default_factory=lambda: SimpleNamespace(lacking={}))

    def __post_init__(self) -> None:
        self.fields = FieldRegistry(self.client)


def customers_app(services: Services) -> FastAPI:
    app = FastAPI()
    app.include_router(router)
    app.include_router(suppressions.router)
    problems.install(app, lambda _: None)
    app.state.services = services
    return app


async def give_ids(client: Redis) -> None:
    """Give field ids to the names that tests use, as a deployment has after its first day: the first time a name is
    used, the store syncs its disk, which takes most of a second."""
    sources = ["s:form", "s:desk", "s:esp", "s:signup_form", "s:preference_centre", "b:consent", "c:push"]
    names = [*names_of(BUNDLE), *sources, "w:loopback"]
    ids: dict[Any, Any] = {name: f"{i:x}" for i, name in enumerate(names)}
    await client.hset("ctl:fields", mapping={**ids, "#": len(names)})
