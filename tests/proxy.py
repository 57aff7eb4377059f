"""A TCP proxy on loopback that simulates a failing network."""

import asyncio
import contextlib
import threading
from typing import Literal

Mode = Literal["open", "refuse", "hang"]


class Proxy:
    """A proxy of the port `target`, which tests may change, in a thread with its own event loop.

    In mode `open` it forwards bytes, each piece after `delay` seconds; in `refuse` it drops
    connections; in `hang` it keeps them and forwards nothing.
    """

    def __init__(self, target: int) -> None:
        self.mode: Mode = "open"
        self.delay = 0.0
        self.port = 0
        self.target = target  # of new connections
        self._loop = asyncio.new_event_loop()
        self._writers: set[asyncio.StreamWriter] = set()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._thread.start()
        assert self._ready.wait(10)

    def set(self, mode: Mode, *, delay: float = 0.0) -> None:
        """Change the mode; `refuse` also cuts open connections."""
        self.mode, self.delay = mode, delay
        if mode == "refuse":
            self.cut()

    @property
    def refuses(self) -> bool:
        return self.mode == "refuse"

    def cut(self) -> None:
        """Reset all open connections."""
        done = threading.Event()

        def abort() -> None:
            for writer in list(self._writers):
                writer.transport.abort()
            done.set()

        self._loop.call_soon_threadsafe(abort)
        assert done.wait(5)

    def stop(self) -> None:
        self.cut()
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refuses:
            writer.transport.abort()
            return
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        if self.refuses:  # since this connection was accepted
            writer.transport.abort()
            back.transport.abort()
            return
        self._writers |= {writer, back}
        try:
            await asyncio.gather(self._pass_on(reader, back), self._pass_on(there, writer))
        finally:
            self._writers -= {writer, back}
            for end in (writer, back):
                end.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                if self.delay:
                    await asyncio.sleep(self.delay)
                while self.mode == "hang":
                    await asyncio.sleep(0.01)
                writer.write(data)
                await writer.drain()
        writer.transport.abort()
