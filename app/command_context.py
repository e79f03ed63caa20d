"""What a command works with: the store of a deployment, the bundle of a folder. Whatever is wrong with them is
`Trouble`, in words for whoever typed the command."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from redis.asyncio import Redis
from redis.exceptions import RedisError

from app.copy_log import NoLog, store_address
from app.errors import Problem
from app.settings import Settings
from app.store.clients import open_client
from app.store.deployment import shared_hash_key
from app.store.embedded import EmbeddedStoreError
from app.store.keys import Keys
from app.store.whole_log import shards_of
from policy.bundle import Bundle
from policy.compile import load
from policy.reports import BundleError

Result = TypeVar("Result")


class Trouble(Exception):
    """The command cannot do its work; the message says why and what to do."""


def with_store(
    settings: Settings,
    address: str | None,
    work: Callable[[Redis, Keys], Awaitable[Result]],
    *,
    client_name: str,
    unused: str,
) -> Result:
    """Run with a client of the store at `address`; None: at that of the settings, or the data folder's own. `unused`:
    what follows from no server having used it. Raises Trouble."""

    async def run(url: str) -> Result:
        async with open_client(url, client_name=client_name) as client:
            shards = await shards_of(client)
            if shards is None:
                raise Trouble(f"this store was never used by a server: {unused}")
            return await work(client, Keys(shards))

    with in_words(), store_address(settings, address) as url:
        return asyncio.run(run(url))


@contextmanager
def in_words() -> Iterator[None]:
    """Have what a store, its address or a bundle fails with raise Trouble."""
    try:
        yield
    except (NoLog, EmbeddedStoreError, BundleError, ValueError) as error:
        raise Trouble(str(error)) from error
    except Problem as problem:
        raise Trouble(problem.detail) from problem
    except RedisError as error:
        raise Trouble(f"the store failed (`{type(error).__name__}`): run it again") from error


async def hash_key_of(settings: Settings, client: Redis) -> bytes:
    """The key that all nodes of the deployment hash with."""
    return await shared_hash_key(client, settings.hash_key.get_secret_value() if settings.hash_key else None)


def bundle_in(folder: Path) -> Bundle:
    """The bundle of a folder. Raises Trouble with its mistakes."""
    if not folder.is_dir():
        raise Trouble(f"there is no folder `{folder}`")
    try:
        return load(folder)
    except BundleError as error:
        raise Trouble(f"{folder}: {error}") from error
