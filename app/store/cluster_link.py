"""The link to a cluster: a connection to each primary, and the map of which primary serves which slot.

The map is learnt from any server that answers (`CLUSTER SLOTS`), and learnt anew when a reply says MOVED or CLUSTERDOWN
or a connection ends. A call goes to where the map says its keys are; what is answered by a redirection was not carried
out, and is asked again where the redirection points, until the call's deadline. A server that cannot be reached fails
the calls for its own slots at once, and no others: while its replica is being promoted they are `facts_unavailable`.
Only primaries are asked: a `NodeLink` accepts no replica.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

from hiredis import ReplyError

from app.ending import end_task
from app.store.addresses import parse
from app.store.cluster_call import Part, in_order
from app.store.cluster_map import ClusterMap, Place, ask_for_slots, slots_at
from app.store.node_link import NodeLink, OnConnect, within
from app.store.resp import pack
from app.store.slots import ANY, Redirect, Words, commands_of, slot_of
from app.store.tls import in_words
from app.store.wire import LinkCounters, StoreDown, StoreError

log = logging.getLogger("nextbest.store")
#: Between two looks at the map while slots have no server that answers: a failover takes about a second.
LOOK_AGAIN_S = 0.1
#: Between two looks while all is well: only redirections tell of changes sooner.
LOOK_EVERY_S = 5.0
#: How long the first look waits for all primaries to be connected; then those that are must do.
CONNECTED_WITHIN_S = 1.0
ASKED_WITHIN_S = 1.0
#: A server without slots is let go of after so long: it may be about to get some.
IDLE_S = 10.0

_SLOTS = pack("CLUSTER", "SLOTS")


class ClusterLink:
    """A `Link` to a cluster. `on_connect` runs before the first call, and again for servers that come later."""

    def __init__(self, url: str, *, client_name: str = "nextbest", on_connect: OnConnect | None = None) -> None:
        self._address = parse(url)
        self._client_name = client_name
        self._on_connect = on_connect
        self._nodes: dict[Place, NodeLink] = {}
        self._used_s: dict[Place, float] = {}  # when a server without slots was last of use
        #: Servers without slots that ASK pointed to: they are written to, and must know scripts.
        self._getting: dict[Place, NodeLink] = {}
        self._map: ClusterMap[NodeLink] = ClusterMap()
        self._known: list[Place] = list(self._address.nodes)  # whom to ask for the map
        self._changed = asyncio.Event()
        self._usable = asyncio.Event()
        self._prepared_for: set[int] = set()  # connections that `on_connect` has seen
        self._endings: set[asyncio.Task[None]] = set()
        self._task: asyncio.Task[None] | None = None
        self.counters = LinkCounters()
        self.last_error: str | None = "the store has not been reached yet"

    @property
    def connected(self) -> bool:
        return self._usable.is_set() and any(node.wire is not None for node in self._map.owners)

    @property
    def bytes_pending(self) -> int:
        return sum(node.bytes_pending for node in self._nodes.values())

    @property
    def whole(self) -> bool:
        """Whether every slot has a primary that is connected."""
        return self._map.complete and all(node.wire is not None for node in self._map.owners)

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._keep_informed(), name="cluster link")

    async def wait_connected(self, timeout_s: float) -> bool:
        await within(timeout_s, self._usable)
        return self.connected

    def call(self, packed: bytes, replies: int, deadline: float) -> asyncio.Future[list[Any]]:
        """See `Link.call`."""
        if self._usable.is_set():
            return self.ask(packed, replies, deadline)
        return self._failed(self.last_error or "the store cannot be reached")

    def drop(self, reason: str) -> None:
        """Look at the map again, and do again what is done after a connect; calls go on meanwhile."""
        log.warning("looking at the cluster again: %s", reason)
        self._prepared_for.clear()
        self._changed.set()

    async def close(self) -> None:
        if self._task is None:
            return
        self.last_error = "the link was closed"
        self._usable.clear()
        await end_task(self._task)
        self._task = None
        await asyncio.gather(*self._endings, *(node.close() for node in self._nodes.values()))
        self._nodes.clear()

    # Calls

    def ask(self, packed: bytes, replies: int, deadline: float) -> asyncio.Future[list[Any]]:
        """As `call`, whether the link is prepared or not."""
        commands = commands_of(packed, replies)
        slots = [slot_of(words) for words in commands]
        keyed = set(slots)
        keyed.discard(None)
        if len(keyed) == 1:  # as of every decision
            node = self._map.owner(cast("int", keyed.pop()))
            return self._at(node, packed, commands, deadline)
        return self._loop.create_task(self._spread(commands, slots, deadline))

    def _at(
        self, node: NodeLink | None, packed: bytes, commands: list[Words], deadline: float
    ) -> asyncio.Future[list[Any]]:
        wire = None if node is None else node.wire
        if node is None or wire is None:
            self._changed.set()
            return self._failed("the primary of these slots cannot be reached")
        part = Part(self, node, commands, deadline, self._loop.create_future())
        wire.send(packed, len(commands), deadline, part)
        return part.future

    async def _spread(self, commands: list[Words], slots: list[int | None], deadline: float) -> list[Any]:
        """Ask several servers, and put their replies in the order of the commands."""
        owners = [None if slot is None else self._map.owner(slot) for slot in slots]
        everyone = tuple(dict.fromkeys((*self._map.owners, *self._getting.values())))
        first = next((each for each in owners if each is not None), None) or next(
            (each for each in everyone if each.wire is not None), None
        )
        plan: dict[NodeLink | None, list[int]] = {}
        for at, (words, slot) in enumerate(zip(commands, slots, strict=True)):
            targets: Iterable[NodeLink | None] = (owners[at],) if slot is not None else everyone
            for node in (first,) if words[0] in ANY else targets:
                plan.setdefault(node, []).append(at)
        calls = [
            self._at(node, b"".join([pack(*commands[at]) for at in places]), [commands[at] for at in places], deadline)
            for node, places in plan.items()
        ]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        return in_order(commands, plan.values(), answers)

    def _failed(self, reason: str) -> asyncio.Future[list[Any]]:
        future: asyncio.Future[list[Any]] = self._loop.create_future()
        future.set_exception(StoreDown(reason, sent=False))
        return future

    # What parts of calls need to know

    def owner(self, slot: int) -> NodeLink | None:
        """Who serves a slot now, as far as is known."""
        return self._map.owner(slot)

    def look(self) -> None:
        """Something was not where it was thought to be."""
        self._changed.set()

    def pointed(self, redirect: Redirect, slot: int | None, asked: NodeLink) -> NodeLink:
        """The server that a redirection names. MOVED says where the slot is from now on."""
        host = redirect.host or (asked.peer[0] if asked.peer else "")
        place = (host, redirect.port)
        node = self._node(place)
        if redirect.kind == "ASK":
            self._used_s[place] = time.monotonic()
            self._getting[place] = node
        if redirect.kind == "MOVED" and slot is not None:
            self._map.move(slot, node)
            self._changed.set()
        return node

    # Being informed

    async def _keep_informed(self) -> None:
        failures = 0
        while True:
            self._changed.clear()
            try:
                await self._learn()
                await self._prepare()
                failures = 0
            except Exception as error:  # whatever servers, networks or a hook do, it looks again
                failures += 1
                self._report(error)
            if failures or not self.whole:
                await asyncio.sleep(min(1.0, LOOK_AGAIN_S * 2 ** min(failures, 4)))
            await within(LOOK_EVERY_S if self.whole and not failures else LOOK_AGAIN_S, self._changed)
            await asyncio.sleep(0.01)  # many redirections come at once: one look answers all

    async def _learn(self) -> None:
        """Ask whoever answers first which server has which slots, and be connected to all of them."""
        learnt = await self._slots()
        self._map.learn((first, last, self._node(place)) for first, last, place, _ in learnt)
        primaries = {place for _, _, place, _ in learnt}
        others = {place for *_, replicas in learnt for place in replicas}
        self._known = [*primaries, *others, *self._address.nodes]
        now_s = time.monotonic()
        for place in list(self._nodes):
            if place in primaries:
                self._used_s[place] = now_s
            elif now_s - self._used_s.get(place, now_s) > IDLE_S:
                ending = self._loop.create_task(self._nodes.pop(place).close())
                self._endings.add(ending)
                ending.add_done_callback(self._endings.discard)
        self._getting = {
            place: node for place, node in self._getting.items() if place in self._nodes and place not in primaries
        }

    async def _slots(self) -> Sequence[tuple[int, int, Place, list[Place]]]:
        trouble: Exception = StoreDown("no server of the cluster can be reached", sent=False)
        # In any order: one that is cut off from the others goes on telling what it knew.
        for place, node in random.sample(list(self._nodes.items()), len(self._nodes)):
            if node.wire is not None:
                with contextlib.suppress(StoreError):
                    (reply,) = await node.call(_SLOTS, 1, self._loop.time() + ASKED_WITHIN_S)
                    if not isinstance(reply, ReplyError):
                        return slots_at(place, reply)
        for place in dict.fromkeys(self._known):
            try:
                return slots_at(place, await ask_for_slots(self._address.node_url(*place), self._client_name))
            except Exception as error:  # another one may answer
                trouble = error
        raise trouble

    async def _prepare(self) -> None:
        """Have `on_connect` run for connections that it has not seen; the first time before any call."""
        if not self._usable.is_set():
            give_up_at = self._loop.time() + CONNECTED_WITHIN_S
            for node in self._map.owners:
                await node.wait_connected(max(0.0, give_up_at - self._loop.time()))
        living = {id(node.wire) for node in self._map.owners if node.wire is not None}
        if not living:
            errors = [node.last_error for node in self._map.owners if node.last_error]
            raise StoreDown(errors[0] if errors else "the cluster serves no slots", sent=False)
        if self._on_connect is not None and living - self._prepared_for:
            await self._on_connect(_Unprepared(self.ask))
        self._prepared_for = living
        if not self._usable.is_set():
            self._usable.set()
            log.info("connected to the cluster")
        self.last_error = None

    def _node(self, place: Place) -> NodeLink:
        """The link to a server; it begins to connect where it is new."""
        node = self._nodes.get(place)
        if node is None:
            url = self._address.node_url(*place)
            node = NodeLink(url, client_name=self._client_name, on_change=self._changed.set, counters=self.counters)
            node.start()
            self._nodes[place] = node
            self._used_s[place] = time.monotonic()
        return node

    def _report(self, error: Exception) -> None:
        reason = in_words(error)
        if reason != self.last_error:
            log.warning("cannot use the cluster: %s", reason)
        if not self._usable.is_set():
            self.last_error = reason


class _Unprepared:
    """The link as `on_connect` sees it."""

    def __init__(self, ask: Callable[[bytes, int, float], asyncio.Future[list[Any]]]) -> None:
        self.call = ask
