"""A real HTTP server on loopback for servers that play scripts."""

import asyncio
import threading
from collections.abc import Awaitable, Callable

from aiohttp import web

MAX_REQUEST_BYTES = 64 * 2**20  # bytes


class LoopbackServer:
    """A server of one path, in a thread with its own event loop, until `stop`.

    `others` handles the requests for all other paths. Handlers may wait for `released`; `release`
    sets it for all of them.
    """

    def __init__(
        self,
        path: str,
        handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
        *,
        others: Callable[[web.Request], Awaitable[web.StreamResponse]] | None = None,
        port: int = 0,
    ) -> None:
        self.released: asyncio.Event
        self._path, self._handler, self._others, self._port = path, handler, others, port
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"server of {path}", daemon=True)
        self._thread.start()
        assert self._ready.wait(10)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def release(self) -> None:
        """Let waiting handlers continue."""
        self._loop.call_soon_threadsafe(self.released.set)

    def hold_again(self) -> None:
        """Let waiting handlers continue, and make later ones wait again."""
        self._loop.call_soon_threadsafe(self._change_gate)

    def stop(self) -> None:
        self.release()
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def _change_gate(self) -> None:
        # Do both in one callback: a request that arrived between two would not wait.
        self.released.set()
        self.released = asyncio.Event()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        self.released = asyncio.Event()
        app = web.Application(client_max_size=MAX_REQUEST_BYTES)
        app.router.add_post(self._path, self._handler)
        if self._others:
            app.router.add_route("*", "/{path:.*}", self._others)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self._port, reuse_address=True)
        await site.start()
        self._port = runner.addresses[0][1]
        self._ready.set()
        await self._stop.wait()
        await runner.cleanup()
