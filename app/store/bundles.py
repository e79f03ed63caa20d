"""Bundles kept in the store by digest, so that every record stays readable after its bundle is no longer served.

What lies there is believed only where it still has the digest that it is kept under: another program, or a disk, may
have cut or changed it, and records would be explained by rules that nobody wrote. Whoever serves it puts it right.
"""

from __future__ import annotations

import logging
import zlib
from typing import cast

from pydantic import ValidationError
from redis.asyncio import Redis

from app.errors import Problem
from app.store import keys
from policy.bundle import Bundle
from policy.compile import digest_of, from_canonical

log = logging.getLogger("nextbest.bundles")
CACHED_MAX = 16
#: What a damaged bundle may inflate to before it is given up. A real one is some 100 KB.
INFLATED_BYTES_MAX = 64 * 1024**2


class UnreadableBundle(Problem):
    """What the store keeps under a digest cannot be used. Asking again changes nothing until it is put right."""

    def __init__(self, digest: str, what: str, remedy: str) -> None:
        super().__init__("bundle_unreadable", f"the bundle `{digest}` in the store {what}: {remedy}")
        self.digest = digest


class DamagedBundle(UnreadableBundle):
    """The bytes are not those of their digest."""

    def __init__(self, digest: str) -> None:
        remedy = "start a server with that bundle's files, which puts it right, or take the store's backup"
        super().__init__(digest, "is damaged", remedy)


def deflated(canonical: bytes) -> bytes:
    """A canonical form as it is kept."""
    return zlib.compress(canonical, 6)


def verified(digest: str, raw: bytes) -> bytes:
    """The canonical form of what is kept under a digest. Raises DamagedBundle."""
    inflating = zlib.decompressobj()
    try:
        canonical = inflating.decompress(raw, INFLATED_BYTES_MAX)
    except zlib.error as error:
        raise DamagedBundle(digest) from error
    if digest_of(canonical) != digest:
        raise DamagedBundle(digest)
    return canonical


class BundleArchive:
    """Old bundles, compiled once each. About 10 KB a bundle in the store, deflated, without TTL."""

    def __init__(self, client: Redis, served: Bundle) -> None:
        self._client = client
        self._compiled = {served.digest: served}

    async def keep(self, bundle: Bundle) -> None:
        """Put a bundle where every node finds it; the same digest is always the same bundle. One that was damaged
        there is put right: what is served comes from the bundle's files, never from the store."""
        key, kept = keys.bundle(bundle.digest), deflated(bundle.canonical)
        if await self._client.set(key, kept, nx=True):
            return
        raw = cast("bytes | None", await self._client.get(key))
        try:
            if raw is not None:
                verified(bundle.digest, raw)
                return
        except DamagedBundle:
            log.error("the bundle %s was damaged in the store, and was put there anew", bundle.digest)
        await self._client.set(key, kept)

    async def get(self, digest: str) -> Bundle | None:
        """The bundle of a digest; None where the store does not hold it. Raises UnreadableBundle, which is also
        logged."""
        found = self._compiled.get(digest)
        if found is not None:
            return found
        raw = cast("bytes | None", await self._client.get(keys.bundle(digest)))
        if raw is None:
            return None
        try:
            bundle = _compiled(digest, verified(digest, raw))
        except UnreadableBundle as error:
            log.error("%s", error.detail)
            raise
        if len(self._compiled) >= CACHED_MAX:
            self._compiled.pop(next(reversed(self._compiled)))
        self._compiled[digest] = bundle
        return bundle

    async def get_readable(self, digest: str) -> Bundle | None:
        """As `get`, for who goes on without: None also where it cannot be used."""
        try:
            return await self.get(digest)
        except UnreadableBundle:
            return None


def _compiled(digest: str, canonical: bytes) -> Bundle:
    try:
        return from_canonical(canonical)
    except ValidationError as error:
        remedy = "update this server to the release that wrote it"
        raise UnreadableBundle(digest, "is of a form that this release does not know", remedy) from error
