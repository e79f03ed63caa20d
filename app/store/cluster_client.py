"""redis-py's client for a cluster, where it differs from its client for one server in what our callers rely on.

* `RedisClusterException`, of a cluster of which nobody answers, is no `RedisError`: here it is a `ConnectionError`.
* A pipeline may ask for the time: it is that of the server which has the pipeline's first key, so that it is the clock
  of what else is read.
"""

from __future__ import annotations

from collections.abc import Awaitable, Generator, Iterator
from contextlib import contextmanager
from typing import Any, cast

from redis.asyncio.cluster import ClusterPipeline, RedisCluster
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

    def pipeline(self, transaction: Any = None, shard_hint: Any = None) -> ClusterPipeline:  # noqa: ARG002  # as there
        """Not for transactions: redis-py connects in another loop for those (see `app.store.servers.together`)."""
        if transaction:
            raise ValueError("use `together`")
        return _Pipeline(self)  # type: ignore[abstract]  # an attribute that redis-py annotates and does not have


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
