"""Short ids that stand for names inside stored hashes (`ctl:fields`): one to three base-62 characters
instead of a name.

24 named features cost 656 bytes in a hash, with short ids 288. Names start with their kind:

    a:<attribute>   f:<feature>@<version>   o:<owner>     an attribute's, a feature's, an as-of time's field
    p:<purpose>     c:<channel>             s:<source>    b:<legal basis>     parts of a consent entry
    k:<placement>/<channel>/<class>/<message>/<category>/<campaign>           a kind of contact in the ledger
    x:<trial>       w:<who>                               a holdout or experiment; who changed something, in the history

Ids are allocated by the store (`allocate.lua`), append-only, and outlive any bundle.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from redis.asyncio import Redis

from app.store.keys import CTL_FIELDS
from app.store.scripts import Call, Script
from policy.bundle import Bundle

ALLOCATE = Script.load("allocate.lua")
COUNTER = b"#"
#: Names of one allocation call; keeps the script's run, during which the store serves nobody else, under 1 ms.
NAMES_PER_CALL = 500
#: How long an allocation waits to be on disk. An fsync under `everysec` is due within a second.
DURABLE_WITHIN_MS = 2_000


class FieldRegistry:
    """What this process knows of `ctl:fields`, both ways. Starts empty; works from when the store is there.

    A process never invents an id: `id_of` raises `KeyError` for a name that was not ensured, and `name_of` answers None
    for an id that another process allocated since, upon which the caller refreshes and tries again.
    """

    __slots__ = ("_client", "_ids", "_names", "generation", "texts")

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._ids: dict[str, bytes] = {}
        self.texts: dict[str, str] = {}  # the ids as text, for imports, which look up twenty a customer
        self._names: dict[bytes, str] = {}
        self.generation = 0  # moves whenever something was learnt; what was derived from the registry is then rebuilt

    def id_of(self, name: str) -> bytes:
        """The id of a name; KeyError when it was never ensured."""
        return self._ids[name]

    def knows(self, names: Iterable[str]) -> bool:
        return all(name in self._ids for name in names)

    def name_of(self, field_id: bytes) -> str | None:
        return self._names.get(field_id)

    async def ensure(self, names: Iterable[str]) -> None:
        """Allocate what has no id yet. Costs nothing when all are known; raises redis errors when the store is away.

        An id that is lost in a crash of the store, but still cached here, would later stand for two names. So new ids
        are awaited on disk where the store can tell; where it cannot they are as durable as the deployment chose.
        """
        missing = [name for name in dict.fromkeys(names) if name not in self._ids]
        for start in range(0, len(missing), NAMES_PER_CALL):
            part = missing[start : start + NAMES_PER_CALL]
            call = Call((CTL_FIELDS,), tuple(name.encode() for name in part))
            ran = await ALLOCATE.run(self._client, [call], on_disk_within_ms=DURABLE_WITHIN_MS)
            self.learn(zip(part, cast("list[bytes]", ran.replies[0]), strict=True))

    async def is_behind(self) -> bool:
        """Whether other processes have allocated ids since this one last looked."""
        return int(await self._client.hlen(CTL_FIELDS)) != len(self._ids) + 1  # one of the fields is the counter

    async def refresh(self) -> None:
        """Read all of `ctl:fields`, and forget what is no longer in it (a store that was restored or emptied)."""
        stored = cast("dict[bytes, bytes]", await self._client.hgetall(CTL_FIELDS))
        stored.pop(COUNTER, None)
        fresh = {name.decode(): field_id for name, field_id in stored.items()}
        if fresh != self._ids:
            self._ids, self.texts, self._names = {}, {}, {}
            self.learn(fresh.items())

    def learn(self, pairs: Iterable[tuple[str, bytes]]) -> None:
        """Take over what the store has allocated: names and their ids."""
        for name, field_id in pairs:
            self._ids[name] = field_id
            self.texts[name] = field_id.decode()
            self._names[field_id] = name
        self.generation += 1


def names_of(bundle: Bundle) -> tuple[str, ...]:
    """Every name that profiles and features of a bundle need; ensure them before the bundle is served."""
    facts = [f"a:{f.name}" if f.kind == "attribute" else f"f:{f.name}@{f.version}" for f in bundle.facts]
    owners = [f"o:{fact.owner}" for fact in bundle.facts]
    purposes = [f"p:{purpose}" for purpose in bundle.purposes]
    channels = ["c:*", *(f"c:{placement.channel}" for placement in bundle.placements.values())]
    return tuple(dict.fromkeys(facts + owners + purposes + channels))
