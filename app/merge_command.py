"""`nextbest customers merge`: makes two customers one, in the store of a deployment, beside its servers."""

from __future__ import annotations

import asyncio

from app.copy_log import NoLog, store_address
from app.core.identity import key_refusal
from app.errors import Problem
from app.flows.merge import Merges
from app.settings import Durability, Settings
from app.store.clients import open_client
from app.store.embedded import EmbeddedStoreError
from app.store.fields import FieldRegistry
from app.store.keys import Keys
from app.store.merge import MergeStore
from app.store.whole_log import shards_of
from policy.compile import load
from policy.reports import BundleError

#: Who the history names.
WHO = "command_line"
WHY_LENGTH_MAX = 200


class CannotMerge(Exception):
    """The customers are not one now; the message says why and what to do."""


def merge(settings: Settings, address: str | None, loser: str, winner: str, why: str) -> str:
    """Merge, and return whose all of it is. `address`: of the store; None: of the settings, or the data folder's own.
    Raises CannotMerge."""
    for key in (loser, winner):
        refusal = key_refusal(key)
        if refusal is not None:
            raise CannotMerge(refusal.detail)
    if len(why) > WHY_LENGTH_MAX or not why.isprintable():
        raise CannotMerge(f"the reason is one line of at most {WHY_LENGTH_MAX} characters")
    try:
        with store_address(settings, address) as url:
            return asyncio.run(_merge(settings, url, loser, winner, why))
    except (NoLog, EmbeddedStoreError, BundleError, ValueError) as error:
        raise CannotMerge(str(error)) from error
    except Problem as problem:
        raise CannotMerge(problem.detail) from problem


async def _merge(settings: Settings, url: str, loser: str, winner: str, why: str) -> str:
    async with open_client(url, client_name="nextbest-merge") as client:
        shards = await shards_of(client)
        if shards is None:
            raise CannotMerge("this store was never used by a server: nobody is known here")
        strict = settings.durability is Durability.STRICT
        steps = MergeStore(client, Keys(shards), FieldRegistry(client), load(settings.bundle), strict=strict)
        return await Merges(steps).merge(loser, winner, WHO, why)
