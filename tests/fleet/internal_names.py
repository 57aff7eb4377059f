"""Print the internal names that this installation of daphne, Twisted and autobahn lacks.

Looks up the INTERNAL_NAMES of two modules and the arguments, while a client is connected: many of
them exist only on instances. The connection is daphne's own, so that it works even if a name is
missing. This is a program of its own, because a process can run Twisted's reactor only once.
"""

import asyncio
import gc
import pkgutil
import socket
import sys
from typing import Any

from websockets.asyncio.client import connect

from agenticfleet import incoming, server
from agenticfleet.server import loop

from daphne.server import Server  # isort: skip
from twisted.internet import reactor  # isort: skip


async def accept(scope: dict[str, Any], receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    await receive()


def exists(name: str) -> bool:
    path, _, attribute = name.rpartition(".")
    try:
        owner = pkgutil.resolve_name(path)
    except (ImportError, AttributeError):
        return False
    return hasattr(owner, attribute) or any(
        isinstance(owner, type) and issubclass(type(thing), owner) and attribute in vars(thing)
        for thing in gc.get_objects()
    )


async def look_up(port: int) -> None:
    assert asyncio.get_running_loop() is loop, "daphne no longer adopts the installed reactor"
    async with connect(f"ws://127.0.0.1:{port}/") as client:
        for name in [*server.INTERNAL_NAMES, *incoming.INTERNAL_NAMES, *sys.argv[1:]]:
            if not exists(name):
                print(name)
        client.transport.abort()


if __name__ == "__main__":
    listener = socket.create_server(("127.0.0.1", 0))
    looking = loop.create_task(look_up(listener.getsockname()[1]))
    looking.add_done_callback(lambda _: reactor.stop())
    Server(accept, endpoints=[f"fd:fileno={listener.detach()}"], signal_handlers=False).run()
    looking.result()
