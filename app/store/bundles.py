"""Bundles kept in the store by digest, so that every record stays readable after its bundle is no longer served."""

from __future__ import annotations

import zlib
from typing import cast

from redis.asyncio import Redis

from app.store import keys
from policy.bundle import Bundle
from policy.compile import from_canonical

CACHED_MAX = 16


class BundleArchive:
    """Old bundles, compiled once each. About 10 KB a bundle in the store, deflated, without TTL."""

    def __init__(self, client: Redis, served: Bundle) -> None:
        self._client = client
        self._compiled = {served.digest: served}

    async def keep(self, bundle: Bundle) -> None:
        """Put a bundle where every node finds it; the same digest is always the same bundle."""
        await self._client.set(keys.bundle(bundle.digest), zlib.compress(bundle.canonical, 6), nx=True)

    async def get(self, digest: str) -> Bundle | None:
        """The bundle of a digest; None where the store does not hold it."""
        found = self._compiled.get(digest)
        if found is not None:
            return found
        raw = cast("bytes | None", await self._client.get(keys.bundle(digest)))
        if raw is None:
            return None
        if len(self._compiled) >= CACHED_MAX:
            self._compiled.pop(next(reversed(self._compiled)))
        bundle = self._compiled[digest] = from_canonical(zlib.decompress(raw))
        return bundle
