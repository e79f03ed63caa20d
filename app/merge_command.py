"""`nextbest customers merge`: makes two customers one, in the store of a deployment, beside its servers."""

from __future__ import annotations

from redis.asyncio import Redis

from app.command_context import Trouble, with_store
from app.core.identity import key_refusal
from app.flows.merge import Merges
from app.settings import Durability, Settings
from app.store.fields import FieldRegistry
from app.store.keys import Keys
from app.store.merge import MergeStore
from policy.compile import load

#: Who the history names.
WHO = "command_line"
WHY_LENGTH_MAX = 200


def merge(settings: Settings, address: str | None, loser: str, winner: str, why: str) -> str:
    """Merge, and return whose all of it is. `address`: of the store; None: of the settings, or the data folder's own.
    Raises Trouble."""
    for key in (loser, winner):
        refusal = key_refusal(key)
        if refusal is not None:
            raise Trouble(refusal.detail)
    if len(why) > WHY_LENGTH_MAX or not why.isprintable():
        raise Trouble(f"the reason is one line of at most {WHY_LENGTH_MAX} characters")

    async def work(client: Redis, keys: Keys) -> str:
        strict = settings.durability is Durability.STRICT
        steps = MergeStore(client, keys, FieldRegistry(client), load(settings.bundle), strict=strict)
        return await Merges(steps).merge(loser, winner, WHO, why)

    return with_store(settings, address, work, client_name="nextbest-merge", unused="nobody is known here")
