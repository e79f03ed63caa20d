"""One call, or its part, at one server of a cluster: what is answered by a redirection is asked again elsewhere.

A command that is redirected was not carried out (the slot's owner is checked before anything runs), so that asking
again applies nothing twice; and a commit is one script, which is redirected as a whole. It goes on until the deadline:
no decision is lost to a slot that moves, unless the budget is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from hiredis import ReplyError

from app.store.memory import share_used
from app.store.node_link import NodeLink
from app.store.resp import pack
from app.store.slots import Redirect, Words, redirect_of, slot_of
from app.store.wire import StoreError, StoreTimeout

if TYPE_CHECKING:
    from app.store.cluster_link import ClusterLink

#: Between two attempts while a slot's keys lie at two servers (TRYAGAIN).
PAUSE_S_MIN, PAUSE_S_MAX = 0.001, 0.02
WAITAOF = b"WAITAOF"
_ASKING = pack("ASKING")


class Part:
    """Waits for the replies of one server; `future` gets them when none of them leads elsewhere."""

    __slots__ = ("_asked", "_commands", "_deadline", "_link", "_task", "future")

    def __init__(
        self,
        link: ClusterLink,
        asked: NodeLink,
        commands: list[Words],
        deadline: float,
        future: asyncio.Future[list[Any]],
    ) -> None:
        self._link = link
        self._asked = asked
        self._commands = commands
        self._deadline = deadline
        self.future = future
        self._task: asyncio.Task[None] | None = None

    def done(self) -> bool:
        return self.future.done()

    def set_exception(self, error: StoreError, /) -> None:
        self.future.set_exception(error)

    def set_result(self, got: list[Any], /) -> None:
        for reply in got:
            if type(reply) is ReplyError and self._leads_elsewhere(reply):
                self._task = asyncio.get_running_loop().create_task(self._follow(got))
                return
        self.future.set_result(got)

    def _leads_elsewhere(self, reply: ReplyError) -> bool:
        code = str(reply).partition(" ")[0]
        if code == "CLUSTERDOWN":
            self._link.look()
        elif code in ("READONLY", "MASTERDOWN", "LOADING"):
            self._asked.drop(f"the store answered {code}")
        return code in ("MOVED", "ASK", "TRYAGAIN")

    async def _follow(self, got: list[Any]) -> None:
        """Ask again what was redirected, in order."""
        waits = _waits_of(self._commands, got)
        try:
            for at, words in enumerate(self._commands):
                redirect = redirect_of(got[at])
                if redirect is not None:
                    wait = waits.get(at)
                    asked = [words] if wait is None else [words, self._commands[wait.at]]
                    got[at], *synced = await self._again(asked, redirect)
                    if wait is not None:
                        wait.replies.extend(synced)
            for wait in waits.values():
                got[wait.at] = merged(WAITAOF, wait.replies)
        except StoreError as error:
            done = (
                words[0] != WAITAOF and redirect_of(reply) is None
                for words, reply in zip(self._commands, got, strict=True)
            )
            error.sent = error.sent or any(done)
            if not self.future.done():
                self.future.set_exception(error)
        else:
            if not self.future.done():
                self.future.set_result(got)

    async def _again(self, asked: list[Words], redirect: Redirect) -> list[Any]:
        """The replies at last, of a command and of the wait for its disk. Raises StoreError."""
        loop = asyncio.get_running_loop()
        packed = b"".join(pack(*words) for words in asked)
        slot, node, pause_s = slot_of(asked[0]), self._asked, PAUSE_S_MIN
        while True:
            if redirect.kind == "TRYAGAIN":
                await asyncio.sleep(max(0.0, min(pause_s, self._deadline - loop.time())))
                pause_s = min(2 * pause_s, PAUSE_S_MAX)
                node = (self._link.owner(slot) if slot is not None else None) or node
            else:
                node = self._link.pointed(redirect, slot, node)
            left_s = self._deadline - loop.time()
            if left_s <= 0 or (node.wire is None and not await node.wait_connected(left_s)):
                raise StoreTimeout("the slot was on its way to another server", sent=False)
            asking = redirect.kind == "ASK"
            replies = await node.call(_ASKING + packed if asking else packed, len(asked) + asking, self._deadline)
            following = redirect_of(replies[asking])
            if following is None:
                return replies[asking:]
            if following.kind == redirect.kind == "MOVED":  # servers that have not heard of each other's word yet
                await asyncio.sleep(PAUSE_S_MIN)
            redirect = following


class _Wait(NamedTuple):
    """A wait for the disk, which stands behind what was redirected."""

    at: int
    replies: list[Any]  # of the servers that wrote


def _waits_of(commands: list[Words], got: list[Any]) -> dict[int, _Wait]:
    """For each redirected command the wait that stands behind it, if any. It is asked with the command, in one write:
    it tells of what its own connection wrote (https://valkey.io/commands/waitaof/), and there may soon be another."""
    found: dict[int, _Wait] = {}
    redirected: list[int] = []
    stayed = False  # whether anything was done where it was asked first
    for at, (words, reply) in enumerate(zip(commands, got, strict=True)):
        if words[0] == WAITAOF:
            found |= dict.fromkeys(redirected, _Wait(at, [reply] if stayed else []))
            redirected, stayed = [], False
        elif redirect_of(reply) is not None:
            redirected.append(at)
        else:
            stayed = True
    return found


def in_order(
    commands: list[Words], places: Iterable[list[int]], answers: Sequence[list[Any] | BaseException]
) -> list[Any]:
    """The replies of several servers in the order of the commands; `places`: which of these each was asked. Raises the
    first failure; of a `StoreError` it is known then whether any server was sent anything."""
    failure = next((each for each in answers if isinstance(each, BaseException)), None)
    if failure is not None:
        if isinstance(failure, StoreError):
            failure.sent = any(not isinstance(each, StoreError) or each.sent for each in answers)
        raise failure
    got: list[list[Any]] = [[] for _ in commands]
    for positions, answer in zip(places, answers, strict=True):
        for at, reply in zip(positions, cast("list[Any]", answer), strict=True):
            got[at].append(reply)
    return [merged(words[0], replies) for words, replies in zip(commands, got, strict=True)]


def merged(name: bytes, replies: list[Any]) -> Any:
    """One reply for those of several servers: an error where there is one, the fullest server's memory, and the least
    that is on disk."""
    if len(replies) == 1:
        return replies[0]
    error = next((each for each in replies if isinstance(each, ReplyError)), None)
    if error is not None:
        return error
    if name == b"INFO":
        return max(replies, key=share_used)
    if name == WAITAOF:
        return [min(each[0] for each in replies), min(each[1] for each in replies)]
    return replies[0]
