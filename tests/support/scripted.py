"""A fault proxy that waits for a certain command or reply before it misbehaves, and one that runs beside the tests."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Generic, TypeAlias, TypeVar

from tests.support.proxy import FaultProxy

Act = Callable[[], Awaitable[None] | None]
T = TypeVar("T")
P = TypeVar("P", bound="ScriptedProxy")


class ScriptedProxy(FaultProxy):
    """`when(word, act)`: the next piece of commands that holds `word` runs `act` before it goes on to the store, and
    waits for it. What comes behind it on that connection waits too, as it would behind a slow network.

    `replies` sees every piece of a reply and says what the client gets instead.
    """

    def __init__(self, upstream: Path) -> None:
        super().__init__(upstream)
        self._script: list[tuple[bytes, Act]] = []
        self.replies: Callable[[bytes], bytes] = lambda data: data

    def when(self, word: bytes, act: Act) -> None:
        self._script.append((word, act))

    def cut_off(self) -> None:
        """As a network that is gone: connections end, and new ones get no answer."""
        self.freeze()
        self.drop_connections()

    def heal(self) -> None:
        super().heal()
        self._script.clear()
        self.replies = lambda data: data

    async def _commands(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while data := await reader.read(1 << 20):
                for word, act in list(self._script):
                    if word in data:
                        self._script.remove((word, act))
                        doing = act()
                        if doing is not None:
                            await doing
                await self._passing.wait()
                writer.write(data)
                await writer.drain()

    async def _write(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        await super()._write(writer, self.replies(data))


class Hold:
    """A command that waits in a proxy on another loop: `await hold.reached()`, and `hold.release()` to let it on."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._reached = threading.Event()
        self._go = asyncio.Event()

    async def wait_here(self) -> None:
        self._reached.set()
        await self._go.wait()

    async def reached(self) -> None:
        assert await asyncio.to_thread(self._reached.wait, 5), "no such command came"

    def release(self) -> None:
        self._loop.call_soon_threadsafe(self._go.set)


class Beside(Generic[P]):
    """A scripted proxy on a loop of its own, in a thread, for servers that outlive the loop of one test."""

    def __init__(self, proxy: P, loop: asyncio.AbstractEventLoop) -> None:
        self._proxy = proxy
        self._loop = loop
        self.url = proxy.url

    def do(self, act: Callable[[P], T]) -> T:
        """Run `act` on the proxy's own loop and wait for it."""

        async def run() -> T:
            return act(self._proxy)

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(5)

    def hold(self, word: bytes) -> Hold:
        """The next command that holds `word` waits until it is released, and all behind it."""
        hold = Hold(self._loop)
        self.do(lambda proxy: proxy.when(word, hold.wait_here))
        return hold

    def heal(self) -> None:
        self.do(lambda proxy: proxy.heal())


ProxyBeside: TypeAlias = Beside[ScriptedProxy]


def proxy_beside(upstream: Path) -> AbstractContextManager[ProxyBeside]:
    """A proxy to a store's unix socket, until the block ends."""
    return beside(ScriptedProxy(upstream))


@contextmanager
def beside(proxy: P) -> Iterator[Beside[P]]:
    """Run a proxy on a loop of its own until the block ends."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(proxy.__aenter__(), loop).result(5)
        yield Beside(proxy, loop)
    finally:
        asyncio.run_coroutine_threadsafe(proxy.__aexit__(None, None, None), loop).result(5)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)
        loop.close()
