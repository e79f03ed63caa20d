"""redis-py's client for a cluster, where it differs from its client for one server in what our callers rely on.

* `RedisClusterException`, of a cluster of which nobody answers, is no `RedisError`: here it is a `ConnectionError`.
* A pipeline may ask for the time: it is that of the server which has the pipeline's first key, so that it is the clock
  of what else is read.
* A server that ASK points to is told ASKING over the connection that its command takes, and may have no slots yet.
"""

from __future__ import annotations

from collections.abc import Awaitable, Generator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, cast

from redis.asyncio.cluster import ClusterNode, ClusterPipeline, PipelineCommand, RedisCluster
from redis.exceptions import (
    AskError,
    ConnectionError,
    MovedError,
    RedisClusterException,
    RedisError,
    TryAgainError,
)

#: Where a pipelined script's first key stands; that of others is their second word.
_KEY_AT = {"EVAL": 3, "EVALSHA": 3}
_KEYLESS = ("TIME", "WAITAOF")
_REDIRECTED = (AskError, MovedError, TryAgainError)
#: Whether a command is being carried out here, redirections included.
_FOLLOWING: ContextVar[bool] = ContextVar("following", default=False)
_NOBODY_S_DISK = [0, 0]  # WAITAOF's answer


class ClusterClient(RedisCluster):
    """See above."""

    def __await__(self) -> Generator[Any, None, RedisCluster]:
        return cast("Awaitable[RedisCluster]", self.initialize()).__await__()

    async def initialize(self, *args: Any, **more: Any) -> RedisCluster:
        with _translated():
            return await super().initialize(*args, **more)

    async def execute_command(self, *args: Any, **kwargs: Any) -> Any:
        with _translated():
            return await super().execute_command(*args, **kwargs)

    async def _execute_command(self, *args: Any, **kwargs: Any) -> Any:
        following = _FOLLOWING.set(True)
        try:
            return await super()._execute_command(*args, **kwargs)
        finally:
            _FOLLOWING.reset(following)

    def get_node(self, host: str | None = None, port: int | None = None, node_name: str | None = None) -> Any:
        """See redis-py, which carries a command out, and asks by name for the server that ASK points to."""
        node = super().get_node(host, port, node_name)
        if node_name is None or not _FOLLOWING.get():
            return node
        if node is None:  # it is getting its first slots, so that no look at the slots has told of it
            name, _, number = node_name.rpartition(":")
            node = ClusterNode(name, int(number), "primary", **self.nodes_manager.connection_kwargs)
            self.nodes_manager.set_nodes(self.nodes_manager.nodes_cache, {node.name: node})
        return _Asked(node)

    def pipeline(self, transaction: Any = None, shard_hint: Any = None) -> ClusterPipeline:  # noqa: ARG002  # as there
        """Not for transactions: redis-py connects in another loop for those (see `app.store.servers.together`)."""
        if transaction:
            raise ValueError("use `together`")
        return _Pipeline(self)  # type: ignore[abstract]  # an attribute that redis-py annotates and does not have


class _Asked:
    """A server that is asked for what it does not own yet: ASKING counts for what its own connection says next.

    redis-py takes any free connection of its pool for it and any for the command, in turn: with two of them never the
    same, and the command goes to and fro until redis-py gives up.
    """

    def __init__(self, node: ClusterNode) -> None:
        self._node = node

    def __getattr__(self, name: str) -> Any:
        return getattr(self._node, name)

    async def execute_command(self, *args: Any, **kwargs: Any) -> Any:
        if args == ("ASKING",):
            return b"OK"  # it goes with the command
        kwargs.pop("asking", None)
        command = PipelineCommand(1, *args, **kwargs)
        await self._node.execute_pipeline([PipelineCommand(0, "ASKING"), command])
        if isinstance(command.result, Exception):
            raise command.result
        return command.result


class _Pipeline(ClusterPipeline):
    def time(self, **_: Any) -> Any:
        return self.execute_command("TIME")

    def delete(self, *names: Any) -> Any:
        """Of one slot; redis-py's own answers once for each."""
        return self.execute_command("DEL", *names)

    def unlink(self, *names: Any) -> Any:
        """Of one slot; redis-py's own has to be awaited, and does nothing where it is not."""
        return self.execute_command("UNLINK", *names)

    async def execute(self, raise_on_error: bool = True, allow_redirections: bool = True) -> list[Any]:
        with _translated():
            await self.cluster_client.initialize()
            commands = self._execution_strategy._command_queue  # type: ignore[attr-defined]  # redis-py names no type
            keys = (each.args[_KEY_AT.get(each.args[0], 1)] for each in commands if each.args[0] not in _KEYLESS)
            first = next(keys, None)
            for each in commands:
                if each.args[0] == "TIME" and first is not None:
                    each.kwargs["target_nodes"] = self.cluster_client.get_node_from_key(first)
            waits = [at for at, each in enumerate(commands) if each.args[0] == "WAITAOF"]
            if waits and not raise_on_error and allow_redirections:
                return await self._on_disk(list(commands), waits)
            return await super().execute(raise_on_error, allow_redirections)

    async def _on_disk(self, commands: list[Any], waits: list[int]) -> list[Any]:
        replies = await super().execute(raise_on_error=False, allow_redirections=False)
        redirected = [at for at, reply in enumerate(replies) if isinstance(reply, _REDIRECTED)]
        for at in redirected:
            try:
                replies[at] = await self.cluster_client.execute_command(*commands[at].args)
            except RedisError as error:
                replies[at] = error
        for at in waits if redirected else ():
            replies[at] = _NOBODY_S_DISK
        return replies


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except RedisClusterException as error:
        raise ConnectionError("no server of the cluster can be reached") from error
